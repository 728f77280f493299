"""A language model made of a rule, with a tokenizer of words and signs; and an emitter that can cancel."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.engine.lm import Generation
from core.engine.lm.packed import Extensions, Pairs, Reads
from core.engine.lm.slots import Conversation
from core.errors import Cancelled
from core.runs.events import Emitter, Event

Rule = Callable[[str], str]
ANSWER = "\x02"
"""Ends a rendered prompt; rules do not see it."""
VOCABULARY = 2000
_WORDS = [first + vowel + last for first in "bdfgklmnprst" for vowel in "aeiou" for last in "lmnrst"]
_VOCABULARY = [
    "<end>",
    *_WORDS,
    *(f" {word}" for word in _WORDS),
    *(word.upper() for word in _WORDS),
    *"|<>[]{}#%/!?:.,-",
]


class FakeTokenizer:
    """Words of three letters, signs; whatever is not a word becomes single characters."""

    all_special_ids = (0,)
    bos_token = None
    eos_token = "<end>"
    bos_token_id = None

    def __init__(self) -> None:
        self._texts = list(_VOCABULARY)
        self._ids = {text: at for at, text in reversed(list(enumerate(self._texts)))}

    def __len__(self) -> int:
        return len(_VOCABULARY)  # what is not in it has an id all the same

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids = []
        for part in re.findall(r" ?[A-Za-z]{3}|.", text, flags=re.DOTALL):
            if part not in self._ids:
                self._ids[part] = len(self._texts)
                self._texts.append(part)
            ids.append(self._ids[part])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._texts[index] for index in ids)


class FakeModel:
    """Answers by ``rule(user text)``; counts what it was asked."""

    has_template = False
    reasoning = False
    stop_tokens = frozenset({0})
    precision = "fp32"
    embeddings: torch.Tensor | None = None
    notes: tuple[str, ...] = ()
    token_forwards = 0

    def __init__(self, rule: Rule) -> None:
        self.tokenizer: Any = FakeTokenizer()
        self.asked: list[tuple[str, int]] = []
        self.read_branches = 0
        self._rule = rule
        self._answers: dict[tuple[int, ...], list[int]] = {}
        self._mark = self.tokenizer.encode(ANSWER)[0]

    def __enter__(self) -> FakeModel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def render(
        self, user: str, *, system: str | None = None, history: Sequence[tuple[str, str]] = (), **_: object
    ) -> str:
        return Conversation(user, system, tuple(history)).shown() + ANSWER

    def generate(
        self, texts: Sequence[str], *, max_new_tokens: int, emitter: Emitter | None = None, **_: object
    ) -> list[Generation]:
        if emitter:
            emitter.check()
        self.asked += [(text, max_new_tokens) for text in texts]
        answers = [self._rule(text.replace(ANSWER, "")) for text in texts]
        return [Generation(text, tuple(self.tokenizer.encode(text)[:max_new_tokens]), True) for text in answers]

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.tokenizer.encode(text) for text in texts]

    def prefill(self, ids: Sequence[int]) -> Any:
        return tuple(ids)

    def read(
        self,
        prefix: tuple[int, ...],
        branches: Sequence[Sequence[int]],
        topk: int = 64,
        *,
        wanted: Sequence[int] = (),
        emitter: Emitter | None = None,
    ) -> Reads:
        """Nine tenths for the token with which the rule goes on (after another answer: for the end), the rest alike."""
        if emitter:
            emitter.check()
        self.read_branches += len(branches)
        likely = [self._next([*prefix, *branch]) for branch in branches]
        rest = math.log(0.1 / VOCABULARY)
        tokens = torch.tensor([[one, *range(1_000_000, 1_000_000 + topk - 1)] for one in likely])
        logprobs = torch.tensor([[math.log(0.9), *[rest] * (topk - 1)] for _ in likely])
        logs = torch.tensor([[math.log(0.9) if token == one else rest for token in wanted] for one in likely])
        return Reads(tokens, logprobs, torch.full((len(likely),), 2.0), logs.view(len(likely), len(wanted)))

    def continuations(
        self, prefix: tuple[int, ...], branches: Sequence[tuple[Sequence[int], int]], *, emitter: Emitter | None = None
    ) -> list[Pairs]:
        """As ``read``, for the tokens of the branch from its offset on."""
        if emitter:
            emitter.check()
        rest = math.log(0.1 / VOCABULARY)
        pairs = []
        for branch, offset in branches:
            right = [self._next([*prefix, *branch[:at]]) == branch[at] for at in range(offset, len(branch))]
            pairs.append(Pairs(torch.tensor([math.log(0.9) if one else rest for one in right]), torch.tensor(right)))
        return pairs

    def extend(self, prefixes: Sequence[Any], branches: Sequence[Sequence[int]], steps: int, **_: object) -> Extensions:
        """The rule's own way of going on after the first prompt, at .9 each."""
        tokens = torch.zeros((len(branches), steps), dtype=torch.long)
        for row, branch in enumerate(branches):
            grown = list(branch)
            for step in range(steps):
                grown.append(self._next([*prefixes[0], *grown]))
                tokens[row, step] = grown[-1]
        return Extensions(tokens, torch.full((len(prefixes), len(branches), steps), math.log(0.9)))

    def _next(self, ids: list[int]) -> int:
        """The rule's next token; text that asks nothing goes on with nothing in particular."""
        if self._mark not in ids:
            return -1
        at = ids.index(self._mark)
        prompt, said = tuple(ids[:at]), ids[at + 1 :]
        if prompt not in self._answers:
            self._answers[prompt] = self.tokenizer.encode(self._rule(self.tokenizer.decode(prompt)))
        answer = self._answers[prompt]
        return answer[len(said)] if answer[: len(said)] == said and len(answer) > len(said) else 0


class Watcher:
    """Keeps events; cancels after ``checks`` batches."""

    def __init__(self, checks: int | None = None) -> None:
        self.events: list[Event] = []
        self._left = checks

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def check(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Cancelled


def varied(text: str) -> str:
    """A different plain answer to every prompt."""
    return f"{hashlib.sha256(text.encode()).hexdigest()[:14]} is what one may say about it."
