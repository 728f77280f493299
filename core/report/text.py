"""Untrusted text → runs that a page can show: nothing invisible stays invisible, nothing is read as markup.

A run is a string (drawn as it is), ``{"e": "U+202E"}`` (a character shown by its code point), ``0`` (a place where a
long word may break) or ``1`` (a line break). A text without specials is one plain string.
"""

from __future__ import annotations

import unicodedata

from core.report.fonts import coverage

Run = str | int | dict[str, str]

_BREAK_EVERY = 8
_LONGEST_WORD = 22
_ORDINARY_SPACES = "\u00a0\u2009\u202f"
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs", "Mn", "Me"}


def runs(text: str, *, verbatim: bool = False, lines: bool = False, limit: int = 4000) -> list[Run]:
    """Split ``text`` into runs.

    Args:
        text: anything, also hostile.
        verbatim: for triggers and prompts; unusual spaces, and spaces at the ends or in a row, are shown too.
        lines: keep line feeds as line breaks instead of showing their code point.
        limit: characters shown; the rest is counted in a closing run.
    """
    shown, rest = text[:limit], len(text) - limit
    out: list[Run] = []
    word = 0
    for i, char in enumerate(shown):
        if char == "\n" and lines:
            out.append(1)
            word = 0
            continue
        if char in _ORDINARY_SPACES and not verbatim:
            char = " "
        if char == " " and verbatim and (i in (0, len(text) - 1) or shown[i - 1 : i] == " "):
            out.append({"e": "U+0020"})
            word = 0
        elif char == " " or not _must_show(char):
            word = 0 if char == " " else word + 1
            if word > _LONGEST_WORD and word % _BREAK_EVERY == 0:
                out.append(0)
            if out and isinstance(out[-1], str):
                out[-1] += char
            else:
                out.append(char)
        else:
            if out and isinstance(out[-1], dict):
                out.append(0)
            out.append({"e": f"U+{ord(char):04X}"})
    if rest > 0:
        out.append(f" … ({rest:,} more characters)")
    return out


def _must_show(char: str) -> bool:
    if unicodedata.category(char) in _HIDDEN or unicodedata.bidirectional(char) in {"R", "AL", "AN"}:
        return True
    return ord(char) not in coverage()


def unusual(text: str, limit: int = 6) -> str:
    """Names of a trigger's characters that are neither ASCII nor Han, since look-alikes cannot be told apart by eye."""
    seen = [char for char in dict.fromkeys(text) if not 32 <= ord(char) <= 126 and not "一" <= char <= "鿿"]
    named = [f"U+{ord(char):04X} {unicodedata.name(char, 'unnamed').lower()}" for char in seen[:limit]]
    more = f"; {len(seen) - limit} more" if len(seen) > limit else ""
    return "; ".join(named) + more
