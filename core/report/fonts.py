"""The fonts that travel with Foreshot: the window registers them, the PDF uses nothing else. Standard library only."""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path

from core.types import RESOURCES

SANS = "Inter"
MONO = "JetBrains Mono"
CJK = "Noto Sans SC"
FONT_FOLDER = RESOURCES / "fonts"


def font_files() -> list[Path]:
    """Every bundled font file, in a fixed order."""
    return sorted(FONT_FOLDER.glob("*.ttf"))


@lru_cache(maxsize=1)
def coverage() -> frozenset[int]:
    """Code points that at least one bundled font can draw."""
    return frozenset().union(*(_cmap(path.read_bytes()) for path in font_files()))


def _cmap(font: bytes) -> set[int]:
    """Code points of a TrueType file's Unicode ``cmap`` sub-tables, formats 4 and 12 (OpenType 1.9, "cmap")."""
    tables = struct.unpack_from(">H", font, 4)[0]
    records = (struct.unpack_from(">4sLLL", font, 12 + 16 * i) for i in range(tables))
    start = next(offset for tag, _, offset, _ in records if tag == b"cmap")
    found: set[int] = set()
    for i in range(struct.unpack_from(">H", font, start + 2)[0]):
        table = start + struct.unpack_from(">L", font, start + 4 + 8 * i + 4)[0]
        kind = struct.unpack_from(">H", font, table)[0]
        if kind == 12:
            for group in range(struct.unpack_from(">L", font, table + 12)[0]):
                first, last, _ = struct.unpack_from(">LLL", font, table + 16 + 12 * group)
                found.update(range(first, last + 1))
        elif kind == 4:
            found |= _cmap4(font, table)
    return found


def _cmap4(font: bytes, table: int) -> set[int]:
    count = struct.unpack_from(">H", font, table + 6)[0] // 2
    ends, starts, deltas, offsets = (
        struct.unpack_from(f">{count}H", font, table + 14 + 2 * count * part + (2 if part else 0)) for part in range(4)
    )
    ranges_at = table + 16 + 6 * count
    found = set()
    for i in range(count):
        for code in range(starts[i], min(ends[i], 0xFFFE) + 1):
            if offsets[i]:
                at = ranges_at + 2 * i + offsets[i] + 2 * (code - starts[i])
                glyph = struct.unpack_from(">H", font, at)[0]
            else:
                glyph = (code + deltas[i]) & 0xFFFF
            if glyph:
                found.add(code)
    return found
