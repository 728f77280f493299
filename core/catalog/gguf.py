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
            return _read(stream)
        except (struct.error, ValueError, UnicodeDecodeError, MemoryError) as error:
            raise InputError(
                "gguf_cut_off", f"{path.name} is cut off or damaged.", "Download it again from its publisher."
            ) from error


def _read(stream: BinaryIO) -> GgufHeader:
    version, tensors, pairs = _take(stream, "<I"), _take(stream, "<Q"), _take(stream, "<Q")
    if version not in (2, 3) or tensors > MAX_COUNT or pairs > MAX_COUNT:
        raise ValueError("unknown version or absurd counts")
    metadata = {}
    for _ in range(pairs):
        key = _string(stream)
        metadata[key] = _value(stream, _take(stream, "<I"))
    parameters = 0
    for _ in range(tensors):
        _string(stream)
        dimensions = _take(stream, "<I")
        if dimensions > 8:
            raise ValueError("absurd dimensions")
        parameters += math.prod(_take(stream, "<Q") for _ in range(dimensions))
        _take(stream, "<I")
        _take(stream, "<Q")
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
