"""The model as the runner asks it: what an earlier run computed is looked up, and the weights are read when needed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from core.engine.lm import (
    LanguageModel,
    Prompts,
    Score,
    ScoreCache,
    check_loadable,
    describe,
    load_model,
    load_prompts,
    open_scores,
)
from core.engine.remembered import EARLIER
from core.runs.events import Emitter
from core.specs import LoadOptions
from core.types import ModelRef

MEASURES = 1
"""To be raised when what is read off a generated answer changes; what was kept of earlier answers then lapses."""


class Asked:
    """Scores and answers of one model. ``notes`` and ``precision`` are what a report says of it.

    With a ``cache`` (of these very weights) nothing is computed twice, and a model whose every answer is known is
    never loaded: then ``computed`` stays 0.
    """

    def __init__(
        self, prompts: Prompts, load: Callable[[], LanguageModel], cache: ScoreCache | None, emitter: Emitter
    ) -> None:
        self.prompts, self.cache, self.emitter = prompts, cache, emitter
        self.computed = 0
        self._load = load
        self._lm: LanguageModel | None = None

    @property
    def lm(self) -> LanguageModel:
        if self._lm is None:
            self._lm = self._load()
        return self._lm

    def score(self, texts: Sequence[tuple[str, str]]) -> list[Score]:
        """log P(continuation | context) of each pair, see ``LanguageModel.score``."""
        requests = self.prompts.encode(texts)
        known = self.cache.lookup(requests) if self.cache else [None] * len(requests)
        missing = [request for request, score in zip(requests, known, strict=True) if score is None]
        if missing:
            self.computed += len(set(missing))
            fresh = iter(self.lm.score_tokens(missing, cache=self.cache, emitter=self.emitter))
            return [next(fresh) if score is None else score for score in known]
        return [score for score in known if score is not None]

    def answer(self, texts: Sequence[str], tokens: int, measure: Callable[[int, str], Any], rule: str) -> list[Any]:
        """What ``measure(i, answer)`` makes of the greedy answer to each rendered prompt: JSON, kept in the cache.

        ``rule`` names all that ``measure`` depends on. The answers themselves are not kept.
        """
        questions = [json.dumps([MEASURES, rule, tokens, text]) for text in texts]
        said = [self.cache.recall(question) if self.cache else None for question in questions]
        todo = [at for at, known in enumerate(said) if known is None]
        if todo:
            self.computed += len(todo)
            answers = self.lm.generate([texts[at] for at in todo], max_new_tokens=tokens, emitter=self.emitter)
            for at, answer in zip(todo, answers, strict=True):
                said[at] = measure(at, answer.text)
                if self.cache:
                    self.cache.remember(questions[at], said[at])
        return said


class AskedOnDisk(Asked):
    """As ``Asked``, of a model on disk; closes what it opened."""

    def __init__(self, ref: ModelRef, options: LoadOptions, emitter: Emitter) -> None:
        check_loadable(ref, options)  # a tokenizer too is a file of somebody else's
        self._stack = ExitStack()
        self._said = describe(ref, options)
        super().__init__(
            load_prompts(ref),
            lambda: self._stack.enter_context(load_model(ref, options, emitter)),
            open_scores(ref, options),
            emitter,
        )

    @property
    def precision(self) -> str:
        return self._said[0]

    @property
    def notes(self) -> tuple[str, ...]:
        if self._lm is not None:
            return self._lm.notes
        return (*self._said[1], EARLIER)

    def __enter__(self) -> AskedOnDisk:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()
        if self.cache:
            self.cache.close()
