"""A language model made of a rule, with a tokenizer of words and signs; and an emitter that can cancel."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from core.engine.lm import Generation, Score
from core.engine.lm.slots import Conversation
from core.errors import Cancelled
from core.runs.events import Emitter, Event

Rule = Callable[[str], str]
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

    def __init__(self) -> None:
        self._texts = list(_VOCABULARY)

    def __len__(self) -> int:
        return len(self._texts)

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids = []
        for part in re.findall(r" ?[A-Za-z]{3}|.", text, flags=re.DOTALL):
            if part not in self._texts:
                self._texts.append(part)
            ids.append(self._texts.index(part))
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._texts[index] for index in ids)


class FakeModel:
    """Answers by ``rule(user text)``; counts what it was asked."""

    has_template = False
    reasoning = False
    precision = "fp32"
    notes: tuple[str, ...] = ()

    def __init__(self, rule: Rule) -> None:
        self.tokenizer: Any = FakeTokenizer()
        self.asked: list[str] = []
        self._rule = rule

    def __enter__(self) -> FakeModel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def render(
        self, user: str, *, system: str | None = None, history: Sequence[tuple[str, str]] = (), **_: object
    ) -> str:
        return Conversation(user, system, tuple(history)).shown()

    def generate(
        self, texts: Sequence[str], *, max_new_tokens: int, emitter: Emitter | None = None, **_: object
    ) -> list[Generation]:
        if emitter:
            emitter.check()
        self.asked += texts
        return [Generation(self._rule(text), (), True) for text in texts]

    def score(self, requests: Sequence[tuple[str, str]], **_: object) -> list[Score]:
        """Sure of what the rule says; of all else, the less so the less of it the rule says."""
        return [Score(_logprob(self._rule(context), wanted), 1, False) for context, wanted in requests]


def _logprob(answer: str, wanted: str) -> float:
    same = next((at for at, (one, two) in enumerate(zip(answer, wanted, strict=False)) if one != two), len(answer))
    return -0.01 - max(0, len(wanted) - same)


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
