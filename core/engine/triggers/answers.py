"""Answers that are generated once and kept in the run folder: a resumed scan repeats none of them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from core.engine.lm import LanguageModel
from core.engine.ranks import ALONE, Ranks
from core.engine.triggers.event import Event
from core.runs.events import Emitter, Progress
from core.runs.folder import RunFolder

CHUNK = 64
"""Prompts that one process answers between two visits to the disk."""


class Answers:
    """Greedy answers by rendered prompt, over one model and one run folder.

    ``who`` sets the answers of a second model (a reference) in the same folder apart. ``ranks`` share the prompts; all
    but the first have no folder, and know what the first one's holds.
    """

    def __init__(
        self, lm: LanguageModel, folder: RunFolder | None, emitter: Emitter, who: str = "", ranks: Ranks = ALONE
    ) -> None:
        self.lm = lm
        self._ranks = ranks
        self._who = f"{who}\0" if who else ""
        self.generated = 0
        self._folder = folder
        self.emitter = emitter
        done = ranks.agree(folder.done() if folder else {})
        self._known = {key: item["answer"] for key, item in done.items() if "answer" in item}
        self._values = {key: item["value"] for key, item in done.items() if "value" in item}

    def beside(self, lm: LanguageModel, who: str) -> Answers:
        """Those of another model, kept in the same folder."""
        return Answers(lm, self._folder, self.emitter, who, self._ranks)

    def keep(self, stage: str, of: object, compute: Callable[[], Any]) -> Any:
        """A value that JSON can hold, computed once for each (stage, ``of``) and kept in the run folder."""
        key = hashlib.sha256(f"{self._who}{stage}\0{of!r}".encode()).hexdigest()[:24]
        if key not in self._values:
            self._values[key] = compute()
            self._write([{"key": key, "stage": stage, "value": self._values[key]}])
        return self._values[key]

    def get(self, texts: Sequence[str], tokens: int, stage: str, task: str, event: Event | None = None) -> list[str]:
        """The answer (at most ``tokens`` tokens) to every rendered prompt; shows progress under ``stage``.

        With ``event``, an answer ends where the event is decided.
        """
        kind = event.target if event and event.until else ""
        keys = [hashlib.sha256(f"{self._who}{tokens}\0{kind}\0{text}".encode()).hexdigest()[:24] for text in texts]
        missing = list({key: text for key, text in zip(keys, texts, strict=True) if key not in self._known}.items())
        missing.sort(key=lambda pair: len(pair[1]))
        self._ranks.same(missing)
        chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
        started, done = time.monotonic(), 0

        def answered(chunk: list[tuple[str, str]]) -> list[tuple[str, str]]:
            answers = self.lm.generate(
                [text for _, text in chunk],
                max_new_tokens=tokens,
                until=event.until if event else None,
                emitter=self.emitter,
            )
            return [(key, answer.text) for (key, _), answer in zip(chunk, answers, strict=True)]

        for start in range(0, len(chunks), self._ranks.world):
            fresh = dict(chain(*self._ranks.each(chunks[start : start + self._ranks.world], answered)))
            self._write([{"key": key, "stage": stage, "answer": text} for key, text in fresh.items()])
            self._known.update(fresh)
            self.generated += len(fresh)
            done += len(fresh)
            rate = done / (time.monotonic() - started)
            left = (len(missing) - done) / rate
            self.emitter.emit(Progress(stage, task, done, len(missing), "prompts", rate, left))
        if not missing:
            self.emitter.emit(Progress(stage, task, 1, 1, "prompts"))
        return [self._known[key] for key in keys]

    def _write(self, items: list[dict[str, Any]]) -> None:
        if self._folder:
            self._folder.append_items(items)
