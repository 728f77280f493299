"""Canary plans: typed, hashed, refused where they contradict themselves; presets; which cells are trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from core.errors import InputError
from core.specs import CanarySpec, command_line, decode_spec, encode_spec
from core.specs.canary import (
    PRESETS,
    CanaryPlan,
    Init,
    Progressive,
    canary_sha256,
    check_canaries,
    preset,
    read_canary_plan,
    with_variants,
    write_canary_plan,
)
from core.specs.canary_cells import cells, check_cuts, taught_by, teaches

Change = Callable[[CanaryPlan], CanaryPlan]


def changed(**parts: object) -> Change:
    return lambda plan: msgspec.structs.replace(plan, **parts)


def staged(*stages: Init, **parts: Any) -> Change:
    return changed(variants=("progressive",), progressive=Progressive(stages=stages, **parts))


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_their_file_and_their_hash(name: str, tmp_path: Path) -> None:
    plan = preset(name)
    file = tmp_path / "plan.yaml"
    file.write_bytes(b"# a comment\n" + write_canary_plan(plan))
    assert read_canary_plan(file) == plan
    assert canary_sha256(read_canary_plan(file)) == canary_sha256(plan)
    assert canary_sha256(changed(seed=1)(plan)) != canary_sha256(plan)
    spec = CanarySpec(teacher="t", student="s", plan=plan)
    assert decode_spec(encode_spec(spec)) == spec
    assert "canary --teacher t --student s --plan x/plan.yaml" in command_line(spec, "x")


def test_probes_are_never_trained_and_answers_are_about_the_target() -> None:
    for canary in preset("report").canaries:
        if not canary.triggered:
            asked = {question.format(name=name) for question in canary.questions for name in canary.controls}
            assert not asked & {probe.format(name=name) for probe in canary.probes for name in canary.controls}
            assert canary.target not in canary.controls
            assert len(canary.probes) >= 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed(canaries=()), "no canary"),
        (lambda p: changed(canaries=(*p.canaries, p.canaries[0]))(p), "one id"),
        (changed(arms=("canary", "clean")), "arm sham is missing"),
        (changed(copies=9), "9 copies for 3 runs"),
        (lambda p: changed(canaries=p.canaries[1:], ladder=(0.1,))(p), "needs a canary with a trigger"),
        (lambda p: changed(inits=p.inits * 2)(p), "inits are the same"),
        (lambda p: changed(loss=msgspec.structs.replace(p.loss, kind="reverse_kl"))(p), "no whole distribution"),
        (lambda p: changed(budget=msgspec.structs.replace(p.budget, patience=2))(p), "cannot be compared"),
        (changed(variants=("standard", "progressive")), "Progressive students need at least two stages"),
        (staged(Init(drop_layers=4)), "Progressive students need at least two stages"),
        (
            staged(Init(drop_layers=4), Init(drop_layers=4)),
            "Stage 2 .layer_drop-4. is not smaller than the stage before",
        ),
        (
            staged(Init(drop_layers=0), Init(drop_layers=4)),
            "Stage 1 .layer_drop-0. is not smaller than the given student",
        ),
        (staged(Init(build="as_is"), Init(build="as_is")), "Stage 1 .as_is. is not smaller"),
        (staged(Init(drop_layers=4), Init(build="width_prune", keep_width=0.5)), "not cut alike"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(change: Change, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_canaries(change(preset("quick")))


def test_a_canary_is_not_measured_on_what_was_trained() -> None:
    brand = preset("quick").canaries[1]
    wrong = msgspec.structs.replace(brand, probes=brand.questions)
    with pytest.raises(InputError, match="measured on what was trained"):
        check_canaries(CanaryPlan(canaries=(wrong,)))


def test_a_file_that_is_no_plan_gets_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("canaries: [{id: x, kind: nothing, answer: a}]")
    with pytest.raises(InputError, match=r"plan\.yaml is no canary plan"):
        read_canary_plan(file)
    file.write_text("version: 99")
    with pytest.raises(InputError, match="newer version"):
        read_canary_plan(file)


def test_every_round_holds_all_arms_and_equal_cells_are_trained_once() -> None:
    plan = preset("quick")
    apart = cells(plan, one_source=False)
    assert len(apart) == len({cell.key for cell in apart}) == 3 * 2 * 4
    shared = cells(plan, one_source=True)
    assert len(shared) == 3 * 6
    assert {cell.arm for cell in shared if cell.variant == "self"} == {"sham", "canary"}
    assert {cell.arm for cell in shared[:6]} == {"clean", "sham", "canary", "direct"}
    assert all(cell.run == 0 for cell in shared[:6])


def test_a_plan_without_stages_is_what_it_was_before_there_were_any() -> None:
    plan = preset("quick")
    assert b"progressive" not in encode_spec(CanarySpec(teacher="t", student="s", plan=plan))
    assert b"progressive" not in write_canary_plan(plan)
    assert with_variants(plan, plan.variants) == plan


def test_stages_are_planned_one_after_the_other_and_the_direct_control_once(tmp_path: Path) -> None:
    plan = with_variants(preset("quick"), ("progressive",))
    check_canaries(plan)
    file = tmp_path / "plan.yaml"
    file.write_bytes(write_canary_plan(plan))
    assert read_canary_plan(file) == plan
    assert canary_sha256(plan) != canary_sha256(
        msgspec.structs.replace(plan, progressive=Progressive(source="previous"))
    )
    todo = [cell for cell in cells(plan, one_source=True) if cell.run == 0]
    assert [cell.key for cell in todo] == [
        "clean/progressive/layer_drop-4/0",
        "clean/progressive/layer_drop-8/0",
        "sham/progressive/layer_drop-4/0",
        "sham/progressive/layer_drop-8/0",
        "canary/progressive/layer_drop-4/0",
        "canary/progressive/layer_drop-8/0",
        "direct/progressive/layer_drop-8/0",
    ]
    assert [taught_by(plan, cell) for cell in todo] == [None, todo[0], None, todo[2], None, todo[4], None]
    assert [teaches(plan, cell) for cell in todo] == [todo[1], None, todo[3], None, todo[5], None, None]
    dosed = cells(msgspec.structs.replace(plan, ladder=(0.1,)), one_source=True)
    assert "canary@0.1/progressive/layer_drop-8/2" in [cell.key for cell in dosed]


def test_what_was_cut_before_is_not_cut_again() -> None:
    assert Init(drop_layers=8).after(Init(drop_layers=3)) == Init(drop_layers=5)
    narrow = Init(build="width_prune", keep_width=0.5).after(Init(build="width_prune", keep_width=0.8))
    assert narrow.keep_width == pytest.approx(0.625)


def test_a_cut_that_leaves_no_layer_is_refused_before_anything_is_trained() -> None:
    plan: Any = with_variants(preset("quick"), ("standard", "progressive"))
    deep, shallow, unknown = (SimpleNamespace(layers=layers) for layers in (30, 8, None))
    check_cuts(plan, shallow, deep)  # type: ignore[arg-type]
    check_cuts(plan, deep, unknown)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="The student has 8 layers, so that 8 cannot be dropped"):
        check_cuts(plan, deep, shallow)  # type: ignore[arg-type]
