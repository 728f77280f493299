"""Ordinary models: what the card says of them, and that nothing is found where nothing is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.catalog import ModelCard, diff_cards, hashes, inspect_model, memory
from core.types import ModelRef
from tests.unit.catalog import made


def look(path: Path, extra: Path | None = None, *, hash_files: bool = False) -> ModelCard:
    return inspect_model(ModelRef(str(path), str(extra) if extra else None), hash_files=hash_files)


def test_single_file(tmp_path: Path) -> None:
    card = look(made.folder(tmp_path / "tiny"))
    assert card.findings == ()
    assert (card.name, card.format, card.architecture, card.model_type) == (
        "tiny",
        "safetensors",
        "LlamaForCausalLM",
        "llama",
    )
    assert (card.parameters, card.dtypes, card.quantisation) == (64, {"F16": 64}, None)
    assert (card.vocab_size, card.layers, card.hidden_size, card.context_length) == (8, 1, 4, 64)
    assert (card.kv_heads, card.head_dim) == (1, 2)
    assert card.template == made.CHATML
    assert card.template_fingerprint == hashlib.sha256(made.CHATML.encode()).hexdigest()
    assert (card.licence, card.base_model, card.lineage_hints) == ("not stated", (), ())
    assert card.weights_sha256 is None
    assert "what the weights do: only running the model shows it" in card.not_examined
    assert msgspec.json.decode(msgspec.json.encode(card), type=ModelCard) == card


def test_sharded(tmp_path: Path) -> None:
    card = look(made.sharded(tmp_path / "tiny"))
    assert card.findings == ()
    assert (card.parameters, card.format) == (64, "safetensors")


def test_weights_held_twice_are_counted_once(tmp_path: Path) -> None:
    path = made.sharded(tmp_path / "tiny")
    (path / "consolidated.safetensors").write_bytes(made.safetensors())
    (path / "original").mkdir()
    (path / "original" / "model.safetensors").write_bytes(made.safetensors())
    assert look(path).parameters == 64


def test_hub_cache_snapshot(tmp_path: Path) -> None:
    """Files of a snapshot are links into the blobs of their own repository."""
    repository = tmp_path / "models--someone--tiny"
    snapshot = made.folder(repository / "snapshots" / "abc123")
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(snapshot.iterdir())):
        file.rename(repository / "blobs" / str(number))
        file.symlink_to(Path("../../blobs") / str(number))
    card = look(snapshot)
    assert card.findings == ()
    assert card.parameters == 64


def test_gguf(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(made.gguf())
    card = look(file, hash_files=True)
    assert card.findings == ()
    assert (card.format, card.architecture, card.parameters, card.licence) == ("gguf", "llama", 64, "mit")
    assert (card.vocab_size, card.layers, card.hidden_size, card.context_length) == (8, 1, 4, 64)
    assert card.template == made.CHATML
    assert card.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_template_of_a_gguf_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(made.gguf(template="{{ messages.__class__ }}"))
    assert [(found.id, found.file) for found in look(file).findings] == [("template_code_execution", "tiny.gguf")]


def test_adapter_alone(tmp_path: Path) -> None:
    card = look(made.adapter(tmp_path / "lora"))
    assert card.findings == ()
    assert (card.format, card.architecture, card.parameters) == ("adapter", "LORA adapter", 8)
    assert card.base_model == ("someone/base",)
    assert card.memory == ()
    assert "the base that the adapter stands on" in card.not_examined


def test_adapter_on_a_base(tmp_path: Path) -> None:
    base, extra = made.folder(tmp_path / "base"), made.adapter(tmp_path / "lora")
    plain, card = look(base), look(base, extra)
    assert (card.name, card.adapter, card.format) == ("base + lora", str(extra), "safetensors")
    assert card.findings == ()
    assert card.fingerprint != plain.fingerprint
    assert card.base_model == ("someone/base",)
    assert {entry.path for entry in card.files} > {entry.path for entry in plain.files}


def test_hashes(tmp_path: Path) -> None:
    path = made.folder(tmp_path / "tiny")
    card = look(path, hash_files=True)
    weights = hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()
    assert card.weights_sha256 == weights
    by_path = {entry.path: entry.sha256 for entry in card.files}
    assert by_path["config.json"] == hashlib.sha256((path / "config.json").read_bytes()).hexdigest()
    assert card.fingerprint == look(path).fingerprint


def test_hash_of_shards_covers_each(tmp_path: Path) -> None:
    path = made.sharded(tmp_path / "tiny")
    before = look(path, hash_files=True).weights_sha256
    shard = path / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x01")
    after = look(path, hash_files=True).weights_sha256
    assert before is not None
    assert after is not None
    assert before != after


def test_hash_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made.folder(tmp_path / "tiny") / "model.safetensors"
    digest = hashes.cached_sha256(path)
    assert list((tmp_path / "cache" / "sha256").rglob("*"))
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("it was read again"))
    assert hashes.cached_sha256(path) == digest


def test_fingerprint_changes_with_the_config(tmp_path: Path) -> None:
    one, two = made.folder(tmp_path / "one"), made.folder(tmp_path / "two", rope_theta=10_001.0)
    again = made.folder(tmp_path / "again")
    assert look(one).fingerprint == look(again).fingerprint != look(two).fingerprint


def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made.folder(tmp_path / "tiny")
    cache = 2 * 1 * 1 * 2 * memory.CACHE_TOKENS * 2
    monkeypatch.setattr(memory, "free_memory", lambda: int((64 * 2 + cache) * memory.OVERHEAD))
    rows = {row.precision: row for row in look(path).memory}
    assert list(rows) == ["fp32", "bf16", "int8", "nf4"]
    assert rows["fp32"].bytes == int((64 * 4 + cache) * memory.OVERHEAD)
    assert (rows["fp32"].fits, rows["bf16"].fits) == (False, True)
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert {row.fits for row in look(path).memory} == {None}


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ({"quant_method": "gptq", "bits": 4}, "GPTQ 4 bit"),
        ({"quant_method": "awq", "w_bit": 4}, "AWQ 4 bit"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "FP8"),
        ({"load_in_4bit": True}, "BITSANDBYTES"),
    ],
)
def test_quantised_already(stated: dict[str, Any], shown: str, tmp_path: Path) -> None:
    card = look(made.folder(tmp_path / "tiny", quantization_config=stated))
    assert card.quantisation == shown
    assert card.parameters is None  # packed numbers are no count of weights
    assert "the weights before they were quantised" in card.not_examined


def test_older_gptq_and_fp8_without_a_word(tmp_path: Path) -> None:
    older = made.folder(tmp_path / "older")
    made.write_json(older / "quantize_config.json", {"bits": 4, "group_size": 128})
    assert look(older).quantisation == "GPTQ 4 bit"
    fp8 = made.folder(tmp_path / "fp8")
    entry = {"dtype": "F8_E4M3", "shape": [8, 4], "data_offsets": [0, 32]}
    (fp8 / "model.safetensors").write_bytes(made.packed({"embed": entry}, 32))
    assert look(fp8).quantisation == "FP8"


def test_readme(tmp_path: Path) -> None:
    path = made.folder(tmp_path / "tiny-distilled")
    (path / "README.md").write_text(
        "---\nlicense: apache-2.0\nbase_model:\n- someone/small\n- someone/large\n---\n"
        "# Tiny\nIt was distilled from the answers of someone/large. It is small.\n"
    )
    card = look(path)
    assert card.findings == ()
    assert card.licence == "apache-2.0"
    assert card.base_model == ("someone/small", "someone/large")
    assert card.lineage_hints == ("tiny-distilled", "It was distilled from the answers of someone/large")


def test_template_in_a_file_of_its_own_wins(tmp_path: Path) -> None:
    path = made.folder(tmp_path / "tiny")
    (path / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    assert look(path).template == "{{ messages[-1].content }}"


def test_named_templates(tmp_path: Path) -> None:
    path = made.folder(tmp_path / "tiny")
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": made.CHATML}]
    made.write_json(path / "tokenizer_config.json", {"chat_template": named})
    assert look(path).template == made.CHATML


def test_rules_for_spaces_are_usual(tmp_path: Path) -> None:
    path = made.folder(tmp_path / "tiny")
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    prepend = {"type": "Prepend", "prepend": "▁"}
    table = {**made.TOKENIZER, "normalizer": {"type": "Sequence", "normalizers": [prepend, space]}}
    (path / "tokenizer.json").write_text(json.dumps(table))
    assert look(path).findings == ()


def test_difference_of_a_pair(tmp_path: Path) -> None:
    teacher = look(made.folder(tmp_path / "teacher"))
    other = made.folder(tmp_path / "student", vocab_size=9)
    made.write_json(other / "tokenizer.json", {**made.TOKENIZER, "added_tokens": []})
    (other / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    (other / "README.md").write_text("---\nlicense: mit\n---\n")
    assert diff_cards(teacher, look(other)) == [
        "The tokenizers differ: log-likelihoods are compared by text, not by token.",
        "The chat templates differ: each model is asked in its own.",
        "The vocabularies have 8 and 9 rows.",
        "The licences differ: not stated and mit.",
        "The student does not say what it was made from.",
    ]


def test_difference_of_a_model_and_itself(tmp_path: Path) -> None:
    folder = made.folder(tmp_path / "same")
    quick = look(folder)
    assert not any("same model" in sentence for sentence in diff_cards(quick, quick)), "headers alone cannot say so"
    card = inspect_model(ModelRef(str(folder)), hash_files=True)
    assert diff_cards(card, card)[0] == "Both are the same model: nothing can have been distilled."


def test_a_part_of_a_gguf_says_so(tmp_path: Path) -> None:
    one, two = (tmp_path / f"m-0000{part}-of-00002.gguf" for part in (1, 2))
    one.write_bytes(made.gguf(split__count=2, split__no=0))
    finding = look(one).findings[0]
    assert (finding.id, finding.severity) == ("gguf_part", "high")
    assert "m-00002-of-00002.gguf is not beside it" in finding.message
    two.write_bytes(made.gguf(split__count=2, split__no=1))
    assert "llama-gguf-split --merge" in look(one).findings[0].message
    assert "the other parts of the model" in look(one).not_examined


def test_usual_marks_around_a_text_are_no_finding(tmp_path: Path) -> None:
    path = made.folder(tmp_path / "tiny")
    post = {
        "type": "Sequence",
        "processors": [
            {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {"</s>": {"id": "</s>", "ids": [7], "tokens": ["</s>"]}},
            }
        ],
    }
    decoder = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}]}
    added = [{"id": 7, "content": "</s>", "special": True}]
    made.write_json(
        path / "tokenizer.json", {**made.TOKENIZER, "post_processor": post, "decoder": decoder, "added_tokens": added}
    )
    assert look(path).findings == ()


def test_a_predictor_of_further_tokens_is_no_disagreement(tmp_path: Path) -> None:
    path = made.folder(tmp_path / "tiny", num_nextn_predict_layers=1)
    names = ("model.layers.0.mlp.weight", "model.layers.1.mlp.weight")
    (path / "model.safetensors").write_bytes(made.safetensors({name: ("F16", [2, 4]) for name in names}))
    assert look(path).findings == ()
