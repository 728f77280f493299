"""safetensors headers, read by hand: 8 bytes of little-endian length, then JSON. Weights are not touched."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

MAX_HEADER = 100 * 2**20
BITS = {
    "C64": 64, "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64,
    "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6,
}  # fmt: skip


class Header(NamedTuple):
    """Tensors by name → (dtype, shape); ``problem`` is a sentence if the file is not whole."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    metadata: dict[str, str]
    problem: str | None
    raw: bytes = b""


def read_header(path: Path) -> Header:
    """Read and check the header: its length, JSON, duplicate names, bounds, overlaps and gaps of the data."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            return _bad("is cut off: it has no header")
        length = int.from_bytes(start, "little")
        if length > MAX_HEADER:
            return _bad(f"states a header of {length:,} bytes; at most {MAX_HEADER:,} are read")
        if length > size - 8:
            return _bad(f"is cut off: its header needs {length:,} bytes and {size - 8:,} are there")
        raw = stream.read(length)
    try:
        table = json.loads(raw, object_pairs_hook=_no_duplicates)
    except _DuplicateError as error:
        return _bad(f"names the tensor {error} twice")
    except (ValueError, RecursionError):
        return _bad("has a header that is not JSON")
    if not isinstance(table, dict):
        return _bad("has a header that is no table")
    metadata = table.pop("__metadata__", {})
    try:
        return _check(table, metadata if isinstance(metadata, dict) else {}, size - 8 - length, raw)
    except (KeyError, TypeError, ValueError, OverflowError):
        return _bad("has a header whose entries are not tensors")


def _check(table: dict[str, Any], metadata: dict[str, str], room: int, raw: bytes) -> Header:
    spans, tensors = [], {}
    for name, entry in table.items():
        first, last = entry["data_offsets"]
        shape, dtype = tuple(entry["shape"]), entry["dtype"]
        if not all(type(number) is int and number >= 0 for number in (first, last, *shape)):
            raise ValueError("not a tensor")
        if dtype not in BITS:
            return _bad(f"has a tensor {name} of an unknown type")
        tensors[name] = (dtype, shape)
        if not 0 <= first <= last <= room:
            return _bad(f"is cut off or oversized: tensor {name} lies outside the file")
        if math.prod(shape) * BITS[dtype] != (last - first) * 8:
            return _bad(f"has a tensor {name} whose shape and size disagree")
        spans.append((first, last, name))
    spans.sort()
    for (_, end, one), (begin, _, two) in itertools.pairwise(spans):
        if begin < end:
            return _bad(f"has overlapping tensors: {one} and {two}")
    return Header(tensors, metadata, None, raw)


class _DuplicateError(ValueError):
    pass


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        raise _DuplicateError(next(name for name in names if names.count(name) > 1))
    return table


def _bad(problem: str) -> Header:
    return Header({}, {}, problem)
