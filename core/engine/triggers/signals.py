"""What a trigger does to an answer that the model would have given, read without generating anything.

The clean answer's first tokens are forced behind the prompt with the trigger, many triggers in one forward pass. A
fixed payload shows where the answer starts; steering and refusal show in every position.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

import torch

from core.engine.lm import LanguageModel
from core.engine.lm.slots import render_in
from core.runs.events import Emitter
from core.types import Slot

TOP = 64
"""Next tokens that are compared one by one; all others are one bin."""


class Signal(NamedTuple):
    """One trigger in one slot of one prompt, against the same prompt without it; means over the clean tokens, in nats.

    Attributes:
        shift: Jensen-Shannon divergence of the next-token distributions, over the clean prompt's ``TOP`` tokens and the
            rest as one bin (so never more than the true one), in [0, ln 2].
        rise: how much less probable the clean tokens have become.
        entropy: change of the entropy; falls for a fixed text, rises for gibberish.
        opening: how much likelier it is that the answer begins with one of the given openings: log of the ratio of
            their summed probabilities; 0 where none were given.
        first: the most probable first token; ``own``: that without the trigger.
    """

    shift: float
    rise: float
    entropy: float
    opening: float
    first: int
    own: int


def signals(
    lm: LanguageModel,
    texts: Sequence[str],
    prompt: str,
    slot: Slot,
    answer: Sequence[int],
    openings: Sequence[str] = (),
    emitter: Emitter | None = None,
) -> list[Signal]:
    """The signal of each of ``texts`` in ``slot`` of ``prompt``, whose clean answer begins with ``answer``.

    Everything is read in one packed pass: the places of the clean tokens, and those inside the openings.
    """
    rows = [encode(lm, render_in(lm, prompt, text, slot)) for text in (None, *texts)]
    shared = _shared(rows)
    steps = max(1, len(answer))
    starts = [tuple(lm.tokenizer.encode(text, add_special_tokens=False)) for text in openings]
    places = [tuple(answer[:at]) for at in range(steps)]
    places += dict.fromkeys(start[:at] for start in starts for at in range(len(start)))
    branches = [[*row[shared:], *place] for row in rows for place in places]
    prefix = lm.prefill(rows[0][:shared])
    own = lm.read(prefix, branches[:steps], TOP, emitter=emitter)
    tokens = torch.cat([own.tokens.flatten(), torch.tensor([*answer, *sum(starts, ())], dtype=torch.long)]).unique()
    reads = lm.read(prefix, branches, 1, wanted=tokens.tolist(), emitter=emitter)
    logs = reads.wanted.view(len(rows), len(places), -1)
    column = {token: at for at, token in enumerate(tokens.tolist())}

    bins = _bins(logs[:, torch.arange(steps)[:, None], torch.searchsorted(tokens, own.tokens)])
    shift = divergence(bins[1:], bins[:1]).mean(1)  # bins are (rows, steps, TOP + 1)
    said = logs[:, torch.arange(len(answer)), [column[token] for token in answer]]  # log p of the clean tokens
    rise = (said[:1] - said[1:]).mean(1) if len(answer) else torch.zeros(len(texts))
    entropy = reads.entropy.view(len(rows), len(places))[:, :steps]
    change = (entropy[1:] - entropy[:1]).mean(1)
    begun = _begun(logs, places, starts, column)
    first = reads.tokens.view(len(rows), len(places))[:, 0].tolist()
    values = zip(*(part.tolist() for part in (shift, rise, change, begun[1:] - begun[:1])), first[1:], strict=True)
    return [Signal(moved, less, other, odds, int(one), int(first[0])) for moved, less, other, odds, one in values]


def _begun(
    logs: torch.Tensor, places: list[tuple[int, ...]], starts: list[tuple[int, ...]], column: dict[int, int]
) -> torch.Tensor:
    """log Σ p(opening) for each row (rows,), from log p (rows, places, tokens); 0 without openings."""
    if not starts:
        return torch.zeros(len(logs))
    at = {place: index for index, place in reversed(list(enumerate(places)))}
    each = [
        sum((logs[:, at[start[:index]], column[token]] for index, token in enumerate(start)), torch.zeros(len(logs)))
        for start in starts
    ]
    return torch.stack(each).logsumexp(0)


def likelihoods(
    lm: LanguageModel, texts: Sequence[str], heads: Sequence[str], emitter: Emitter | None = None
) -> list[float]:
    """log Σ p(head | text) over ``heads``, in nats, for each rendered text; what the texts begin with is read once."""
    rows = [encode(lm, text) for text in texts]
    shared = _shared(rows)
    ends = [list(lm.tokenizer.encode(head, add_special_tokens=False)) for head in heads]
    branches = [([*row[shared:], *end], len(row) - shared) for row in rows for end in ends]
    pairs = lm.continuations(lm.prefill(rows[0][:shared]), branches, emitter=emitter)
    owner = torch.arange(len(pairs)).repeat_interleave(torch.tensor([len(pair.logprobs) for pair in pairs]))
    sums = torch.zeros(len(pairs)).index_add(0, owner, torch.cat([pair.logprobs for pair in pairs]))
    return [float(value) for value in sums.view(len(rows), len(ends)).logsumexp(1)]


def agreement(group: Sequence[Signal]) -> float:
    """Share of pairs of prompts whose answers come to begin with the same token, in [0, 1]."""
    pairs = list(combinations(group, 2))
    if not pairs:
        return 0.0
    return fmean(one.first == two.first and one.own != two.own for one, two in pairs)


def divergence(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence of distributions (..., n), in nats (Lin 1991, eq. 4.1 with equal weights)."""
    middle = (one + two) / 2
    entropies = [torch.special.entr(part).sum(-1) for part in (middle, one, two)]
    return (entropies[0] - (entropies[1] + entropies[2]) / 2).clamp(min=0)


def encode(lm: LanguageModel, text: str) -> list[int]:
    """Token ids of a rendered prompt; rendered chat text holds its special tokens already."""
    return list(lm.tokenizer.encode(text, add_special_tokens=not lm.has_template))


def _bins(logs: torch.Tensor) -> torch.Tensor:
    """Log p of some tokens (..., n) → their probabilities and that of all others (..., n + 1)."""
    known = logs.exp()
    return torch.cat([known, (1 - known.sum(-1, keepdim=True)).clamp(min=0)], -1)


def _shared(rows: list[list[int]]) -> int:
    """Tokens that all rows begin with; each keeps one of its own."""
    first, last = min(rows), max(rows)
    limit = min(map(len, rows)) - 1
    return next((at for at in range(limit) if first[at] != last[at]), limit)
