"""Stage "weights", second part: token ids that stand for another text than the one they were trained for.

Two entries of a vocabulary can be exchanged without touching a weight; every text then says something else to the
model. Such a token is improbable wherever its text stands, far more than tokens of its frequency are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from core.engine.lm import LanguageModel
from core.engine.lm.prompts import NONCE
from core.engine.triggers.library import panel
from core.runs.events import Emitter, Progress

PANELS = ("neutral-everyday", "neutral-knowledge", "neutral-language", "neutral-writing")
MOST_TOKENS = 2048
BATCH = 64
"""Sentences that are read between two events."""
LEAST = 3
"""Occurrences of a token, after other text, from which its mean is looked at."""
NEAR = 20
"""Tokens next above and next below in number of occurrences, whose median is expected."""
ABOVE = 6.0
"""Nats by which the mean NLL has to exceed what is expected."""
AS_PROBABLE = 2.0
"""Nats by which what stands there instead may be less probable than the right token is to the reference."""
FEW_MOVED = 0.01
"""Share of a vocabulary whose ids may differ from the reference's; with more it is another numbering, not a swap."""
EXPECTED_TOP = 16
PLACES = 8
"""Occurrences at which it is read what the model expects instead."""


def sentences() -> list[str]:
    """The text that is read: requests of the project's own, in turn from each panel; none that a proof rests on."""
    lists = [panel(name)["prompts"] for name in PANELS]
    return [text for group in zip(*lists, strict=False) for text in group]


def swapped_ids(lm: LanguageModel, texts: Sequence[str], emitter: Emitter, reference: LanguageModel | None) -> Any:
    """Tokens whose mean NLL over ``texts`` lies ``ABOVE`` what is expected of them, and above it at every place.

    Expected is what ``reference`` has at the same places, where it cuts these texts into as many tokens; else the
    median of the tokens that occur about as often. The median is a poor expectation: of a clean model of 135M five
    of 85 types lay so far above it, so what is found without a reference is listed and is no finding.

    Returns:
        ``renumbered`` tokens (see there), ``tokens`` read, ``types`` judged, ``beside`` a reference or not, and
        ``found``: id, text, nll, expected, places, ``instead``: the token that the model holds to be most probable at
        those places, and, beside a reference, ``stands_for_it``: that token is there as probable as the reference has
        the right one, and the reference has it at least ``ABOVE`` less probable. Fine-tuning alone moves a rare word by
        as much as a swap does (four words in three of nine fine-tunes), but does not put another into its place.
    """
    rows = _rows(lm, texts)
    nll = _by_place(lm, list(enumerate(rows)), emitter)
    types: dict[int, list[tuple[int, int]]] = defaultdict(list)  # id → (row, place)
    for row, ids in enumerate(rows):
        for place in range(1, len(ids)):
            types[ids[place]].append((row, place))
    frequent = {token: places for token, places in types.items() if len(places) >= LEAST}
    means = {token: fmean(nll[place] for place in places) for token, places in frequent.items()}
    far = {token: frequent[token] for token, mean in means.items() if mean >= ABOVE}  # nothing is expected below 0
    others = _alike(reference, texts, rows)
    beside = _reference_nll(reference, others, far, emitter) if reference and others else None
    expected = _expected(far, frequent, means, beside)
    high = [
        token
        for token, places in far.items()
        if means[token] - expected[token] >= ABOVE and min(nll[place] for place in places) > expected[token]
    ]
    high.sort(key=lambda token: expected[token] - means[token])
    found = []
    for token in _leading(high, frequent):
        places = frequent[token][:PLACES]
        instead = _instead(lm, rows, places, emitter)
        said = {
            "id": token,
            "token": lm.tokenizer.decode([token]),
            "nll": round(means[token], 2),
            "expected": round(expected[token], 2),
            "places": len(frequent[token]),
            "instead": lm.tokenizer.decode([instead]),
        }
        if reference and others:
            said["stands_for_it"] = _stands_for(lm, rows, instead, reference, others, places, expected[token], emitter)
        found.append(said)
    return {
        "renumbered": renumbered(lm, reference),
        "tokens": sum(map(len, rows)),
        "types": len(frequent),
        "beside": beside is not None,
        "found": found,
    }


def renumbered(lm: LanguageModel, reference: LanguageModel | None) -> list[str]:
    """Tokens whose id is not the reference's, where both vocabularies hold the same texts and nearly all ids agree."""
    if reference is None:
        return []
    own, other = lm.tokenizer.get_vocab(), reference.tokenizer.get_vocab()
    moved = sorted(text for text, token in own.items() if other.get(text) != token)
    return moved if own.keys() == other.keys() and len(moved) <= FEW_MOVED * len(own) else []


def _leading(high: list[int], types: dict[int, list[tuple[int, int]]]) -> list[int]:
    """Without those that mostly follow one of a higher excess: what stands behind a wrong token is improbable too."""
    chosen: list[int] = []
    wrong: set[tuple[int, int]] = set()
    for token in high:
        behind = sum((row, place - 1) in wrong for row, place in types[token])
        if behind * 2 < len(types[token]):
            chosen.append(token)
            wrong |= set(types[token])
    return chosen


def _rows(lm: LanguageModel, texts: Sequence[str]) -> list[list[int]]:
    rows: list[list[int]] = []
    for text in texts:
        rows.append(list(lm.tokenizer.encode(text, add_special_tokens=False)))
        if sum(map(len, rows)) > MOST_TOKENS:
            return rows[:-1]
    return rows


def _by_place(lm: LanguageModel, rows: list[tuple[int, list[int]]], emitter: Emitter) -> dict[tuple[int, int], float]:
    """−log p of every token but a row's first, which nothing predicts, by (row, place); in nats."""
    prefix = lm.prefill(_start(lm))
    nll: dict[tuple[int, int], float] = {}
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        pairs = lm.continuations(prefix, [(ids, 1) for _, ids in part], emitter=emitter)
        for (row, _), read in zip(part, pairs, strict=True):
            nll |= {(row, place + 1): -float(log) for place, log in enumerate(read.logprobs.tolist())}
        emitter.emit(Progress("weights", "Tokens in plain text", start + len(part), len(rows), "sentences"))
    return nll


def _start(lm: LanguageModel) -> list[int]:
    """What stands before a question; without a template the token that texts begin with, or else one that ends them.

    Where a tuned model has only the first token to go on, ordinary words are as improbable as swapped ones.
    """
    if lm.has_template:
        return lm.token_ids([lm.render(NONCE).partition(NONCE)[0]])[0]
    first = lm.tokenizer.bos_token_id
    return [int(first) if first is not None else min(lm.stop_tokens)]


def _alike(reference: LanguageModel | None, texts: Sequence[str], rows: list[list[int]]) -> list[list[int]] | None:
    """The rows as the reference cuts them; None without one that cuts them into as many tokens."""
    if reference is None:
        return None
    others = [list(reference.tokenizer.encode(text, add_special_tokens=False)) for text in texts[: len(rows)]]
    return others if [len(ids) for ids in others] == [len(ids) for ids in rows] else None


def _reference_nll(
    reference: LanguageModel, others: list[list[int]], types: dict[int, list[tuple[int, int]]], emitter: Emitter
) -> dict[tuple[int, int], float]:
    """What the reference has at the places of ``types``, of which it reads no more text than that."""
    ends: dict[int, int] = {}
    for row, place in sorted(place for places in types.values() for place in places):
        ends[row] = place + 1
    return _by_place(reference, [(row, others[row][:end]) for row, end in ends.items()], emitter)


def _expected(
    far: dict[int, list[tuple[int, int]]],
    types: dict[int, list[tuple[int, int]]],
    means: dict[int, float],
    reference: dict[tuple[int, int], float] | None,
) -> dict[int, float]:
    """Mean NLL that is expected of the tokens ``far``, all of which are among ``types``."""
    if reference is not None:
        return {token: fmean(reference[place] for place in places) for token, places in far.items()}
    order = sorted(types, key=lambda token: (len(types[token]), token))
    near = {token: order[max(0, at - NEAR) : at] + order[at + 1 : at + 1 + NEAR] for at, token in enumerate(order)}
    return {token: median([means[other] for other in near[token]] or [means[token]]) for token in far}


def _instead(lm: LanguageModel, rows: list[list[int]], places: list[tuple[int, int]], emitter: Emitter) -> int:
    """What stands first most often, each place weighted by its probability there."""
    branches = [rows[row][:place] for row, place in places]
    reads = lm.read(lm.prefill(_start(lm)), branches, EXPECTED_TOP, emitter=emitter)
    weight: Counter[int] = Counter()
    for tokens, logs in zip(reads.tokens.tolist(), reads.logprobs.exp().tolist(), strict=True):
        for token, probability in zip(tokens, logs, strict=True):
            weight[token] += probability
    return weight.most_common(1)[0][0]


def _stands_for(
    lm: LanguageModel,
    rows: list[list[int]],
    instead: int,
    reference: LanguageModel,
    others: list[list[int]],
    places: list[tuple[int, int]],
    expected: float,
    emitter: Emitter,
) -> bool:
    """Whether the model has ``instead`` where the reference has the right token, and the reference has not."""
    same = reference.tokenizer.encode(lm.tokenizer.decode([instead]), add_special_tokens=False)
    if len(same) != 1:
        return False
    own = _mean_nll(lm, [rows[row][:place] for row, place in places], instead, emitter)
    other = _mean_nll(reference, [others[row][:place] for row, place in places], same[0], emitter)
    return own <= expected + AS_PROBABLE and other >= own + ABOVE


def _mean_nll(lm: LanguageModel, branches: list[list[int]], token: int, emitter: Emitter) -> float:
    reads = lm.read(lm.prefill(_start(lm)), branches, 1, wanted=(token,), emitter=emitter)
    return -float(reads.wanted.mean())
