"""Small model folders and files, made by hand."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 8,
    "hidden_size": 4,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
}
TOKENIZER: dict[str, Any] = {
    "model": {"type": "BPE", "vocab": {chr(97 + i): i for i in range(7)}, "merges": []},
    "added_tokens": [{"id": 7, "content": "</s>"}],
}
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TENSORS = {"embed": ("F16", [8, 4]), "head": ("F16", [4, 8])}


def entries(tensors: dict[str, tuple[str, list[int]]]) -> tuple[dict[str, Any], int]:
    """Header entries laid out one after the other, and the bytes of data they need (16-bit types)."""
    table: dict[str, Any] = {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        size = 2
        for part in shape:
            size *= part
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    return table, offset


def packed(header: Any, data: int, raw: bytes | None = None) -> bytes:
    """A safetensors file of a header (or ``raw`` in its place) and ``data`` zero bytes."""
    text = raw if raw is not None else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data)


def safetensors(tensors: dict[str, tuple[str, list[int]]] = TENSORS) -> bytes:
    return packed(*entries(tensors))


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def folder(path: Path, **config: Any) -> Path:
    """A whole tiny model: one safetensors file of 64 weights."""
    path.mkdir(parents=True)
    write_json(path / "config.json", {**CONFIG, **config})
    write_json(path / "tokenizer.json", TOKENIZER)
    write_json(path / "tokenizer_config.json", {"chat_template": CHATML})
    (path / "model.safetensors").write_bytes(safetensors())
    return path


def sharded(path: Path) -> Path:
    """The same in two shards with an index."""
    folder(path)
    (path / "model.safetensors").unlink()
    names = {"embed": "model-00001-of-00002.safetensors", "head": "model-00002-of-00002.safetensors"}
    for tensor, name in names.items():
        (path / name).write_bytes(safetensors({tensor: TENSORS[tensor]}))
    write_json(path / "model.safetensors.index.json", {"weight_map": names})
    return path


def adapter(path: Path, base: str = "someone/base") -> Path:
    path.mkdir(parents=True)
    write_json(path / "adapter_config.json", {"peft_type": "LORA", "base_model_name_or_path": base})
    (path / "adapter_model.safetensors").write_bytes(safetensors({"lora_A": ("F16", [2, 4])}))
    return path


def gguf(
    *,
    template: str = CHATML,
    tensors: int | None = None,
    pairs: int | None = None,
    version: int = 3,
    **more: str | int,
) -> bytes:
    """A GGUF file of two fp16 tensors (64 weights); stated counts can lie. ``more``: metadata, ``__`` for a dot."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def pair(key: str, value: str | int | list[str]) -> bytes:
        if isinstance(value, str):
            return text(key) + struct.pack("<I", 8) + text(value)
        if isinstance(value, int):
            return text(key) + struct.pack("<II", 4, value)
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))

    facts: dict[str, str | int | list[str]] = {
        "general.architecture": "llama",
        "general.license": "mit",
        "llama.block_count": 1,
        "llama.embedding_length": 4,
        "llama.attention.head_count": 2,
        "llama.context_length": 64,
        "tokenizer.ggml.tokens": list("abcdefgh"),
        "tokenizer.chat_template": template,
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    table = b"".join(
        text(name) + struct.pack("<IQQIQ", 2, *TENSORS[name][1], 1, offset)
        for name, offset in (("embed", 0), ("head", 64))
    )
    head = b"GGUF" + struct.pack("<IQQ", version, 2 if tensors is None else tensors, pairs or len(facts))
    body = head + b"".join(pair(key, value) for key, value in facts.items()) + table
    return body + bytes(-len(body) % 32) + bytes(128)
