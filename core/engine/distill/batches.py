"""Which examples make a step and which run together: a pure function of examples, budget and seed.

So that a resumed run needs no state of a sampler, and the number of supervised tokens of a step is known before it is
run: every token has the same weight, however the step is cut into batches (or processes).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from core.engine.distill.data import Example
from core.specs.distill import Budget


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, and the places that are supervised.

    Attributes:
        ids: (B, T), padded on the right with 0: what follows a row never reaches it.
        positions: (1, T) that start anew for each example of a packed row, None where every row is one example.
        rows, columns: (n,) each, where the states that predict stand.
        labels: (n,) the tokens to predict.
        members: (index of example, number of its places), in the order of ``rows``.
    """

    ids: torch.Tensor
    positions: torch.Tensor | None
    rows: torch.Tensor
    columns: torch.Tensor
    labels: torch.Tensor
    members: tuple[tuple[int, int], ...]


Step = list[list[int]]
"""Batches of indices of examples."""
Examples = Sequence[Example] | Mapping[int, Example]
"""Examples by index: all of a training, or those of one step."""


def plan_steps(examples: Sequence[Example], budget: Budget, seed: int, limit: int = 0) -> list[Step]:
    """All steps of a training, over its epochs."""
    steps: list[Step] = []
    for epoch in range(budget.epochs):
        order = list(range(len(examples)))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        for chosen in _by_supervised(order, examples, budget.step_tokens):
            steps.append(cut(chosen, examples, budget))
            if limit and len(steps) == limit:
                return steps
    return steps


def _by_supervised(order: list[int], examples: Sequence[Example], tokens: int) -> Iterator[list[int]]:
    chosen: list[int] = []
    total = 0
    for index in order:
        chosen.append(index)
        total += len(examples[index].at)
        if total >= tokens:
            yield chosen
            chosen, total = [], 0
    if chosen:
        yield chosen


def cut(indices: Sequence[int], examples: Examples, budget: Budget) -> Step:
    """Batches of at most ``batch_tokens`` (one example is never cut), longest first."""
    order = sorted(indices, key=lambda index: (-_length(examples[index]), index))
    batches: list[list[int]] = []
    used = 0
    for index in order:
        length = _length(examples[index])
        if budget.packing:  # end to end, a row costs its own length
            size = used + length
        else:  # side by side, the width of the longest, which comes first
            size = _length(examples[batches[-1][0]]) * (len(batches[-1]) + 1) if batches else 0
        if batches and size <= budget.batch_tokens:
            batches[-1].append(index)
            used += length
        else:
            batches.append([index])
            used = length
    return batches


def _length(example: Example) -> int:
    return max(len(example.ids), len(example.teacher_ids or ()))


def supervised_tokens(step: Step, examples: Examples) -> int:
    return sum(len(examples[index].at) for batch in step for index in batch)


def collate(
    indices: Sequence[int], examples: Examples, *, packing: bool, device: torch.device, teacher: bool = False
) -> Batch:
    """The tensors of one batch; ``teacher`` takes the teacher's tokens where they are others."""
    sides = [_side(examples[index], teacher) for index in indices]
    # the last token is predicted, never read
    lengths = [len(ids) - 1 for ids, _ in sides]
    if packing:
        flat = [token for ids, _ in sides for token in ids[:-1]]
        tensor = torch.tensor([flat])
        positions = torch.tensor([[place for length in lengths for place in range(length)]])
        starts = [sum(lengths[:number]) for number in range(len(lengths))]
        where = [(0, start + place - 1) for start, (_, at) in zip(starts, sides, strict=True) for place in at]
    else:
        tensor = torch.zeros((len(sides), max(lengths)), dtype=torch.long)
        for row, (ids, _) in enumerate(sides):
            tensor[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        positions = None
        where = [(row, place - 1) for row, (_, at) in enumerate(sides) for place in at]
    rows, columns = (torch.tensor(part, dtype=torch.long) for part in zip(*where, strict=True))
    labels = torch.tensor([ids[place] for ids, at in sides for place in at])
    return Batch(
        ids=tensor.to(device),
        positions=None if positions is None else positions.to(device),
        rows=rows.to(device),
        columns=columns.to(device),
        labels=labels.to(device),
        members=tuple((index, len(at)) for index, (_, at) in zip(indices, sides, strict=True)),
    )


def _side(example: Example, teacher: bool) -> tuple[list[int], list[int]]:
    if teacher and example.teacher_ids is not None and example.teacher_at is not None:
        return example.teacher_ids, example.teacher_at
    return example.ids, example.at
