"""What a distillation needs, from its plan and sizes alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from core.specs import LoadOptions
from core.specs.distill import Cache, Data, DistillPlan, LossPlan, Trainable, make_plan
from core.specs.estimates import (
    count_prompts,
    plan_memory,
    plan_work,
    remedies,
    student_parameters,
    weight_bytes,
)


@dataclass(frozen=True)
class Card:
    parameters: int | None = 134_515_008
    vocab_size: int | None = 49152
    hidden_size: int | None = 576
    layers: int | None = 30


def plan(**more: object) -> DistillPlan:
    return make_plan("standard", "t", "s", **more)  # type: ignore[arg-type]


def need(made: DistillPlan, teacher: Card | None = None, source: Card | None = None) -> int:
    found = plan_memory(made, teacher or Card(), source or Card())
    assert found is not None
    return found.total


def test_training_in_fp32_keeps_weights_gradients_and_two_moments() -> None:
    found = plan_memory(plan(), Card(), Card())
    assert found is not None
    assert found.phase == "while it is trained"
    parts, weights = found.parts, 4 * 134_515_008
    assert (parts["student"], parts["gradients"], parts["optimiser"]) == (weights, weights, 2 * weights)
    assert parts["teacher"] == weights // 2  # bf16
    assert found.total == sum(parts.values())


def test_what_lowers_the_need_does() -> None:
    base = need(plan())
    assert need(plan(trainable=Trainable(mode="lora"))) < base - 10 * 134_515_008
    assert need(plan(cache=Cache())) == base - 2 * 134_515_008
    assert need(plan(build="layer_drop", drop_layers=15)) < base
    assert need(plan(teacher_load=LoadOptions(quant="nf4"))) < base
    assert need(plan(loss=LossPlan(kind="ce"))) == need(plan(cache=Cache()))
    assert plan_memory(plan(), Card(parameters=None), Card()) is None


def test_making_the_student_of_a_large_teacher_can_be_the_fullest_moment() -> None:
    large = Card(7_000_000_000, 32000, 4096, 32)
    made = make_plan(
        "self", "t", "t", build="layer_drop", drop_layers=30, cache=Cache(), trainable=Trainable(mode="lora")
    )
    found = plan_memory(made, large, large)
    assert found is not None
    assert found.phase == "while the student is made"


def test_parameters_after_a_cut() -> None:
    body = 134_515_008 - 49152 * 576
    half = plan(build="layer_drop", drop_layers=15).stages[0]
    assert student_parameters(half.student, Card()) == 134_515_008 - body // 2
    narrow = plan(build="width_prune", keep_width=0.5).stages[0]
    assert student_parameters(narrow.student, Card()) == pytest.approx(134_515_008 - body / 3, rel=1e-6)
    assert (
        weight_bytes(Card(), "auto", "nf4")
        < weight_bytes(Card(), "auto", "int8")
        < weight_bytes(Card(), "auto", "none")
    )


def test_remedies_are_plans_that_fit() -> None:
    base = need(plan())
    found = remedies(plan(), Card(), Card(), base - 1)
    assert "half the tokens in memory at once" in [remedy.words for remedy in found]
    for remedy in found:
        assert need(remedy.plan) == remedy.total < base
    # none alone is enough: all together are offered as one
    tight = min(remedy.total for remedy in found) - 1
    (whole,) = remedies(plan(), Card(), Card(), tight)
    assert " + " in whole.words
    assert need(whole.plan) == whole.total <= tight
    assert remedies(plan(), Card(), Card(), 1) == []
    # no cache is offered where the loss needs whole distributions
    reverse = remedies(plan(loss=LossPlan(kind="reverse_kl")), Card(), Card(), base)
    assert not any("cached" in remedy.words for remedy in reverse)


def test_work_is_of_the_rows_that_are_left(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("prompt,answer\n" + "a b,c\n" * 50)
    data = Data(sources=(str(file),), held_out=10, answer_tokens=20)
    assert count_prompts(data) == 50
    assert count_prompts(Data(sources=("neutral-everyday", "nowhere.txt"))) == 101
    work = plan_work(plan(data=data), Card(), Card())
    assert (work.rows, work.supervised) == (40, 800)
    limited = plan_work(plan(data=msgspec.structs.replace(data, limit=4)), Card(), Card())
    assert limited.flops == pytest.approx(work.flops / 10)
