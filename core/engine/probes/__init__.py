"""Run suites on a model: paired log-likelihoods, item by item."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Any

from core.catalog import inspect_model
from core.engine.lm import LanguageModel, load_model
from core.engine.resources import peak_rss_bytes
from core.errors import InputError
from core.runs.events import Emitter, Progress, Samples, State
from core.runs.folder import RunFolder
from core.specs import SuiteSpec
from core.stats import cluster_bootstrap, sign_flip_p
from core.suites import Item, Suite, Term, list_suites, load_suite

CHUNK = 40
"""Items between two visits to the disk."""
BOUNDS = (-0.5, 0.5)
"""Of an item's value."""


def run_suites(spec: SuiteSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """Run the suites of ``spec``. Returns the content of ``report.json``; items are kept in ``items.jsonl``.

    A resumed run scores only what is missing. Raises InputError for a broken suite, or a model that yields no numbers.
    """
    started = time.monotonic()
    suites = [load_suite(name) for name in spec.suites] or list_suites()
    for suite in suites:
        if not all(item.terms for item in suite.items):
            why = f"{suite.title} is of kind {suite.kind}, which this version reads but cannot run."
            raise InputError("no_scorer", why, "Leave it out.")
    emitter.emit(State("loading"))
    with load_model(spec.ref, spec.load, emitter) as lm:
        emitter.emit(State("running"))
        loaded = time.monotonic()
        rows = _score(suites, lm, folder, emitter)
        scored = time.monotonic()
        precision, notes = lm.precision, lm.notes
        if lm.reasoning:
            notes = (*notes, "chat items are scored after a forced empty think block")
    card = inspect_model(spec.ref)
    reports = [_report(suite, rows) for suite in suites]
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
        "summary": {"sentence": " ".join(_sentence(report) for report in reports)},
        "timing": {
            "load": round(loaded - started, 1),
            "suite": round(scored - loaded, 1),
            "wall_s": round(time.monotonic() - started, 1),
            "peak_rss_bytes": peak_rss_bytes(),
        },
        "seed": spec.seed,
    }


def _score(suites: list[Suite], lm: LanguageModel, folder: RunFolder, emitter: Emitter) -> dict[str, dict[str, Any]]:
    """Every item's row by uid; finished ones come from the run folder."""
    done = folder.done()
    todo = [(suite, item) for suite in suites for item in suite.items if item.uid not in done]
    total, started = sum(len(suite.items) for suite in suites), time.monotonic()
    for start in range(0, len(todo), CHUNK):
        chunk = todo[start : start + CHUNK]
        requests = [_request(term, lm) for _, item in chunk for term in item.terms]
        scores = iter(lm.score(requests, emitter=emitter))
        fresh = [_row(suite, item, [next(scores).logprob for _ in item.terms]) for suite, item in chunk]
        folder.append_items(fresh)
        done.update((row["key"], row) for row in fresh)
        emitter.emit(Samples("items", fresh))
        finished = start + len(chunk)
        rate = finished / (time.monotonic() - started)
        left = (len(todo) - finished) / rate
        emitter.emit(Progress("suite", "Suites", total - len(todo) + finished, total, "items", rate, left))
        emitter.check()  # after writing: what is finished is kept
    if not todo:
        emitter.emit(Progress("suite", "Suites", total, total, "items"))
    return done


def _request(term: Term, lm: LanguageModel) -> tuple[str, str]:
    if not term.chat:
        return term.context, term.continuation
    return lm.render(term.context, position="after_think" if lm.reasoning else "answer"), term.continuation


def _row(suite: Suite, item: Item, logprobs: list[float]) -> dict[str, Any]:
    """The value is ½, 0 or −½; ``logprob_more`` and ``logprob_less`` sum the terms of either sign, in nats.

    A model whose log-probabilities are no numbers would tie everywhere, and look free of any lean: it is refused.
    """
    if not all(map(math.isfinite, logprobs)):
        raise InputError(
            "not_finite",
            f"The model's log-probability of “{item.text_more}” is not a finite number.",
            "Its weights may be damaged, or too large for this precision: try --dtype fp32.",
        )
    more = math.fsum(value for value, term in zip(logprobs, item.terms, strict=True) if term.sign > 0)
    less = math.fsum(value for value, term in zip(logprobs, item.terms, strict=True) if term.sign < 0)
    return {
        "key": item.uid,
        "uid": item.uid,
        "suite": suite.id,
        "cluster": item.cluster,
        "group": item.group,
        "value": 0.5 * ((more > less) - (more < less)),
        "logprob_more": more,
        "logprob_less": less,
        "text_more": item.text_more,
        "text_less": item.text_less,
    }


def _report(suite: Suite, rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Mean effect with its cluster interval, and each group beside it (exploratory)."""
    items = [rows[item.uid] for item in suite.items]
    values, clusters = [row["value"] for row in items], [row["cluster"] for row in items]
    effect = cluster_bootstrap(values, clusters, bounds=BOUNDS)
    groups: dict[str, list[float]] = defaultdict(list)
    for row in items:
        groups[row["group"]].append(row["value"])
    return {
        "id": suite.id,
        "version": suite.version,
        "sha256": suite.sha256,
        "risk_class": suite.risk_class,
        "title": suite.title,
        "measures": suite.measures,
        "margin": suite.margin,
        "n": effect.n,
        "clusters": effect.clusters,
        "ties": values.count(0.0),
        "effect": {"value": effect.value, "low": effect.low, "high": effect.high},
        "p": sign_flip_p(values, clusters),
        "groups": [
            {"group": group, "n": len(members), "value": sum(members) / len(members)}
            for group, members in groups.items()
        ],
        "limits": f"{suite.limits} Items: {suite.provenance}.",
    }


def _sentence(report: dict[str, Any]) -> str:
    effect = report["effect"]
    return (
        f"{report['title']}: {effect['value']:+.3f} ({effect['low']:+.3f} to {effect['high']:+.3f}) "
        f"in {report['n']} items, margin {report['margin']}."
    )
