"""On-policy: before a step the student answers some of its prompts itself, and is taught on what it said."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec

from core.engine.distill.data import Example
from core.engine.lm import LanguageModel
from core.specs.distill import OnPolicy


def own_answers(
    indices: Sequence[int], examples: Sequence[Example], student: LanguageModel, plan: OnPolicy, seed: str
) -> dict[int, Example]:
    """New examples in the places of those that the student answered; a function of weights, plan and ``seed`` alone.

    An answer that is empty, or a row of plain text, leaves the example as it is.
    """
    draw = random.Random(seed)
    chosen = [index for index in indices if draw.random() < plan.share and examples[index].prompt]
    if not chosen:
        return {}
    said = student.generate(
        [examples[index].prompt for index in chosen],
        max_new_tokens=plan.tokens,
        temperature=plan.temperature,
        seed=draw.getrandbits(31),
    )
    return {
        index: replaced(examples[index], answer.tokens)
        for index, answer in zip(chosen, said, strict=True)
        if answer.tokens
    }


def replaced(example: Example, answer: Sequence[int]) -> Example:
    """The same prompt with another last answer; tokens mean the same for both models."""
    ids, at = _with(example.ids, example.at, answer)
    made = msgspec.structs.replace(example, ids=ids, at=at)
    if example.teacher_ids is not None and example.teacher_at is not None:
        made.teacher_ids, made.teacher_at = _with(example.teacher_ids, example.teacher_at, answer)
    return made


def _with(ids: list[int], at: list[int], answer: Sequence[int]) -> tuple[list[int], list[int]]:
    """Cut before the last run of supervised places, then ``answer``; only it is supervised."""
    start = at[-1]
    for place in reversed(at):
        if start - place > 1:
            break
        start = place
    return ids[:start] + list(answer), list(range(start, start + len(answer)))
