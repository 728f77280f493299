"""GGUF headers, read by hand with bounds on everything that a hostile file could state."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from core.errors import InputError

MAGIC = b"GGUF"
MAX_STRING = 2**24
MAX_COUNT = 2**22
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
# ggml type → (weights in a block, bytes of a block)
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66),
    39: (32, 17),
}  # fmt: skip


class GgufHeader(NamedTuple):
    metadata: dict[str, Any]
    parameters: int
    tensors: int


def read_gguf(path: Path) -> GgufHeader:
    """Metadata and tensor table. Raises InputError for a file that is cut off or not GGUF."""
    with path.open("rb") as stream:
        if stream.read(4) != MAGIC:
            raise InputError("not_gguf", f"{path.name} is not a GGUF file.", "Download it again from its publisher.")
        try:
            return _read(stream, path.stat().st_size)
        except (struct.error, ValueError, UnicodeDecodeError, MemoryError) as error:
            raise InputError(
                "gguf_cut_off", f"{path.name} is cut off or damaged.", "Download it again from its publisher."
            ) from error


def _read(stream: BinaryIO, size: int) -> GgufHeader:
    version, tensors, pairs = _take(stream, "<I"), _take(stream, "<Q"), _take(stream, "<Q")
    if version not in (2, 3) or tensors > MAX_COUNT or pairs > MAX_COUNT:
        raise ValueError("unknown version or absurd counts")
    metadata = {}
    for _ in range(pairs):
        key = _string(stream)
        metadata[key] = _value(stream, _take(stream, "<I"))
    parameters = needed = 0
    for _ in range(tensors):
        _string(stream)
        dimensions = _take(stream, "<I")
        if dimensions > 8:
            raise ValueError("absurd dimensions")
        weights = math.prod(_take(stream, "<Q") for _ in range(dimensions))
        parameters += weights
        block, width = _BLOCKS.get(_take(stream, "<I"), (1, 0))  # of an unknown type, only the start is checked
        needed = max(needed, _take(stream, "<Q") + weights // block * width)
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError("absurd alignment")
    if math.ceil(stream.tell() / alignment) * alignment + needed > size:
        raise ValueError("cut off")
    return GgufHeader(metadata, parameters, tensors)


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind in _SCALARS:
        return _take(stream, _SCALARS[kind])
    if kind == _STRING:
        return _string(stream)
    if kind != _ARRAY:
        raise ValueError("unknown type")
    inner, count = _take(stream, "<I"), _take(stream, "<Q")
    if count > MAX_COUNT or inner == _ARRAY:
        raise ValueError("absurd array")
    return [_value(stream, inner) for _ in range(count)]


def _string(stream: BinaryIO) -> str:
    length = _take(stream, "<Q")
    if length > MAX_STRING:
        raise ValueError("absurd string")
    data = stream.read(length)
    if len(data) < length:
        raise ValueError("cut off")
    return data.decode(errors="replace")


def _take(stream: BinaryIO, form: str) -> Any:
    return struct.unpack(form, stream.read(struct.calcsize(form)))[0]
