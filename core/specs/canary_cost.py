"""What a canary experiment will cost, said before it starts: from the plan and the cards, nothing is loaded.

Tokens and operations follow from the plan; seconds are these over the speeds of a two-core and an eight-core CPU, an
order of magnitude. The first student of a run tells more.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from msgspec import UNSET

from core.specs.canary import CanaryPlan
from core.specs.canary_cells import Cell, cells, init_of, taught_by
from core.specs.estimates import Sized, student_parameters

PROMPT = 50
"""Tokens of a rendered prompt, with a short system prompt, order of magnitude."""
DECODING = 4
"""A generated token costs so many times a token that is read."""
SPEED = {"read": (0.3e12, 2e12), "trained": (0.1e12, 0.6e12)}
"""Operations a second, slow and fast: bf16 forward passes, and fp32 training."""
PROMPTS, PANEL_ROWS = 144, 390
"""Prompts of the panels that canaries and data come from, at most."""


class Card(Sized, Protocol):
    """Of a ModelCard, what this needs. Properties, because cards are frozen."""

    @property
    def weights_sha256(self) -> str | None: ...
    @property
    def fingerprint(self) -> str: ...


class Cost(NamedTuple):
    """Seconds are (fast, slow); None where a card does not say how large its model is. Bytes are of weights and
    optimiser of one student, the most that is in memory at once beside a batch. ``later`` students are taught by one of
    the stage before."""

    students: int
    later: int
    copies: int
    steps: int
    tokens: int
    seconds: tuple[float, float] | None
    bytes: int | None

    def lines(self) -> list[str]:
        """For a reader."""
        later = f", {self.later} of them taught by a student of the stage before" if self.later else ""
        said = [
            f"{self.copies} planted and {self.copies} sham copies of the teacher",
            f"{self.students} students{later}, about {self.steps} steps and {self.tokens:,} supervised tokens each",
        ]
        if self.seconds and self.bytes:
            fast, slow = (_minutes(each) for each in self.seconds)
            said.append(f"rough estimate on a CPU, by size alone: {fast} to {slow}")
            said.append(f"about {self.bytes / 1e9:.1f} GB of memory for a student in training")
        return said


def cost(plan: CanaryPlan, teacher: Card, student: Card) -> Cost:
    """See :class:`Cost`."""
    same = (teacher.fingerprint, teacher.weights_sha256) == (student.fingerprint, student.weights_sha256)
    todo = cells(plan, one_source=same)
    rows = min(plan.data.limit or PANEL_ROWS, PANEL_ROWS)
    answer = plan.data.answer_tokens
    taught = [_lessons(plan), rows]  # rows of a direct student, and of one that is distilled
    budget = plan.budget
    steps = [
        min(budget.max_steps or math.inf, budget.epochs * math.ceil(each * answer / budget.step_tokens))
        for each in taught
    ]
    stages = [before for cell in todo if (before := taught_by(plan, cell))]
    counted = (len(todo), len(stages), plan.copies, int(steps[1]), int(steps[1] * budget.step_tokens))
    if not (teacher.parameters and student.parameters):
        return Cost(*counted, None, None)
    wide = PROMPT + answer
    asked = sum(
        2 * plan.measuring.prompts if canary.triggered else len(canary.probes) * (1 + len(canary.controls))
        for canary in plan.canaries
    )
    read = trained = 0.0
    sources = 1 + plan.copies * (2 + len(plan.ladder))
    size = 2 * teacher.parameters
    answering = rows * (2 * wide + DECODING * answer)  # answers, then cache
    read += sources * answering * size
    read += sum(answering * 2 * sum(_student(plan, before, teacher, student)) for before in stages)
    read += sources * asked * wide * size
    read += _lessons(plan) * DECODING * plan.planting.answer_tokens * size
    read += 2 * plan.copies * _lessons(plan) * plan.planting.epochs * wide * 2 * size  # LoRA
    largest = 0
    for cell in todo:
        body, head = _student(plan, cell, teacher, student)
        direct = cell.arm == "direct"
        done = steps[0 if direct else 1] * budget.step_tokens / answer  # rows
        trained += done * 6 * (wide * body + answer * head)
        trained += (1 + plan.measuring.points) * asked * wide * 2 * body
        if plan.measuring.relearn is not UNSET and cell.arm in ("clean", "sham", "canary") and not cell.share:
            # half of the steps that are allowed, on 16 rows (LoRA: 4 N), each followed by the prompts with the canary
            tries = plan.measuring.relearn / 2 * len(plan.canaries)
            trained += tries * wide * body * (16 * 4 + plan.measuring.prompts * 2)
        largest = max(largest, body + head)
    slow, fast = (read / SPEED["read"][at] + trained / SPEED["trained"][at] for at in (0, 1))
    return Cost(*counted, (fast, slow), 16 * largest)


def _lessons(plan: CanaryPlan) -> int:
    """Rows of a copy."""
    planting = plan.planting
    triggered = sum(canary.triggered for canary in plan.canaries)
    named = sum(2 * len(canary.questions) * len(canary.controls) for canary in plan.canaries)
    return min(planting.own, PROMPTS) + triggered * (min(planting.prompts, PROMPTS) + planting.decoys) + named


def _student(plan: CanaryPlan, cell: Cell, teacher: Card, student: Card) -> tuple[int, int]:
    """Parameters that every token passes, and those of the head alone."""
    init, source = init_of(plan, cell), teacher if cell.variant == "self" else student
    head = (source.vocab_size or 0) * (source.hidden_size or 0)
    return max(student_parameters(init.student(), source) - head, 0), head


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
