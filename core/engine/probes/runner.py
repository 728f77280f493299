"""Run suites on one model: one load, every item a row, what is finished is kept.

Rows of ``items.jsonl`` hold key and uid, suite, cluster, group, lang, value (in the risk direction), tied, text_more
and text_less (what a higher and a lower value say), source_id of an imported item, and the scorer's numbers. An answer
that was generated is never kept: its class, length and sha256 are.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from core.catalog import inspect_model
from core.engine.lm import LanguageModel
from core.engine.probes import generated
from core.engine.probes.asked import Asked, AskedOnDisk
from core.engine.probes.base import Measured, Request, Scored
from core.engine.probes.refusal_text import degenerate, strip_thinking
from core.engine.probes.report import sentence, suite_report
from core.engine.probes.scorers import scorer_of
from core.engine.resources import peak_rss_bytes
from core.errors import InputError
from core.runs.events import Emitter, Progress, Samples, State
from core.runs.folder import RunFolder
from core.specs import SuiteSpec
from core.suites import Item, Suite, list_suites, load_suite
from core.suites.items import Prompt
from core.types import RESOURCES

FIRST, LARGEST = 128, 2048
"""Requests of the first chunk and of the largest: the first figures come soon, later chunks share more prefixes."""
ANSWERS = 32
"""Prompts that are answered at once by generation."""
REMEMBERED = 300_000
"""Log-probabilities kept for items that ask the same."""
CHECKED, CHECK_TOKENS = 24, 32
"""Everyday questions that are answered to see whether the model still speaks, and tokens of each answer."""

Todo = tuple[Suite, Item]


def run_suites(spec: SuiteSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """Run the suites of ``spec``. Returns the content of ``report.json``; items are kept in ``items.jsonl``.

    A resumed run scores only what is missing. Raises InputError for a broken suite, or a model that yields no numbers.
    """
    started = time.monotonic()
    suites = [load_suite(name) for name in spec.suites] or list_suites()
    _check_ids(suites)
    emitter.emit(State("loading"))
    with AskedOnDisk(spec.ref, spec.load, emitter) as asked:
        emitter.emit(State("running"))
        loaded = time.monotonic()
        rows = _Run(suites, asked, folder, emitter).rows()
        said = speech(asked, folder) if any(suite.risk_class == "KN" for suite in suites) else None
        scored = time.monotonic()
        precision, notes, computed = asked.precision, asked.notes, asked.computed
        if asked.prompts.reasoning:
            notes = (*notes, "chat items are scored after a forced empty think block")
    card = inspect_model(spec.ref)
    reports = [suite_report(suite, rows) for suite in suites]
    return {
        "schema": 1,
        "job": "suite",
        "model": {
            "name": card.name,
            "fingerprint": card.fingerprint,
            "precision": precision,
            "parameters": card.parameters,
            "notes": list(notes),
        },
        "suites": reports,
        "speech": said,
        "computed": computed,
        "summary": {"sentence": " ".join(map(sentence, reports))},
        "timing": {
            "load": round(loaded - started, 1),
            "suite": round(scored - loaded, 1),
            "wall_s": round(time.monotonic() - started, 1),
            "peak_rss_bytes": peak_rss_bytes(),
        },
        "seed": spec.seed,
    }


def score_suites(
    suites: Sequence[Suite], lm: LanguageModel, folder: RunFolder, emitter: Emitter
) -> dict[str, dict[str, Any]]:
    """Rows by uid of a model that is loaded already; what the folder holds is not scored again."""
    _check_ids(suites)
    return _Run(suites, Asked(lm, lambda: lm, None, emitter), folder, emitter).rows()


def _check_ids(suites: Sequence[Suite]) -> None:
    """Rows are told apart by their suite's id."""
    seen: set[str] = set()
    for suite in suites:
        if suite.id in seen:
            raise InputError(
                "suite_twice", f"Two of the suites have the id {suite.id}.", "Give one of them another id."
            )
        seen.add(suite.id)


class _Run:
    """Scores what is missing, chunk by chunk, asking a model nothing twice."""

    def __init__(self, suites: Sequence[Suite], asked: Asked, folder: RunFolder, emitter: Emitter) -> None:
        self.asked, self.folder, self.emitter = asked, folder, emitter
        self.done: dict[str, dict[str, Any]] = folder.done()
        self.todo = [(suite, item) for suite in suites for item in suite.items if item.uid not in self.done]
        self.total = sum(len(suite.items) for suite in suites)
        self.scores: dict[Request, Scored] = {}
        self.prompts: dict[str, str] = {}

    def rows(self) -> dict[str, dict[str, Any]]:
        """Every item's row by uid; finished ones come from the run folder."""
        scored = [(suite, item) for suite, item in self.todo if not isinstance(item.plan, Prompt)]
        written = [(suite, item) for suite, item in self.todo if isinstance(item.plan, Prompt)]
        started, asked, finished = time.monotonic(), 0, 0
        expected = _expected(self.todo)
        for chunk, requests in _chunks(scored, self.scores):
            self._score(requests)
            self._keep([item_row(suite, item, self._measure(item, asks)) for suite, item, asks in chunk])
            finished, asked = finished + len(chunk), asked + len(requests)
            self._progress(finished, asked, expected, started)
            if len(self.scores) > REMEMBERED:
                self.scores.clear()
        for start in range(0, len(written), ANSWERS):
            answered = written[start : start + ANSWERS]
            self._keep(self._answer(answered))
            finished, asked = finished + len(answered), asked + _expected(answered)
            self._progress(finished, asked, expected, started)
        if not self.todo:
            self.emitter.emit(Progress("suite", "Suites", self.total, self.total, "items"))
        return self.done

    def _score(self, requests: Sequence[Request]) -> None:
        texts = [(self._context(request.context, request.chat), request.continuation) for request in requests]
        self.scores.update(zip(requests, self.asked.score(texts), strict=True))

    def _context(self, text: str, chat: bool) -> str:
        if not chat:
            return text
        if text not in self.prompts:
            position = "after_think" if self.asked.prompts.reasoning else "answer"
            self.prompts[text] = self.asked.prompts.render(text, position=position)
        return self.prompts[text]

    def _measure(self, item: Item, asks: Sequence[Request]) -> Measured:
        """A model whose log-probabilities are no numbers would tie everywhere, and look free of any lean."""
        scores = [self.scores[request] for request in asks]
        if not all(math.isfinite(score.logprob) for score in scores):
            raise InputError(
                "not_finite",
                f"The model's log-probability of “{item.text_more}” is not a finite number.",
                "Its weights may be damaged, or too large for this precision: try --dtype fp32.",
            )
        return scorer_of(item.plan).measure(item.plan, scores)

    def _answer(self, chunk: Sequence[Todo]) -> list[dict[str, Any]]:
        plans = [item.plan for _, item in chunk if isinstance(item.plan, Prompt)]
        texts = [self._context(plan.text, plan.chat) for plan in plans]
        tokens = max(plan.max_new_tokens for plan in plans)
        rule = hashlib.sha256(repr(plans).encode()).hexdigest()
        said = self.asked.answer(texts, tokens, lambda at, text: generated.measure(plans[at], text), rule)
        return [item_row(suite, item, Measured(*each)) for (suite, item), each in zip(chunk, said, strict=True)]

    def _keep(self, fresh: list[dict[str, Any]]) -> None:
        self.folder.append_items(fresh)
        self.done.update((row["key"], row) for row in fresh)
        self.emitter.emit(Samples("items", fresh))

    def _progress(self, finished: int, asked: int, expected: int, started: float) -> None:
        """Items a second; the time left goes by requests, since kinds ask between one and some hundred an item."""
        passed = time.monotonic() - started
        rate, left = finished / passed, max(0, expected - asked) / asked * passed if asked else 0.0
        at = self.total - len(self.todo) + finished
        self.emitter.emit(Progress("suite", "Suites", at, self.total, "items", rate, left))
        self.emitter.check()  # after writing: what is finished is kept


Requested = tuple[Suite, Item, list[Request]]


def _chunks(todo: Sequence[Todo], known: dict[Request, Scored]) -> Iterator[tuple[list[Requested], list[Request]]]:
    """Items with what they ask, and the requests that they add to what is ``known`` by then."""
    limit, chunk = FIRST, list[Requested]()
    fresh: dict[Request, None] = {}
    for suite, item in todo:
        asks = scorer_of(item.plan).requests(item.plan)
        fresh.update((request, None) for request in asks if request not in known)
        chunk.append((suite, item, asks))
        if len(fresh) >= limit:
            yield chunk, list(fresh)
            chunk, fresh, limit = [], {}, min(2 * limit, LARGEST)
    if chunk:
        yield chunk, list(fresh)


def _expected(todo: Sequence[Todo]) -> int:
    """Different requests of all items; a generated answer counts as one for every token."""
    asked: set[int] = set()
    tokens = 0
    for _, item in todo:
        if isinstance(item.plan, Prompt):
            tokens += item.plan.max_new_tokens
        else:
            asked.update(map(hash, scorer_of(item.plan).requests(item.plan)))
    return len(asked) + tokens


def item_row(suite: Suite, item: Item, measured: Measured) -> dict[str, Any]:
    """The line of ``items.jsonl``."""
    row = {
        "key": item.uid,
        "uid": item.uid,
        "suite": suite.id,
        "cluster": item.cluster,
        "group": item.group,
        "lang": item.lang,
        "value": measured.value,
        "tied": measured.tied,
        **measured.numbers,
        "text_more": item.text_more,
        "text_less": item.text_less,
    }
    return {**row, "source_id": item.source_id} if item.source_id else row


def speech(asked: Asked, folder: RunFolder) -> dict[str, int]:
    """Whether the model still speaks: degenerate ones among answers to everyday questions.

    A broken model leans nowhere, and must not look free of risk. The answers are not kept.
    """
    kept = folder.done().get("speech")
    if kept is None:
        panel = yaml.safe_load((RESOURCES / "panels" / "benign.yaml").read_text(encoding="utf-8"))
        texts = [asked.prompts.render(prompt) for prompt in panel["search"][:CHECKED]]
        broken = asked.answer(texts, CHECK_TOKENS, lambda _, text: _broken(text), "degenerate")
        kept = {"key": "speech", "answers": len(broken), "degenerate": sum(broken)}
        folder.append_items([kept])
    return {"answers": kept["answers"], "degenerate": kept["degenerate"]}


def _broken(text: str) -> bool:
    # a thought that is not finished is no answer yet, and no sign of a broken model
    return degenerate(strip_thinking(text) or text)
