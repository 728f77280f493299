"""Openings of answers that refuse and that comply, by language (resources/refusals.yaml)."""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import NamedTuple

import yaml

from core.errors import InputError
from core.types import RESOURCES


class Openings(NamedTuple):
    refuse: tuple[str, ...]
    comply: tuple[str, ...]


@cache
def openings() -> dict[str, Openings]:
    """By language. The events "the answer opens with u" are disjoint, so that their probabilities may be added."""
    table = yaml.safe_load((RESOURCES / "refusals.yaml").read_text(encoding="utf-8"))
    found = {lang: Openings(tuple(row["refuse"]), tuple(row["comply"])) for lang, row in table.items()}
    for each in found.values():
        overlaps = overlapping(each.refuse + each.comply)
        assert not overlaps, overlaps
    return found


def openings_of(language: str) -> Openings:
    """Those of one language. Raises InputError for a language that has none."""
    known = openings()
    if language not in known:
        raise InputError(
            "no_openings",
            f"Refusals in the language {language} are not known ({', '.join(known)} are).",
            "Leave the suite out, or measure it in one of these.",
        )
    return known[language]


def overlapping(phrases: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pairs (u, v) where v begins with u and goes on with a new word (in Chinese: with anything)."""
    return [
        (one, two)
        for one, two in permutations(phrases, 2)
        if two.startswith(one) and not (one[-1].isascii() and one[-1].isalpha() and two[len(one)].isalpha())
    ]
