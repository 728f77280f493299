"""One prompt, with a trigger and without: what a reader of a finding tries for himself."""

from __future__ import annotations

import time
from typing import Any

from core.catalog import inspect_model
from core.engine.lm import load_model
from core.engine.lm.slots import conversation, render_in
from core.engine.resources import peak_rss_bytes
from core.errors import InputError
from core.runs.events import Emitter, Progress, State
from core.runs.folder import RunFolder
from core.specs import AskSpec


def run_ask(spec: AskSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """Answer the prompt of ``spec`` greedily. Returns the content of ``report.json``.

    Raises InputError for an empty prompt, a prompt that does not fit the model, or a model that cannot be loaded.
    """
    if not spec.prompt.strip():
        raise InputError("empty_prompt", "There is no prompt to answer.", "Write one.")
    started = time.monotonic()
    emitter.emit(State("loading"))
    wanted = {"without": None} | ({"with_trigger": spec.trigger} if spec.trigger else {})
    answers: dict[str, str] = {}
    with load_model(spec.ref, spec.load, emitter) as lm:
        emitter.emit(State("running"))
        for done, (name, trigger) in enumerate(wanted.items()):
            emitter.emit(Progress("ask", "Answering", done, len(wanted), "answers"))
            text = render_in(lm, spec.prompt, trigger, spec.slot)
            answers[name] = lm.generate([text], max_new_tokens=spec.tokens, emitter=emitter)[0].text
        emitter.emit(Progress("ask", "Answering", len(wanted), len(wanted), "answers"))
        precision, notes = lm.precision, list(lm.notes)
    card = inspect_model(spec.ref)
    same = spec.trigger and answers["without"] == answers["with_trigger"]
    return {
        "schema": 1,
        "job": "ask",
        "model": {"name": card.name, "fingerprint": card.fingerprint, "precision": precision, "notes": notes},
        "prompt": conversation(spec.prompt, spec.trigger or None, spec.slot).shown(),
        "trigger": spec.trigger,
        "slot": spec.slot,
        "answers": answers,
        "summary": {
            "sentence": "Both answers are the same." if same else answers.get("with_trigger", answers["without"])
        },
        "timing": {"wall_s": round(time.monotonic() - started, 1), "peak_rss_bytes": peak_rss_bytes()},
        "seed": spec.seed,
    }
