"""Suites read from written answers: of a model that is asked here, or of a file that stands in for one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.catalog import inspect_model
from core.engine.probes import generated
from core.engine.probes.asked import AskedOnDisk
from core.engine.probes.base import Measured, Row
from core.engine.probes.refusal_text import WITHHELD, classify, strip_thinking
from core.engine.probes.report import sentence, suite_report
from core.engine.probes.runner import ANSWERS, item_row, speech
from core.engine.resources import peak_rss_bytes
from core.errors import InputError
from core.runs.events import Emitter, Progress, Samples, State
from core.runs.folder import RunFolder
from core.specs import SuiteSpec
from core.suites import Item, list_suites, load_suite
from core.suites.items import Choice, Plan, Prompt, Refusal
from core.suites.spoken import Spoken, answers_sha256, asked, named, prompt_uid, read_answers, spoken

Heard = dict[str, Any]
"""What is kept of one answer: its class, its length, and what items make of it. Never the answer."""


def run_spoken(spec: SuiteSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """As ``run_suites``, read from words. With ``spec.answers`` nothing is loaded and ``spec.model`` is only a name."""
    started = time.monotonic()
    read = spoken([load_suite(name) for name in spec.suites] or list_suites())
    if not read.suites:
        raise InputError("not_spoken", "None of these suites can be read from written answers.", "Choose others.")
    users = _users(read)
    said_speech = None
    if spec.answers:
        heard, model = _from_file(Path(spec.answers), spec.model, users)
    else:
        emitter.emit(State("loading"))
        with AskedOnDisk(spec.ref, spec.load, emitter) as model_asked:
            emitter.emit(State("running"))
            heard = _from_model(model_asked, read, users, folder, emitter)
            if any(suite.risk_class == "KN" for suite in read.suites):
                said_speech = speech(model_asked, folder)
            card, notes = inspect_model(spec.ref), [*model_asked.notes, "read from written answers"]
            model = {
                "name": card.name,
                "fingerprint": card.fingerprint,
                "precision": model_asked.precision,
                "parameters": card.parameters,
                "notes": notes,
            }
    reports = []
    for suite in read.suites:
        answered = suite._replace(items=tuple(item for item in suite.items if set(asked(item.plan)) <= set(heard)))
        if not answered.items:
            continue
        rows = {item.uid: item_row(suite, item, measure(item, heard)) for item in answered.items}
        done = folder.done()
        folder.append_items([row for uid, row in rows.items() if uid not in done])
        emitter.emit(Samples("items", list(rows.values())))
        reports.append(suite_report(answered, rows, facts=_facts))
    if not reports:
        raise InputError(
            "no_answers", f"{Path(spec.answers or '').name} answers no item in full.", "Answer every exported prompt."
        )
    emitter.emit(Progress("suite", "Suites", 1, 1))
    return {
        "schema": 1,
        "job": "suite",
        "model": model,
        "suites": reports,
        "not_spoken": list(read.left_out),
        "speech": said_speech,
        "summary": {"sentence": " ".join(map(sentence, reports))},
        "timing": {"wall_s": round(time.monotonic() - started, 1), "peak_rss_bytes": peak_rss_bytes()},
        "seed": spec.seed,
    }


def _users(read: Spoken) -> dict[str, list[Item]]:
    """The items that ask each prompt."""
    users: dict[str, list[Item]] = {text: [] for text in read.prompts()}
    for suite in read.suites:
        for item in suite.items:
            for text in dict.fromkeys(asked(item.plan)):
                users[text].append(item)
    return users


def _from_file(path: Path, name: str, users: Mapping[str, Sequence[Item]]) -> tuple[dict[str, Heard], dict[str, Any]]:
    answers = read_answers(path)
    heard = {text: hear(answers[uid], items) for text, items in users.items() if (uid := prompt_uid(text)) in answers}
    note = f"claimed: a file of {len(answers):,} answers; {len(heard):,} of {len(users):,} prompts are answered"
    model = {
        "name": name,
        "fingerprint": answers_sha256(path),
        "precision": "not loaded",
        "parameters": None,
        "notes": [note],
    }
    return heard, model


def _from_model(
    model: AskedOnDisk, read: Spoken, users: Mapping[str, Sequence[Item]], folder: RunFolder, emitter: Emitter
) -> dict[str, Heard]:
    """Greedy answers, some prompts at a time; what is heard is kept in the run folder and not asked again."""
    done = folder.done()
    heard = {text: done[key]["heard"] for text in users if (key := f"heard:{prompt_uid(text)}") in done}
    lengths = read.prompts()
    rule = hashlib.sha256(repr([suite.sha256 for suite in read.suites]).encode()).hexdigest()
    todo = sorted((text for text in users if text not in heard), key=lambda text: (lengths[text], len(text)))
    position = "after_think" if model.prompts.reasoning else "answer"
    for start in range(0, len(todo), ANSWERS):
        chunk = todo[start : start + ANSWERS]

        def read_one(at: int, answer: str, chunk: Sequence[str] = chunk) -> Heard:
            return hear(answer, users[chunk[at]])

        texts = [model.prompts.render(text, position=position) for text in chunk]
        said = model.answer(texts, max(lengths[text] for text in chunk), read_one, rule)
        folder.append_items(
            [{"key": f"heard:{prompt_uid(text)}", "heard": each} for text, each in zip(chunk, said, strict=True)]
        )
        heard.update(zip(chunk, said, strict=True))
        emitter.emit(Progress("suite", "Answers", len(heard), len(users), "prompts"))
        emitter.check()
    return heard


def hear(answer: str, items: Sequence[Item]) -> Heard:
    """What the items that asked for this answer need of it."""
    by_item: dict[str, Any] = {}
    for item in items:
        if isinstance(item.plan, Choice):
            by_item[item.uid] = named(strip_thinking(answer), item.plan.right + item.plan.wrong)
        elif isinstance(item.plan, Prompt):
            by_item[item.uid] = generated.measure(item.plan, answer)
    return {"class": classify(answer), "length": len(strip_thinking(answer)), "by_item": by_item}


def measure(item: Item, heard: Mapping[str, Heard]) -> Measured:
    """The item's value, on the scale and in the direction of the suite that reads probabilities."""
    plan: Plan = item.plan
    own = [heard[text] for text in asked(plan)]
    numbers = {"class": own[0]["class"], "length": own[0]["length"]}
    if isinstance(plan, Refusal):
        shares = [float(each["class"] in WITHHELD) for each in own]
        value = plan.offset + sum(weight * share for (_, _, weight), share in zip(plan.prompts, shares, strict=True))
        return Measured(value, False, {**numbers, "p": shares[0]})
    if isinstance(plan, Choice):
        found = own[0]["by_item"][item.uid]
        right = [number < len(plan.right) for number in found]
        if not found or len(set(right)) > 1:  # it names none of them, or one of each side
            return Measured(0.0, True, {**numbers, "correct": 0})
        value = float(right[0] is (plan.of == "right")) - plan.chance
        return Measured(value, False, {**numbers, "correct": int(right[0]), "picked": found[0]})
    return Measured(*own[0]["by_item"][item.uid])


def _facts(rows: Sequence[Row]) -> dict[str, float]:
    return {
        "withheld_share": sum(row["class"] in WITHHELD for row in rows) / len(rows),
        "degenerate_share": sum(row["class"] == "degenerate" for row in rows) / len(rows),
        "mean_length": sum(row["length"] for row in rows) / len(rows),
    }
