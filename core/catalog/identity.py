"""What a file is in truth, how weights are quantised, and one hash for all weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

from core.catalog.card import FileEntry
from core.catalog.pickles import PICKLES
from core.catalog.values import digest

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


def disguised(start: bytes, suffix: str) -> str | None:
    """What a file is by its first bytes, if its name says otherwise."""
    kind = next((name for magic, name in _MAGICS.items() if start.startswith(magic)), None)
    return kind if kind and suffix not in _EXPECTED[kind] else None


def quantisation(config: dict[str, Any], apart: dict[str, Any], dtypes: Counter[str]) -> str | None:
    """Stated in config.json, in an older quantize_config.json (GPTQ's), or seen in the tensors' types."""
    stated = config.get("quantization_config")
    if not isinstance(stated, dict):
        if "bits" in apart:
            return f"{str(apart.get('quant_method') or 'gptq').upper()} {apart['bits']} bit"
        return "FP8" if any(dtype.startswith("F8_E") for dtype in dtypes) else None
    method = str(stated.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in stated else "unknown"))
    bits = stated.get("bits") or stated.get("w_bit")
    return f"{method.upper()}{f' {bits} bit' if bits else ''}"


def weights_digest(entries: tuple[FileEntry, ...]) -> str | None:
    weights = [entry for entry in entries if entry.path.endswith((".safetensors", ".gguf", *PICKLES))]
    if not weights or any(entry.sha256 is None for entry in weights):
        return None
    if len(weights) == 1:
        return weights[0].sha256
    return digest("".join(f"{entry.path}\0{entry.sha256}\n" for entry in weights).encode())
