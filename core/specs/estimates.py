"""What a distillation will need, from its plan and the files of its models alone: memory, work, and what would help.

Rough until one step was measured (``core.engine.distill.fit``); the window and the engine say which of the two it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
import yaml

from core.specs.distill import Cache, Data, DistillPlan, Stage, Student, Trainable
from core.types import RESOURCES, Dtype, Quant

PROGRAM = 500_000_000
"""Python, torch and transformers before any model, bytes."""
PROMPT_TOKENS = 40
"""Of a short prompt in its chat template, order of magnitude."""
LAYER_VALUES = 20
"""Values that a layer keeps for its backward pass, per token and hidden dimension (gated MLP of 2.7 d, no dropout)."""
HEAD_BUFFERS = 64 << 20
"""The fused head's chunk, bytes; see ``core.engine.distill.head``."""


class Sized(Protocol):
    """What is asked of a model's card."""

    @property
    def parameters(self) -> int | None: ...
    @property
    def vocab_size(self) -> int | None: ...
    @property
    def hidden_size(self) -> int | None: ...
    @property
    def layers(self) -> int | None: ...


@dataclass(frozen=True)
class Memory:
    """Bytes at the fullest moment, by what holds them; ``phase`` is that moment."""

    phase: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Remedy:
    """A change that lowers the need to ``total`` bytes."""

    words: str
    plan: DistillPlan
    total: int


def stage_memory(plan: DistillPlan, stage: Stage, teacher: Sized, source: Sized) -> Memory | None:
    """The fuller of two moments: making the student (both models loaded) and training it.

    Args:
        source: what the student is made of; the teacher itself for the variant ``self``.

    Returns None where a card does not say how large its model is.
    """
    if not teacher.parameters or not source.parameters:
        return None
    taught = weight_bytes(teacher, plan.teacher.load.dtype, plan.teacher.load.quant)
    made = student_parameters(stage.student, source)
    trained = trainable_parameters(stage, source, made)
    online = stage.cache is None and stage.loss.kind != "ce"
    size = 4 if plan.student_load.dtype in ("fp32", "auto") else 2
    build = {"program": PROGRAM, "teacher": taught, "student": size * source.parameters}
    head = (source.vocab_size or 0) * (source.hidden_size or 0)
    train = {
        "program": PROGRAM,
        "teacher": taught if online else 0,
        "student": size * made,
        "gradients": size * trained,
        "optimiser": 2 * size * trained,
        "activations": activation_bytes(stage, source, size),
        "head": HEAD_BUFFERS + 4 * head * (stage.trainable.mode == "full"),
        "held-out rows": 2 * (teacher.vocab_size or 0) * (teacher.hidden_size or 0),
    }
    moments = (Memory("while the student is made", build), Memory("while it is trained", train))
    return max(moments, key=lambda memory: memory.total)


def weight_bytes(card: Sized, dtype: Dtype, quant: Quant) -> int:
    """Of a loaded model. ``auto`` is bf16 where it is fast; embeddings and head are never quantised."""
    parameters = card.parameters or 0
    whole = 4 if dtype == "fp32" else 2
    if quant == "none":
        return whole * parameters
    kept = min(2 * (card.vocab_size or 0) * (card.hidden_size or 0), parameters)
    return round((parameters - kept) * (1.0 if quant == "int8" else 0.55) + whole * kept)


def student_parameters(made: Student, source: Sized) -> int:
    """After layers were dropped; a narrower MLP is about two thirds of a layer's weights."""
    parameters, layers = source.parameters or 0, source.layers or 0
    body = max(0, parameters - (source.vocab_size or 0) * (source.hidden_size or 0))
    if made.build == "layer_drop" and layers:
        return parameters - body * min(made.drop_layers, layers) // layers
    if made.build == "width_prune":
        return round(parameters - body * 2 / 3 * (1 - made.keep_width))
    return parameters


def trainable_parameters(stage: Stage, source: Sized, made: int) -> int:
    head = (source.vocab_size or 0) * (source.hidden_size or 0)
    if stage.trainable.mode == "lora":  # seven matrices a layer, each with two factors of about d (MLPs: 3.7 d)
        return 7 * stage.trainable.rank * round(2.8 * (source.hidden_size or 0)) * (source.layers or 0)
    return max(0, made - head) if stage.trainable.mode == "body" else made


def activation_bytes(stage: Stage, source: Sized, size: int) -> int:
    tokens, wide, layers = stage.budget.batch_tokens, source.hidden_size or 0, source.layers or 0
    if stage.student.build == "layer_drop":
        layers = max(0, layers - stage.student.drop_layers)
    one = LAYER_VALUES * wide * tokens * size
    return layers * wide * tokens * size + one if stage.budget.grad_checkpointing else layers * one


def plan_memory(plan: DistillPlan, teacher: Sized, source: Sized) -> Memory | None:
    """The first stage: of several it is the one with the largest student."""
    return stage_memory(plan, plan.stages[0], teacher, source)


def remedies(plan: DistillPlan, teacher: Sized, source: Sized, free: int) -> list[Remedy]:
    """Changes that make the plan fit into ``free`` bytes, the mildest first; all of them together where none is enough.

    Empty where not even that is.
    """
    offered = (
        (
            "half the tokens in memory at once",
            lambda s: _in(s, budget=_in(s.budget, batch_tokens=s.budget.batch_tokens // 2)),
        ),
        (
            "activations computed twice instead of kept",
            lambda s: _in(s, budget=_in(s.budget, grad_checkpointing=True)),
        ),
        (
            "the teacher's answers cached, so that it need not be in memory",
            _cached,
        ),
        ("a LoRA instead of all weights", lambda s: _in(s, trainable=Trainable(mode="lora"))),
    )
    changes = [(words, _in(plan, stages=tuple(map(change, plan.stages)))) for words, change in offered]
    if plan.teacher.load.quant == "none":
        changes.append(("the teacher in nf4", _quantised(plan)))
    start = plan_memory(plan, teacher, source)
    found = []
    for words, changed in changes:
        need = plan_memory(changed, teacher, source)
        if need is not None and start is not None and need.total < start.total:
            found.append(Remedy(words, changed, need.total))
    enough = [remedy for remedy in found if remedy.total <= free]
    if enough or not found:
        return enough
    whole = plan
    for _, change in offered:
        whole = _in(whole, stages=tuple(map(change, whole.stages)))
    whole = _quantised(whole)
    need = plan_memory(whole, teacher, source)
    words = " + ".join(remedy.words for remedy in found)
    return [Remedy(words, whole, need.total)] if need is not None and need.total <= free else []


def _cached(stage: Stage) -> Stage:
    possible = stage.cache is None and stage.loss.kind in ("forward_kl", "topk") and not stage.loss.hidden
    return _in(stage, cache=Cache()) if possible else stage


def _quantised(plan: DistillPlan) -> DistillPlan:
    return _in(plan, teacher=_in(plan.teacher, load=_in(plan.teacher.load, quant="nf4")))


_in = msgspec.structs.replace


# work


@dataclass(frozen=True)
class Work:
    """What a plan asks for: ``rows`` learned in one pass, ``supervised`` and ``read`` tokens and ``flops`` in all."""

    rows: int
    supervised: float
    read: float
    flops: float


def plan_work(plan: DistillPlan, teacher: Sized, source: Sized) -> Work:
    """Training and the teacher's answers; evaluation and loading are not in it."""
    rows = max(0, count_prompts(plan.data) - plan.data.held_out)
    rows = min(rows, plan.data.limit) if plan.data.limit else rows
    answers, flops, supervised, read = plan.data.answer_tokens, 0.0, 0.0, 0.0
    for stage in plan.stages:
        tokens = float(rows * answers * stage.budget.epochs)
        if stage.budget.max_steps:
            tokens = min(tokens, stage.budget.max_steps * stage.budget.step_tokens)
        seen = tokens * (answers + PROMPT_TOKENS) / answers
        online = stage.cache is None and stage.loss.kind != "ce"
        flops += ideal_flops(student_parameters(stage.student, source), source, teacher, seen, tokens, stage, online)
        if plan.data.answers == "teacher":
            flops += 2 * (teacher.parameters or 0) * rows * (answers + PROMPT_TOKENS)
        supervised, read = supervised + tokens, read + seen
    return Work(rows, supervised, read, flops)


def count_prompts(data: Data) -> int:
    """Rows of the sources, before any filter; a file that cannot be read counts as empty (the engine says why)."""
    count = 0
    for source in data.sources:
        panel = RESOURCES / "panels" / f"{source}.yaml"
        try:
            if panel.exists():
                count += len(yaml.safe_load(panel.read_text("utf-8")).get("prompts", ()))
            else:
                lines = sum(1 for line in Path(source).read_text("utf-8").splitlines() if line.strip())
                count += max(0, lines - (Path(source).suffix.lower() == ".csv"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
    return count


def ideal_flops(
    parameters: int, source: Sized, teacher: Sized, read: float, supervised: float, stage: Stage, online: bool
) -> float:
    """Ideal count of a training: 6 N a token read and 6 dV a supervised one for the student (4 where most weights are
    frozen), 2 N and 2 dV for a teacher in memory (``online``). Attention, padding and evaluation are not in it."""
    factor = 4 if stage.trainable.mode == "lora" else 6

    def parts(card: Sized, parameters: int) -> tuple[float, float]:
        head = float((card.vocab_size or 0) * (card.hidden_size or 0))
        return max(parameters - head, 0.0), head

    body, head = parts(source, parameters)
    total = factor * (body * read + head * supervised)
    if online:
        body, head = parts(teacher, teacher.parameters or 0)
        total += 2 * (body * read + head * supervised)
    return total
