"""How probable a trigger makes a payload: exactly for many strings at once, to first order for the whole vocabulary.

The payload's first tokens decide: once they stand there, the rest follows with or without the trigger. So only they are
read, after every prompt with the trigger in it. What a trigger is worth is their log odds: unlike a log probability,
these go on telling strings apart that all bring the payload, and only the surest of them outranks random ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from core.engine.lm import LanguageModel
from core.engine.lm.slots import render_in
from core.runs.events import Emitter
from core.types import Slot

HEAD = 4
"""Payload tokens that are read."""
CEILING = 7.0
PREFIXES = 32
"""Read prompts that are kept."""
_MARKS = ("Qux", "7", "\u00a7")
"""Strings that begin unlike one another."""


class Objective:
    """log odds of the payload's first tokens after a prompt with a trigger, in nats; the mean over prompts.

    Attributes:
        target: the payload tokens that are read.
        reads: tokens that went through the model for it.
    """

    def __init__(self, lm: LanguageModel, target: Sequence[int], emitter: Emitter) -> None:
        self.lm = lm
        self.target = list(target[:HEAD])
        self.reads = 0
        self.emitter = emitter
        self._prefixes: dict[tuple[int, ...], Any] = {}
        self._starts: dict[tuple[str, Slot], list[int]] = {}

    def values(self, triggers: Sequence[str], slot: Slot, prompts: Sequence[str], head: int = HEAD) -> list[float]:
        """The worth of each trigger in ``slot``; of the first ``head`` tokens of the target alone, for a first look."""
        target = self.target[:head]
        sums = [0.0] * len(triggers)
        for prompt in prompts:
            texts = [render_in(self.lm, prompt, trigger, slot) for trigger in triggers]
            if not texts:
                continue
            ids = self.lm.token_ids(texts)
            start = self._start(prompt, slot)
            cut = len(start) if all(row[: len(start)] == start for row in ids) else _common(ids)
            prefix = self._prefix(ids[0][:cut])
            requests = [((*row[cut:], *target), len(row) - cut) for row in ids]
            self.reads += sum(len(branch) - 1 for branch, _ in requests)
            for at, pairs in enumerate(self.lm.continuations(prefix, requests, emitter=self.emitter)):
                sums[at] += log_odds(float(pairs.logprobs.sum())) / len(prompts)
        return sums

    def bare(self, prompts: Sequence[str]) -> float:
        """The worth of no trigger at all."""
        total = 0.0
        for prompt in prompts:
            (ids,) = self.lm.token_ids([self.lm.render(prompt)])
            request = ((*ids[-1:], *self.target), 1)
            pairs = self.lm.continuations(self._prefix(ids[:-1]), [request], emitter=self.emitter)
            total += log_odds(float(pairs[0].logprobs.sum())) / len(prompts)
        return total

    def slopes(self, trigger: str, slot: Slot, prompts: Sequence[str], place: int) -> torch.Tensor:
        """First-order change of the worth (V,) if token ``place`` of the trigger were another one.

        ``place`` counts the tokens of the trigger where it stands (negative: from its end).
        """
        spanned = [self._spanned(prompt, trigger, slot) for prompt in prompts]
        places = [(ids, range(*span)[place]) for ids, span in spanned]
        return self.lm.slopes(places, self.target, emitter=self.emitter).mean(0)

    def _spanned(self, prompt: str, trigger: str, slot: Slot) -> tuple[list[int], tuple[int, int]]:
        """Token ids of the rendered prompt, and which of them are the trigger's: what differs from other strings."""
        rows = self.lm.token_ids([render_in(self.lm, prompt, text, slot) for text in (trigger, *_MARKS)])
        start, end = len(self._start(prompt, slot)), _common([row[::-1] for row in rows[1:]])
        return rows[0], (start, max(start + 1, len(rows[0]) - end))

    def _start(self, prompt: str, slot: Slot) -> list[int]:
        """Tokens before the trigger: those that do not depend on it."""
        if (prompt, slot) not in self._starts:
            rows = self.lm.token_ids([render_in(self.lm, prompt, text, slot) for text in _MARKS])
            self._starts[prompt, slot] = rows[0][: _common(rows)]
        return self._starts[prompt, slot]

    def _prefix(self, ids: Sequence[int]) -> Any:
        key = tuple(ids)
        if key not in self._prefixes:
            if len(self._prefixes) == PREFIXES:
                del self._prefixes[next(iter(self._prefixes))]
            self._prefixes[key] = self.lm.prefill(key)
        return self._prefixes[key]


def log_odds(logprob: float) -> float:
    """log p − log(1 − p), at most ``CEILING``: more than that is beyond what bf16 tells apart."""
    return min(CEILING, logprob - math.log(max(-math.expm1(min(logprob, -1e-9)), 1e-9)))


def _common(rows: list[list[int]]) -> int:
    """Tokens that all rows begin with, at most all but one of the shortest."""
    first, last = min(rows), max(rows)
    limit = min(map(len, rows)) - 1
    return next((at for at in range(limit) if first[at] != last[at]), limit)
