"""A folder, a .gguf file or an adapter → ModelCard. Files are read, never run; pickles are scanned, never loaded."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from core.catalog.card import FileEntry, FileFinding, ModelCard
from core.catalog.gguf import MAGIC, read_gguf
from core.catalog.hashes import cached_sha256
from core.catalog.pickles import PICKLES, scan_pickle
from core.catalog.safetensors import Header, read_header
from core.catalog.template import check_template
from core.errors import InputError
from core.types import ModelRef

MAX_JSON = 64 * 2**20
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_HINTS = re.compile(r"\b(distill(?:ed|ation)?|teacher|student)\b", re.IGNORECASE)


def inspect_model(ref: ModelRef, *, hash_files: bool = False) -> ModelCard:
    """Describe ``ref``. Raises InputError when it cannot be described: nothing there, no config, not JSON, cut off."""
    card = _look(Path(ref.path), hash_files)
    if not ref.adapter:
        return card
    extra = _look(Path(ref.adapter), hash_files)
    if extra.format != "adapter":
        raise InputError(
            "not_an_adapter",
            f"{extra.name} is a whole model, not an adapter.",
            "Choose a folder with adapter_config.json.",
        )
    return _on_base(card, extra, ref)


def _look(path: Path, hash_files: bool) -> ModelCard:
    try:
        if not path.exists():
            raise InputError("not_there", f"There is nothing at {path}.", "Check the path, or drop the folder again.")
        look = _Look(path, hash_files)
        if path.is_file():
            return look.gguf()
        if (path / "adapter_config.json").exists() and not (path / "config.json").exists():
            return look.adapter()
        return look.folder()
    except OSError as error:
        raise InputError(
            "unreadable",
            f"{path.name} cannot be read: {error.strerror or error}.",
            "Check the disk and the permissions.",
        ) from error


class _Look:
    """One look at one path; collects findings as it goes."""

    def __init__(self, path: Path, hash_files: bool) -> None:
        self.path = path
        self.hash_files = hash_files
        self.findings: list[FileFinding] = []
        self.not_examined = [
            "what the weights do: only running the model shows it",
            "whether the publisher is who the folder says",
        ]
        self.headers: dict[str, Header] = {}
        self.refused: set[Path] = set()  # links that leave the folder: listed, never followed

    # the three kinds

    def folder(self) -> ModelCard:
        files = self._files()
        if not files:
            raise InputError("empty_folder", f"{self.path} is empty.", "Choose the folder that holds config.json.")
        config = self._json("config.json", needed=True)
        weights = [path for path in files if path.suffix == ".safetensors"]
        pickles = [path for path in files if path.suffix in PICKLES]
        ggufs = [path for path in files if path.suffix == ".gguf"]
        if not weights and not pickles and not ggufs:
            raise InputError(
                "no_weights", f"{self.path.name} holds no weights.", "Download the .safetensors files too."
            )
        for file in weights:
            self._safetensors(file)
        self._index({path.name for path in weights})
        for file in pickles:
            self._pickle(file)
        self._code(config, files)
        self._magic(files)
        tokenizer = self._tokenizer(config)
        template, place = self._template()
        if template is not None:
            self.findings += check_template(template, place)
        return self._card(
            format="safetensors" if weights and not pickles else "bin" if pickles and not weights else "mixed",
            config=config,
            files=files,
            tokenizer=tokenizer,
            template=template,
        )

    def adapter(self) -> ModelCard:
        files = self._files()
        config = self._json("adapter_config.json", needed=True)
        if not any(file.suffix in (".safetensors", *PICKLES) for file in files):
            raise InputError(
                "no_weights", f"{self.path.name} holds no weights.", "Download adapter_model.safetensors too."
            )
        for file in files:
            if file.suffix == ".safetensors":
                self._safetensors(file)
            elif file.suffix in PICKLES:
                self._pickle(file)
        self._code({}, files)
        self._magic(files)
        self.not_examined.append("the base that the adapter stands on")
        card = self._card(format="adapter", config=config, files=files, tokenizer="", template=None)
        base = config.get("base_model_name_or_path")
        return _replace(card, architecture=f"{config.get('peft_type', 'PEFT')} adapter", base_model=_names(base))

    def gguf(self) -> ModelCard:
        with self.path.open("rb") as stream:
            start = stream.read(4)
        if start != MAGIC:
            raise InputError(
                "not_a_model",
                f"{self.path.name} is neither a model folder nor a GGUF file.",
                "Choose a Hugging Face folder or a .gguf file.",
            )
        header = read_gguf(self.path)
        facts = header.metadata
        kind = str(facts.get("general.architecture", "unknown"))
        words = facts.get("tokenizer.ggml.tokens")
        words = words if isinstance(words, list) else []
        template = facts.get("tokenizer.chat_template")
        if isinstance(template, str):
            self.findings += check_template(template, self.path.name)
        config = {
            "architectures": [kind],
            "model_type": kind,
            "vocab_size": len(words) or None,
            "num_hidden_layers": facts.get(f"{kind}.block_count"),
            "hidden_size": facts.get(f"{kind}.embedding_length"),
            "num_attention_heads": facts.get(f"{kind}.attention.head_count"),
            "num_key_value_heads": facts.get(f"{kind}.attention.head_count_kv"),
            "max_position_embeddings": facts.get(f"{kind}.context_length"),
        }
        self.not_examined.append("the quantised blocks of the file: loading dequantises them")
        card = self._card(
            format="gguf",
            config=config,
            files=[self.path],
            tokenizer=_digest(json.dumps(words).encode()),
            template=template if isinstance(template, str) else None,
        )
        licence = str(facts.get("general.license", "not stated"))
        base = _names(facts.get("general.base_model.0.name"))
        return _replace(card, parameters=_int(header.parameters), licence=licence, base_model=base).refit()

    # parts of a folder

    def _files(self) -> list[Path]:
        files = []
        root = self.path.resolve()
        # a hub cache snapshot links into its own blobs
        blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
        for path in sorted(self.path.rglob("*")):
            if path.is_symlink():
                try:
                    target = path.resolve(strict=True)
                except (OSError, RuntimeError):  # RuntimeError: a loop of links
                    self.refused.add(path)
                    self._find("broken_link", "medium", path, f"{path.name} is a link to nothing.")
                    continue
                if not target.is_relative_to(root) and not target.is_relative_to(blobs):
                    self.refused.add(path)
                    self._find("link_outside", "high", path, f"{path.name} is a link that leaves the folder.")
                    continue
            if path.is_file() and ".git" not in path.parts:
                files.append(path)
        return files

    def _json(self, name: str, *, needed: bool = False) -> dict[str, Any]:
        file = self.path / name
        if file in self.refused and needed:
            raise InputError(
                "link_outside",
                f"{name} is a link that leaves the folder or ends nowhere.",
                "Copy the file itself there.",
            )
        if not self._holds(name):
            if needed:
                raise InputError(
                    "no_config", f"{self.path.name} has no {name}.", "Choose the folder that holds it, or download it."
                )
            return {}
        try:
            if file.stat().st_size > MAX_JSON:
                raise ValueError(f"larger than {MAX_JSON >> 20} MiB")
            raw = file.read_bytes()
            value = json.loads(raw)
            if _SURROGATE.search(raw):
                json.dumps(value, ensure_ascii=False).encode()  # half of a pair could be neither shown nor saved
        except RecursionError:
            return self._bad_json(name, "it is absurdly nested", needed)
        except UnicodeError:
            return self._bad_json(name, "its text is not Unicode", needed)
        except ValueError as error:
            return self._bad_json(name, f"it is not JSON ({str(error)[:80]})", needed)
        if not isinstance(value, dict):
            return self._bad_json(name, "it is JSON, but no table", needed)
        return value

    def _holds(self, name: str) -> bool:
        file = self.path / name
        return file.is_file() and file not in self.refused

    def _bad_json(self, name: str, why: str, needed: bool) -> dict[str, Any]:
        if needed:
            raise InputError("bad_config", f"{name} cannot be read: {why}.", "Download it again from its publisher.")
        self._find("bad_json", "medium", self.path / name, f"{name} cannot be read: {why}.")
        return {}

    def _safetensors(self, file: Path) -> None:
        header = read_header(file)
        self.headers[file.relative_to(self.path).as_posix()] = header
        if header.problem:
            self._find("bad_safetensors", "high", file, f"{file.name} {header.problem}.")
        for key, text in header.metadata.items():
            if "://" in str(text):
                self._find("url_in_metadata", "low", file, f"{file.name} holds an address in its metadata ({key}).")

    def _index(self, present: set[str]) -> None:
        index = self._json("model.safetensors.index.json")
        table = index.get("weight_map")
        if not isinstance(table, dict):
            return
        for shard in sorted(set(map(str, table.values())) - present):
            self._find("shard_missing", "high", self.path / shard, f"The shard {shard} is missing: download it again.")
        for tensor, shard in table.items():
            header = self.headers.get(str(shard))
            if header and not header.problem and tensor not in header.tensors:
                text = f"The index places {tensor} in {shard}, which does not hold it."
                self._find("index_disagrees", "high", self.path / "model.safetensors.index.json", text)
                return

    def _pickle(self, file: Path) -> None:
        id, severity, text = scan_pickle(file)
        self._find(id, severity, file, text)

    def _code(self, config: dict[str, Any], files: list[Path]) -> None:
        for source in ("config.json", "tokenizer_config.json"):
            table = config if source == "config.json" else self._json(source)
            if "auto_map" in table:
                text = f"{source} asks for code from the folder (auto_map). It is never imported."
                self._find("remote_code", "high", self.path / source, text)
        for file in files:
            if file.suffix == ".py":
                self._find("python_file", "medium", file, f"{file.name} is Python code. It is never imported.")

    def _magic(self, files: list[Path]) -> None:
        """Names that lie about what is inside."""
        for file in files:
            with file.open("rb") as stream:
                start = stream.read(8)
            kind = next((name for magic, name in _MAGICS.items() if start.startswith(magic)), None)
            if kind and file.suffix not in _EXPECTED[kind]:
                self._find("wrong_magic", "high", file, f"{file.name} is in truth {kind}.")

    def _tokenizer(self, config: dict[str, Any]) -> str:
        file = self.path / "tokenizer.json"
        if not self._holds(file.name):
            others = [name for name in ("tokenizer.model", "vocab.json", "spiece.model") if self._holds(name)]
            if not others:
                self._find("no_tokenizer", "high", file, "The folder has no tokenizer: download tokenizer.json too.")
                return ""
            self.not_examined.append(f"the rules inside {others[0]}")
            return _digest((self.path / others[0]).read_bytes())
        table = self._json("tokenizer.json")
        self._tokenizer_rules(file, table)
        model = table.get("model")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
        ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(_list(vocabulary))))
        ids += [added.get("id") for added in _list(table.get("added_tokens")) if isinstance(added, dict)]
        size = config.get("vocab_size")
        whole = [number for number in ids if isinstance(number, int)]
        if isinstance(size, int) and whole and max(whole) >= size:
            text = f"The tokenizer does not match: it gives ids up to {max(whole):,}, and the model has {size:,} rows."
            self._find("tokenizer_mismatch", "high", file, text)
        if isinstance(vocabulary, dict):
            twice = [number for number, count in Counter(map(str, vocabulary.values())).items() if count > 1]
            if twice:
                text = f"{len(twice)} token ids stand for several tokens (id {twice[0]} is one)."
                self._find("duplicate_ids", "high", file, text)
        return _digest(file.read_bytes())

    def _tokenizer_rules(self, file: Path, table: dict[str, Any]) -> None:
        """Replace rules rewrite text before the model sees it; those for spaces are usual."""
        for part in ("normalizer", "pre_tokenizer"):
            for rule in _walk(table.get(part)):
                if rule.get("type") != "Replace":
                    continue
                pattern = rule.get("pattern")
                found = next(iter(pattern.values()), "") if isinstance(pattern, dict) else str(pattern)
                if str(found).strip(" ▁\\s+{}0123456789,`'\"\n\r\t") and str(rule.get("content")).strip(" ▁`'\""):
                    text = f"The tokenizer rewrites {found!r} to {rule.get('content')!r} before the model sees it."
                    self._find("tokenizer_rewrites", "high", file, text)

    def _template(self) -> tuple[str | None, str]:
        file = self.path / "chat_template.jinja"
        if self._holds(file.name) and file.stat().st_size < MAX_JSON:
            return file.read_text(errors="replace"), file.name
        stated = self._json("tokenizer_config.json").get("chat_template")
        if isinstance(stated, list):
            named = [entry for entry in stated if isinstance(entry, dict)]
            stated = next((entry.get("template") for entry in named if entry.get("name") == "default"), None)
        return (stated if isinstance(stated, str) else None), "tokenizer_config.json"

    # the card

    def _card(
        self, *, format: str, config: dict[str, Any], files: list[Path], tokenizer: str, template: str | None
    ) -> ModelCard:
        counts: Counter[str] = Counter()
        counted = self._counted()
        for name in counted & self.headers.keys():
            for dtype, shape in self.headers[name].tensors.values():
                counts[dtype] += math.prod(shape)
        front, prose = self._readme()
        quantisation = _quantisation(config, self._json("quantize_config.json") if self.path.is_dir() else {}, counts)
        whole = all(name in self.headers and not self.headers[name].problem for name in counted)
        parameters = (sum(counts.values()) or None) if whole else None
        if quantisation:
            self.not_examined.append("the weights before they were quantised")
        heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
        head_dim = config.get("head_dim") or (int(hidden or 0) // int(heads or 1) if _ints(hidden, heads) else None)
        entries = tuple(
            FileEntry(_plain(str(file.relative_to(self._root()))), file.stat().st_size, self._hash(file))
            for file in files
        )
        base = _names(front.get("base_model"))
        card = ModelCard(
            name=self.path.name,
            path=str(self.path),
            adapter=None,
            format=format,
            architecture=str(next(iter(_list(config.get("architectures"))), "unknown")),
            model_type=str(config.get("model_type", "unknown")),
            parameters=parameters if not quantisation else None,
            dtypes=dict(counts),
            quantisation=quantisation,
            vocab_size=_int(config.get("vocab_size")),
            layers=_int(config.get("num_hidden_layers")),
            hidden_size=_int(hidden),
            kv_heads=_int(config.get("num_key_value_heads") or heads),
            head_dim=_int(head_dim),
            context_length=_int(config.get("max_position_embeddings")),
            tokenizer_fingerprint=tokenizer,
            template_fingerprint=_digest(template.encode()) if template is not None else None,
            template=template,
            licence=", ".join(_names(front.get("license"))) or "not stated",
            base_model=base,
            lineage_hints=_hints(prose),
            files=entries,
            fingerprint=self._fingerprint(entries),
            weights_sha256=_weights_digest(entries),
            memory=(),
            findings=tuple(self.findings),
            not_examined=tuple(self.not_examined),
        )
        return card.refit()

    def _counted(self) -> set[str]:
        """The weight files that are the model, where a folder holds it twice or holds others beside it."""
        table = self._json("model.safetensors.index.json").get("weight_map") if self.path.is_dir() else None
        if isinstance(table, dict):
            return set(map(str, table.values()))
        if "model.safetensors" in self.headers:
            return {"model.safetensors"}
        return {name for name in self.headers if "/" not in name}

    def _root(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def _hash(self, file: Path) -> str | None:
        return cached_sha256(file) if self.hash_files else None

    def _readme(self) -> tuple[dict[str, Any], str]:
        file = self._root() / "README.md"
        if self.path.is_file() or not self._holds(file.name):
            return {}, self.path.name
        text = file.read_text(errors="replace")[:200_000]
        front, prose = {}, text
        if text.startswith("---"):
            head, _, prose = text[3:].partition("\n---")
            try:
                value = yaml.safe_load(head)
                front = value if isinstance(value, dict) else {}
            except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: the 45th of a 13th month
                self._find("bad_front_matter", "low", file, "The model card's front matter cannot be read.")
        return front, f"{self.path.name}\n{prose}"

    def _fingerprint(self, entries: tuple[FileEntry, ...]) -> str:
        digest = hashlib.sha256()
        for entry in entries:
            digest.update(f"{entry.path}\0{entry.bytes}\n".encode())
        for name in ("config.json", "tokenizer.json", "adapter_config.json", "chat_template.jinja"):
            file = self._root() / name
            if self.path.is_dir() and self._holds(name):
                digest.update(file.read_bytes())
        for name in sorted(self.headers):
            digest.update(self.headers[name].raw)
        return digest.hexdigest()

    def _find(self, id: str, severity: Any, file: Path, message: str) -> None:
        finding = FileFinding(id, severity, _plain(file.name), _plain(message))
        if finding not in self.findings:
            self.findings.append(finding)


_MAGICS = {
    b"GGUF": "a GGUF file",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"PK\x03\x04": "a ZIP archive",
    b"#!": "a script",
}
_EXPECTED: dict[str, tuple[str, ...]] = {
    "a GGUF file": (".gguf",),
    "a program": (),
    "a pickle": PICKLES,
    "a ZIP archive": (*PICKLES, ".zip", ".npz"),
    "a script": (".sh", ".py"),
}


def _hints(prose: str) -> tuple[str, ...]:
    """Sentences that speak of distillation; cut into sentences first, so that a long text costs no more than once."""
    sentences = (part.strip() for part in re.split(r"[.\n]", prose))
    return tuple(dict.fromkeys(part[:300] for part in sentences if _HINTS.search(part)))[:5]


def _on_base(base: ModelCard, adapter: ModelCard, ref: ModelRef) -> ModelCard:
    digest = hashlib.sha256(f"{base.fingerprint}{adapter.fingerprint}".encode()).hexdigest()
    weights = None
    if base.weights_sha256 and adapter.weights_sha256:
        weights = hashlib.sha256(f"{base.weights_sha256}{adapter.weights_sha256}".encode()).hexdigest()
    return _replace(
        base,
        name=ref.name,
        adapter=ref.adapter,
        fingerprint=digest,
        weights_sha256=weights,
        base_model=(*base.base_model, *(name for name in adapter.base_model if name not in base.base_model)),
        files=base.files + adapter.files,
        findings=base.findings + adapter.findings,
    )


def _replace(card: ModelCard, **changes: Any) -> ModelCard:
    import msgspec

    return msgspec.structs.replace(card, **changes)


def _quantisation(config: dict[str, Any], apart: dict[str, Any], dtypes: Counter[str]) -> str | None:
    """Stated in config.json, in an older quantize_config.json (GPTQ's), or seen in the tensors' types."""
    stated = config.get("quantization_config")
    if not isinstance(stated, dict):
        if "bits" in apart:
            return f"{str(apart.get('quant_method') or 'gptq').upper()} {apart['bits']} bit"
        return "FP8" if any(dtype.startswith("F8_E") for dtype in dtypes) else None
    method = str(stated.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in stated else "unknown"))
    bits = stated.get("bits") or stated.get("w_bit")
    return f"{method.upper()}{f' {bits} bit' if bits else ''}"


def _weights_digest(entries: tuple[FileEntry, ...]) -> str | None:
    weights = [entry for entry in entries if entry.path.endswith((".safetensors", ".gguf", *PICKLES))]
    if not weights or any(entry.sha256 is None for entry in weights):
        return None
    if len(weights) == 1:
        return weights[0].sha256
    return _digest("".join(f"{entry.path}\0{entry.sha256}\n" for entry in weights).encode())


def _walk(rule: Any) -> list[dict[str, Any]]:
    if not isinstance(rule, dict):
        return []
    found, waiting = [], [rule]
    while waiting:  # not by recursion: a hostile file may nest deeper than Python calls
        rule = waiting.pop()
        found.append(rule)
        inner = [*_list(rule.get("normalizers")), *_list(rule.get("pretokenizers"))]
        waiting += [part for part in inner if isinstance(part, dict)]
    return found


def _names(value: Any) -> tuple[str, ...]:
    """Strings only: to print a nested YAML alias could need more memory than there is."""
    return tuple(
        _plain(name) for name in ([value] if isinstance(value, str) else _list(value)) if isinstance(name, str)
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _plain(text: str) -> str:
    """Without halves of surrogate pairs, which can be neither shown nor saved."""
    return text.encode(errors="replace").decode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _int(value: Any) -> int | None:
    """A count; None for anything else, and for what no model can have."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _ints(*values: Any) -> bool:
    return all(_int(value) for value in values)
