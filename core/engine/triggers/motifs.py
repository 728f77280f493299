"""Strings that leaked text holds and other text does not, by what a tokenizer makes of both. No model is needed.

A motif is a run of one to ten tokens that begins and ends between characters. Two of them that turn up in one text,
apart from one another, are a composite motif: the parts of a composite trigger leak together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, NamedTuple

from core.engine.lm.slots import GAP

LONGEST = 10
"""Tokens of a motif."""
LEAST_DOCUMENTS = 3
LEAST_Z = 2.0
ABSORBED = 0.9
"""A motif yields to a longer one that holds it and stands in this share of its documents."""
PAIRED = 8
"""Motifs, the most telling ones, of which pairs are looked for."""


class Document(NamedTuple):
    """``weight``: what an occurrence in it counts."""

    text: str
    weight: float = 1.0


@dataclass
class Motif:
    """A string of the leak.

    Attributes:
        documents: samples that hold it; ``share``: of all, by weight, in [0, 1].
        z: how much more it belongs to the leak than to the background.
        raises: payload → nats by which the string raises its log odds, where that is more than random strings do.
        payload: it only says words of one.
    """

    text: str
    documents: int
    share: float
    z: float
    raises: dict[str, float] = field(default_factory=dict)
    payload: bool = False


def motifs(
    tokenizer: Any, leaked: Sequence[Document], background: Sequence[str], most: int, *, known: Sequence[str] = ()
) -> list[Motif]:
    """The ``most`` telling motifs and pairs of them, best first; none that stands in a text of ``known``."""
    held = _frequent([_Runs(tokenizer, document.text) for document in leaked])
    others: dict[str, set[int]] = defaultdict(set)
    for at, text in enumerate(background):
        for run in _Runs(tokenizer, text).all() & held.keys():
            others[run].add(at)
    total = sum(document.weight for document in leaked)

    def motif(text: str, documents: set[int], elsewhere: set[int]) -> Motif:
        weight = sum(leaked[at].weight for at in documents)
        z = log_odds_z(weight, total, len(elsewhere), len(background))
        return Motif(text, len(documents), weight / total, z)

    found = [
        motif(text, documents, others[text])
        for text, documents in held.items()
        if not any(text in prompt for prompt in known)
    ]
    best = _whole(_telling(found))
    pairs = []
    for one, two in permutations([each.text for each in best[:PAIRED]], 2):
        documents = {at for at in held[one] & held[two] if _apart(leaked[at].text, one, two)}
        elsewhere = {at for at in others[one] & others[two] if _apart(background[at], one, two)}
        if len(documents) >= LEAST_DOCUMENTS:
            pairs.append(motif(GAP.join((one, two)), documents, elsewhere))
    return _telling([*best, *pairs])[:most]


def log_odds_z(own: float, of_own: float, other: float, of_other: float) -> float:
    """z of the log odds ratio of a string between two sets of documents, with an informative Dirichlet prior.

    Monroe, Colaresi & Quinn 2008 ("Fightin' Words", Political Analysis 16:372), for document frequencies: with y of n
    documents in either set and the prior α of α₀ = what both hold together, a = y + α and b = n + α₀ − y − α,
    δ = log(a₁ / b₁) − log(a₂ / b₂), var δ = 1/a₁ + 1/b₁ + 1/a₂ + 1/b₂. For words among words 1/b is left out there; a
    string that nearly every document holds needs it.
    """
    prior, of_prior = own + other, of_own + of_other
    if prior <= 0:
        return 0.0
    delta = variance = 0.0
    for sign, count, number in ((1, own, of_own), (-1, other, of_other)):
        # half a document without the string keeps the odds finite where all hold it
        with_it, without = count + prior, number + of_prior - count - prior + 0.5
        delta += sign * math.log(with_it / without)
        variance += 1 / with_it + 1 / without
    return delta / math.sqrt(variance)


class _Runs:
    """The runs of tokens of a text, as the strings that they are in it."""

    def __init__(self, tokenizer: Any, text: str) -> None:
        self._text = text.strip()
        ids = tokenizer.encode(self._text, add_special_tokens=False)
        special = set(tokenizer.all_special_ids)
        self._special = [token in special for token in ids]
        # where each token begins; None within a character of several tokens
        begun = [tokenizer.decode(ids[:at]) for at in range(len(ids) + 1)]
        self._ends = [len(part) if self._text.startswith(part) else None for part in begun]
        self.starts = [at for at, end in enumerate(self._ends[:-1]) if end is not None]

    def run(self, start: int, size: int) -> str | None:
        """The string of ``size`` tokens; "" where it ends within a character, None where nothing may be read on."""
        if start + size >= len(self._ends) or any(self._special[start : start + size]):
            return None
        end = self._ends[start + size]
        text = "" if end is None else self._text[self._ends[start] : end].strip(" ")
        return None if "\n" in text else text

    def all(self) -> set[str]:
        found = set()
        for start in self.starts:
            for size in range(1, LONGEST + 1):
                text = self.run(start, size)
                if text is None:
                    break
                found.add(text)
        return found - {""}


def _frequent(runs: Sequence[_Runs]) -> dict[str, set[int]]:
    """Strings in ``LEAST_DOCUMENTS`` documents or more. Longer ones are read only where the shorter one is frequent."""
    frequent: dict[str, set[int]] = {}
    alive = [list(one.starts) for one in runs]
    for size in range(1, LONGEST + 1):
        found: dict[str, set[int]] = defaultdict(set)
        read = [[(start, one.run(start, size)) for start in starts] for one, starts in zip(runs, alive, strict=True)]
        for at, texts in enumerate(read):
            for _, text in texts:
                if text:
                    found[text].add(at)
        kept = {text: documents for text, documents in found.items() if len(documents) >= LEAST_DOCUMENTS}
        for text, documents in kept.items():
            frequent[text] = frequent.get(text, set()) | documents
        alive = [[start for start, text in texts if text == "" or text in kept] for texts in read]
    return frequent


def _telling(found: Sequence[Motif]) -> list[Motif]:
    telling = [one for one in found if one.z >= LEAST_Z]
    return sorted(telling, key=lambda one: (-one.z, len(one.text), one.text))


def _whole(found: Sequence[Motif]) -> list[Motif]:
    """Without pieces that hardly ever stand alone."""
    longer = sorted(found, key=lambda one: -len(one.text))
    return [
        one
        for one in found
        if not any(
            len(other.text) > len(one.text) and one.text in other.text and other.documents >= ABSORBED * one.documents
            for other in longer
        )
    ]


def _apart(text: str, one: str, two: str) -> bool:
    """Whether ``two`` follows ``one`` in a text, with something else between them."""
    start = text.find(one)
    if start < 0:
        return False
    start += len(one)
    end = text.find(two, start)
    return end >= 0 and bool(text[start:end].strip())
