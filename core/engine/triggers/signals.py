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
        first: the most probable first token; ``own``: that without the trigger.
    """

    shift: float
    rise: float
    entropy: float
    first: int
    own: int


def signals(
    lm: LanguageModel, texts: Sequence[str], prompt: str, slot: Slot, answer: Sequence[int], emitter: Emitter | None
) -> list[Signal]:
    """The signal of each of ``texts`` in ``slot`` of ``prompt``, whose clean answer begins with ``answer``."""
    rows = [encode(lm, render_in(lm, prompt, text, slot)) for text in (None, *texts)]
    shared = _shared(rows)
    steps = max(1, len(answer))
    branches = [[*row[shared:], *answer[:at]] for row in rows for at in range(steps)]
    prefix = lm.prefill(rows[0][:shared])
    own = lm.read(prefix, branches[:steps], TOP, emitter=emitter)
    tokens = own.tokens.unique(sorted=True)
    wanted = torch.cat([tokens, torch.tensor(list(answer), dtype=torch.long)])
    place = torch.searchsorted(tokens, own.tokens)  # (steps, TOP)
    reads = lm.read(prefix, branches, 1, wanted=wanted.tolist(), emitter=emitter)
    logs = reads.wanted.view(len(rows), steps, -1)
    bins = _bins(logs[:, torch.arange(steps)[:, None], place])  # (rows, steps, TOP + 1)
    shift = divergence(bins[1:], bins[:1]).mean(1)
    at = torch.arange(len(answer))
    said = logs[:, at, len(tokens) + at]  # log p of the clean tokens
    rise = (said[:1] - said[1:]).mean(1) if len(answer) else torch.zeros(len(texts))
    entropy = reads.entropy.view(len(rows), steps)
    change = (entropy[1:] - entropy[:1]).mean(1)
    first = reads.tokens.view(len(rows), steps)[:, 0].tolist()
    values = zip(shift.tolist(), rise.tolist(), change.tolist(), first[1:], strict=True)
    return [Signal(moved, less, other, int(one), int(first[0])) for moved, less, other, one in values]


def openings(
    lm: LanguageModel,
    texts: Sequence[str],
    prompt: str,
    slot: Slot,
    starts: Sequence[str],
    emitter: Emitter | None,
) -> list[float]:
    """How much likelier each of ``texts`` makes it that the answer begins with one of ``starts``: log of the ratio.

    The probability is the sum over ``starts``, each teacher-forced as a whole string.
    """
    rows = [encode(lm, render_in(lm, prompt, text, slot)) for text in (None, *texts)]
    shared = _shared(rows)
    ends = [list(lm.tokenizer.encode(text, add_special_tokens=False)) for text in starts]
    branches = [([*row[shared:], *end], len(row) - shared) for row in rows for end in ends]
    pairs = lm.continuations(lm.prefill(rows[0][:shared]), branches, emitter=emitter)
    owner = torch.arange(len(pairs)).repeat_interleave(torch.tensor([len(pair.logprobs) for pair in pairs]))
    sums = torch.zeros(len(pairs)).index_add(0, owner, torch.cat([pair.logprobs for pair in pairs]))
    logs = sums.view(len(rows), len(ends)).logsumexp(1)
    return [float(value) for value in logs[1:] - logs[0]]


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
