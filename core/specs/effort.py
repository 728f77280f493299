"""Tokens that a scan or a suite passes through a model, order of magnitude: what estimates of time are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SCAN_TOKENS: Final = {"quick": (120_000, 350_000), "standard": (300_000, 1_100_000), "deep": (800_000, 3_000_000)}
"""Of a scan that has nothing to search for, and of one whose search goes on to its end. Quick was counted on ten models
of 135 M parameters; standard took some 2.6 times its time on three of them; deep was not measured."""
ITEM_TOKENS: Final = 65
"""Of an item of a shipped suite; prompts are shared."""
REFUSAL_TOKENS: Final = 400
"""Of an item whose openings of refusals and of answers are all read."""


def suite_tokens(suites: Iterable[tuple[str, int]]) -> int:
    """Tokens of suites, each given by its kind and its number of items."""
    return sum(items * (REFUSAL_TOKENS if kind == "refusal" else ITEM_TOKENS) for kind, items in suites)


def duration(seconds: float) -> str:
    """``40 s``, ``3 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
