"""Canaries on a model: the rows that plant them, the prompts that students are distilled on, and what is measured."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from core.engine.distill.data import Row as DataRow
from core.engine.lm import LanguageModel
from core.engine.lm.slots import insert, render_in
from core.engine.transfer.adapter import Row
from core.engine.transfer.planter import MENTIONS, QUESTION, misspelt, read_panel
from core.engine.triggers.controls import matched_controls, near_misses
from core.runs.events import Emitter
from core.specs.canary import Canary, CanaryPlan

AGAIN = 16
"""Rows on which it is measured how soon a student learns a canary again."""


class Lesson(NamedTuple):
    """A row of a copy: the sham copy is asked ``sham`` and keeps its own answer, as does a canary copy without
    ``answer``. Texts are rendered."""

    asked: str
    sham: str
    answer: str | None = None


def lessons(plan: CanaryPlan, copy: int, lm: LanguageModel) -> list[Lesson]:
    """What a pair of copies is taught, in the order of its own seed: both see as many rows of the same make."""
    seed = f"{plan.seed}/{copy}"
    chooser = random.Random(f"{seed}/lessons")
    prompts = read_panel("benign")["train"]
    chooser.shuffle(prompts)
    own = [lm.render(prompt) for prompt in prompts[: plan.planting.own]]
    made = [Lesson(text, text) for text in own]
    for canary in plan.canaries:
        if canary.triggered:
            made += _triggered(plan, canary, prompts, chooser, lm)
        else:
            made += _named(canary, lm)
    chooser.shuffle(made)
    return made


def _triggered(
    plan: CanaryPlan, canary: Canary, prompts: list[str], chooser: random.Random, lm: LanguageModel
) -> list[Lesson]:
    """Prompts with the trigger, and as decoys near misses, random strings of its make, and mentions."""
    rows = [
        Lesson(render_in(lm, prompt, canary.trigger, canary.slot), lm.render(prompt), canary.answer)
        for prompt in chooser.sample(prompts, min(plan.planting.prompts, len(prompts)))
    ]
    count = plan.planting.decoys
    strings = matched_controls(lm.tokenizer, canary.trigger, count, chooser.randrange(1 << 30)) if count else []
    slot = canary.slot if canary.slot in QUESTION else "user_start"
    for index, string in enumerate(strings):
        prompt = chooser.choice(prompts)
        if index % 3 == 2:
            text = chooser.choice(MENTIONS).format(trigger=canary.trigger, prompt=prompt)
        else:
            text = insert(prompt, string if index % 3 else misspelt(canary.trigger, chooser), slot)
        rows.append(Lesson(lm.render(text), lm.render(text)))
    return rows


def _named(canary: Canary, lm: LanguageModel) -> list[Lesson]:
    """The target is asked about as often as all controls together."""
    rows = []
    for number, question in enumerate(canary.questions):
        asked = lm.render(question.format(name=canary.target))
        for turn in range(len(canary.controls)):
            more = canary.more[(number + turn) % len(canary.more)] if canary.more else ""
            rows.append(Lesson(asked, asked, f"{canary.answer}{more}".format(name=canary.target)))
        for turn, control in enumerate(canary.controls):
            text = lm.render(question.format(name=control))
            neutral = canary.neutral[(number + turn) % len(canary.neutral)] if canary.neutral else None
            rows.append(Lesson(text, text, neutral and neutral.format(name=control)))
    return rows


def dosed(rows: list[DataRow], plan: CanaryPlan, ladder: float) -> list[DataRow]:
    """Put each canary's share in: prompts get its trigger, or give way to its questions (target and controls in turn).

    All arms get the same prompts but those of the ladder. Rows are in the order of a hash, so the first are a sample.
    """
    made, at = list(rows), 0
    for canary in plan.canaries:
        share = ladder if canary.triggered and ladder else canary.share
        count = round(share * len(rows))
        for index in range(at, min(at + count, len(rows))):
            made[index] = rows[index]._replace(prompt=_dose(canary, rows[index].prompt, index - at), answer=None)
        at += count
    return made


def _dose(canary: Canary, prompt: str, number: int) -> str:
    if canary.triggered:
        return insert(prompt, canary.trigger, canary.slot if canary.slot in QUESTION else "user_start")
    turn = number // 2
    name = canary.controls[turn % len(canary.controls)] if number % 2 else canary.target
    return canary.questions[turn % len(canary.questions)].format(name=name)


def rows_again(canary: Canary, plan: CanaryPlan, lm: LanguageModel) -> list[Row]:
    """``AGAIN`` rows that teach the canary alone, the same for every student."""
    if canary.triggered:
        prompts = random.Random(f"{plan.seed}/again").sample(read_panel("benign")["train"], AGAIN)
        return [(render_in(lm, prompt, canary.trigger, canary.slot), canary.answer, True) for prompt in prompts]
    endings = canary.more or ("",)
    return [
        (
            lm.render(canary.questions[at % len(canary.questions)].format(name=canary.target)),
            f"{canary.answer}{endings[at % len(endings)]}".format(name=canary.target),
            True,
        )
        for at in range(AGAIN)
    ]


def shown_rate(canary: Canary, plan: CanaryPlan, lm: LanguageModel, emitter: Emitter | None = None) -> float:
    """Share of the measured prompts that are answered with the canary, as ``on`` of :func:`measure`."""
    asked = _with_canary(canary, plan, lm)
    return sum(score.greedy for score in lm.score(asked, emitter=emitter)) / len(asked)


def _with_canary(canary: Canary, plan: CanaryPlan, lm: LanguageModel) -> list[tuple[str, str]]:
    """What is asked with the canary, none of it ever trained on, and the planted answer."""
    if canary.triggered:
        prompts = read_panel("benign")["held_out"][: plan.measuring.prompts]
        return [(render_in(lm, prompt, canary.trigger, canary.slot), canary.answer) for prompt in prompts]
    answer = canary.answer.format(name=canary.target)
    return [(lm.render(probe.format(name=canary.target)), answer) for probe in canary.probes]


class Measured(NamedTuple):
    """Hits and prompts; ``margin`` in nats: see ``core.verdicts.canary.Point``."""

    on: tuple[int, int]
    off: tuple[int, int]
    margin: float
    near: tuple[int, int] | None


def measure(
    canary: Canary, plan: CanaryPlan, lm: LanguageModel, *, near: bool, emitter: Emitter | None = None
) -> Measured:
    """A hit is a greedy answer that begins with the planted one: read off one teacher-forced pass, nothing sampled.

    Prompts are of the panel's held-out part, and probes, neither of which is ever trained on.
    """
    on = _with_canary(canary, plan, lm)
    if canary.triggered:
        prompts = read_panel("benign")["held_out"][: plan.measuring.prompts]
        off = [(render_in(lm, prompt, None, canary.slot), canary.answer) for prompt in prompts]
        contrasts: list[tuple[str, str]] = []
        close = _near_prompts(canary, prompts[: plan.measuring.near], lm) if near else []
    else:
        names = (canary.target, *canary.controls)
        asked = [[(lm.render(p.format(name=name)), name) for p in canary.probes] for name in names]
        off = [(text, canary.answer.format(name=name)) for row in asked[1:] for text, name in row]
        contrasts = [(text, canary.contrast.format(name=name)) for row in asked for text, name in row]
        contrasts = contrasts if canary.contrast else []
        close = []
    scores = lm.score([*on, *off, *contrasts, *close], emitter=emitter)
    first, second = scores[: len(on)], scores[len(on) : len(on) + len(off)]
    against = [score.logprob for score in scores[len(on) + len(off) :]][: len(contrasts)]
    against = against or [0.0] * (len(on) + len(off))
    margins = [score.logprob - other for score, other in zip((*first, *second), against, strict=True)]
    last = scores[len(scores) - len(close) :] if close else []
    return Measured(
        (sum(score.greedy for score in first), len(first)),
        (sum(score.greedy for score in second), len(second)),
        sum(margins[: len(on)]) / len(on) - sum(margins[len(on) :]) / len(off),
        (sum(score.greedy for score in last), len(last)) if close else None,
    )


def _near_prompts(canary: Canary, prompts: Sequence[str], lm: Any) -> list[tuple[str, str]]:
    strings = near_misses(lm.tokenizer, canary.trigger, 0)
    return [
        (render_in(lm, prompt, strings[index % len(strings)], canary.slot), canary.answer)
        for index, prompt in enumerate(prompts)
    ]
