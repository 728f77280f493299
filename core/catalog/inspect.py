"""A folder, a .gguf file or an adapter → ModelCard. Files are read, never run; pickles are scanned, never loaded."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from core.catalog.card import FileEntry, FileFinding, ModelCard
from core.catalog.gguf import MAGIC, read_gguf
from core.catalog.hashes import cached_sha256
from core.catalog.identity import disguised, quantisation, weights_digest
from core.catalog.lineage import distillation_hints, front_matter
from core.catalog.pickles import PICKLES, scan_pickle
from core.catalog.safetensors import Header, read_header
from core.catalog.shapes import shape_disagreement
from core.catalog.template import check_template
from core.catalog.tokenizer import tokenizer_findings
from core.catalog.values import count, digest, items, names, plain, tables
from core.errors import InputError
from core.types import ModelRef

MAX_JSON = 64 * 2**20
MAX_TEMPLATES = 12
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


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
        self._shapes(config)
        templates = self._templates()
        self._check_templates(templates)
        return self._card(
            format="safetensors" if weights and not pickles else "bin" if pickles and not weights else "mixed",
            config=config,
            files=files,
            tokenizer=tokenizer,
            template=templates["default"][0] if "default" in templates else None,
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
        return msgspec.structs.replace(
            card, architecture=f"{config.get('peft_type', 'PEFT')} adapter", base_model=names(base)
        )

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
        self._split(facts)
        card = self._card(
            format="gguf",
            config=config,
            files=[self.path],
            tokenizer=digest(json.dumps(words).encode()),
            template=template if isinstance(template, str) else None,
        )
        licence = str(facts.get("general.license", "not stated"))
        base = names(facts.get("general.base_model.0.name"))
        return msgspec.structs.replace(
            card, parameters=count(header.parameters), licence=licence, base_model=base
        ).refit()

    def _split(self, facts: dict[str, Any]) -> None:
        """One part of a model that was cut into several files."""
        parts = facts.get("split.count")
        if not isinstance(parts, int) or isinstance(parts, bool) or not 1 < parts < 10_000:
            return
        name = re.sub(r"-\d{5}-of-\d{5}$", "", self.path.stem)
        files = [f"{name}-{part:05}-of-{parts:05}.gguf" for part in range(1, parts + 1)]
        absent = [file for file in files if not (self.path.parent / file).is_file()]
        text = f"This is one of {parts} parts of a model: join them with llama-gguf-split --merge, then open the whole."
        if absent:
            text = f"This is one of {parts} parts of a model, and {absent[0]} is not beside it: download it too."
        self._find("gguf_part", "high" if absent else "medium", self.path, text)
        self.not_examined.append("the other parts of the model")

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

    def _shapes(self, config: dict[str, Any]) -> None:
        shapes: dict[str, tuple[int, ...]] = {}
        for name in self._counted() & self.headers.keys():
            shapes |= {tensor: shape for tensor, (_, shape) in self.headers[name].tensors.items()}
        found = shape_disagreement(config, shapes)
        if found:
            self._find("config_disagrees", found[0], self.path / "config.json", found[1])

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
            kind = disguised(start, file.suffix)
            if kind:
                self._find("wrong_magic", "high", file, f"{file.name} is in truth {kind}.")

    def _tokenizer(self, config: dict[str, Any]) -> str:
        file = self.path / "tokenizer.json"
        if not self._holds(file.name):
            others = [name for name in ("tokenizer.model", "vocab.json", "spiece.model") if self._holds(name)]
            if not others:
                self._find("no_tokenizer", "high", file, "The folder has no tokenizer: download tokenizer.json too.")
                return ""
            self.not_examined.append(f"the rules inside {others[0]}")
            return digest((self.path / others[0]).read_bytes())
        for id, severity, text in tokenizer_findings(self._json("tokenizer.json"), config.get("vocab_size")):
            self._find(id, severity, file, text)
        self.not_examined.append("whether text comes back unchanged through the tokenizer")
        return digest(file.read_bytes())

    def _templates(self) -> dict[str, tuple[str, str]]:
        """Every chat template by name, with the file it stands in; the usual one is called ``default``."""
        found: dict[str, tuple[str, str]] = {}
        stated = self._json("tokenizer_config.json").get("chat_template")
        for source, value in (("tokenizer_config.json", stated), ("chat_template.json", self._stated_apart())):
            if isinstance(value, str):
                found.setdefault("default", (value, source))
            for entry in tables(value):
                if isinstance(entry.get("template"), str):
                    found.setdefault(str(entry.get("name")), (entry["template"], source))
        files = {"default": Path("chat_template.jinja")}
        extra = self.path / "additional_chat_templates"
        files |= {file.stem: file.relative_to(self.path) for file in sorted(extra.glob("*.jinja"))}
        for name, file in files.items():  # a file of its own wins over what the tokenizer's config states
            if self._holds(file.as_posix()) and (self.path / file).stat().st_size < MAX_JSON:
                found[name] = ((self.path / file).read_text(errors="replace"), file.name)
        return found

    def _stated_apart(self) -> Any:
        return self._json("chat_template.json").get("chat_template") if self._holds("chat_template.json") else None

    def _check_templates(self, templates: dict[str, tuple[str, str]]) -> None:
        for name, (template, place) in list(templates.items())[:MAX_TEMPLATES]:
            found = check_template(template, place)
            if name != "default":
                found = [
                    msgspec.structs.replace(one, message=f"In the template called {plain(name)[:60]!r}: {one.message}")
                    for one in found
                ]
            self.findings += [one for one in found if one not in self.findings]
        if len(templates) > MAX_TEMPLATES:
            self.not_examined.append(f"{len(templates) - MAX_TEMPLATES} of its {len(templates)} chat templates")

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
        quantised = quantisation(config, self._json("quantize_config.json") if self.path.is_dir() else {}, counts)
        whole = all(name in self.headers and not self.headers[name].problem for name in counted)
        parameters = (sum(counts.values()) or None) if whole else None
        if quantised:
            self.not_examined.append("the weights before they were quantised")
        heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
        head_dim = config.get("head_dim") or (int(hidden or 0) // int(heads or 1) if _ints(hidden, heads) else None)
        entries = tuple(
            FileEntry(plain(str(file.relative_to(self._root()))), file.stat().st_size, self._hash(file))
            for file in files
        )
        base = names(front.get("base_model"))
        card = ModelCard(
            name=self.path.name,
            path=str(self.path),
            adapter=None,
            format=format,
            architecture=str(next(iter(items(config.get("architectures"))), "unknown")),
            model_type=str(config.get("model_type", "unknown")),
            parameters=parameters if not quantised else None,
            dtypes=dict(counts),
            quantisation=quantised,
            vocab_size=count(config.get("vocab_size")),
            layers=count(config.get("num_hidden_layers")),
            hidden_size=count(hidden),
            kv_heads=count(config.get("num_key_value_heads") or heads),
            head_dim=count(head_dim),
            context_length=count(config.get("max_position_embeddings")),
            tokenizer_fingerprint=tokenizer,
            template_fingerprint=digest(template.encode()) if template is not None else None,
            template=template,
            licence=", ".join(names(front.get("license"))) or "not stated",
            base_model=base,
            lineage_hints=distillation_hints(prose),
            files=entries,
            fingerprint=self._fingerprint(entries),
            weights_sha256=weights_digest(entries),
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
        front, prose = front_matter(file.read_text(errors="replace")[:200_000])
        if front is None:
            self._find("bad_front_matter", "low", file, "The model card's front matter cannot be read.")
        return front or {}, f"{self.path.name}\n{prose}"

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
        finding = FileFinding(id, severity, plain(file.name), plain(message))
        if finding not in self.findings:
            self.findings.append(finding)


def _on_base(base: ModelCard, adapter: ModelCard, ref: ModelRef) -> ModelCard:
    digest = hashlib.sha256(f"{base.fingerprint}{adapter.fingerprint}".encode()).hexdigest()
    weights = None
    if base.weights_sha256 and adapter.weights_sha256:
        weights = hashlib.sha256(f"{base.weights_sha256}{adapter.weights_sha256}".encode()).hexdigest()
    return msgspec.structs.replace(
        base,
        name=ref.name,
        adapter=ref.adapter,
        fingerprint=digest,
        weights_sha256=weights,
        base_model=(*base.base_model, *(name for name in adapter.base_model if name not in base.base_model)),
        files=base.files + adapter.files,
        findings=base.findings + adapter.findings,
    )


def _ints(*values: Any) -> bool:
    return all(count(value) for value in values)
