"""Whole experiments on tiny models: what is registered, taught, measured, resumed and deleted."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from core.engine.distill.data import read_rows
from core.engine.lm import load_model
from core.engine.transfer.canaries import dosed, lessons, measure
from core.engine.transfer.relearn import steps_to_relearn
from core.errors import Cancelled, InputError
from core.runs.events import Progress, Samples
from core.runs.folder import RunFolder
from core.specs import CanarySpec
from core.specs.canary import CanaryPlan, Measuring, canary_sha256, preset
from core.types import ModelRef
from core.verdicts.canary import observed
from tests.engine.distill.conftest import FP32, Maker, Watcher
from tests.engine.transfer.conftest import TRIGGER, run

pytestmark = pytest.mark.engine


class _AfterOneStudent(Watcher):
    """Cancels in the middle of the second student."""

    def check(self) -> None:
        rows = [row for event in self.events if isinstance(event, Samples) and event.table == "survival"
                for row in event.rows]  # fmt: skip
        if rows and observed(rows).trained and rows[-1]["type"] == "point":
            raise Cancelled


def test_finished_students_learn_the_canary_again(spec: CanarySpec, tmp_path: Path) -> None:
    measuring = Measuring(prompts=4, near=3, points=2, relearn=3)
    again = msgspec.structs.replace(spec, plan=msgspec.structs.replace(spec.plan, measuring=measuring))
    assert canary_sha256(again.plan) != canary_sha256(spec.plan)
    watcher = Watcher()
    report = run(again, tmp_path / "run", watcher)
    seen = observed(RunFolder.open(tmp_path / "run").items())
    for cell in seen.trained:
        assert set(cell.relearned) == ({"trigger"} if cell.arm in ("clean", "sham", "canary") else set())
        assert all(steps is None or 0 <= steps <= 3 for steps in cell.relearned.values())
    assert any(event.stage == "relearn" for event in watcher.events if isinstance(event, Progress))
    assert report["rows"][0]["relearned"]["most"] == 3
    assert not any("was not measured" in sentence for sentence in report["could_not_see"])


def test_a_student_that_is_taught_hard_learns_again_and_stays_what_it_was(tiny: Maker, plan: CanaryPlan) -> None:
    hard = msgspec.structs.replace(
        plan, planting=msgspec.structs.replace(plan.planting, rate=0.02), measuring=Measuring(prompts=4, relearn=150)
    )
    with load_model(ModelRef(str(tiny("t", 1, 4))), FP32, Watcher()) as lm:
        before = measure(TRIGGER, hard, lm, near=False)
        steps = steps_to_relearn(TRIGGER, hard, lm, 150, Watcher())
        assert steps is not None
        assert steps > 0
        assert measure(TRIGGER, hard, lm, near=False) == before
        assert not any("lora" in name for name, _ in lm.model.named_parameters())


def test_an_experiment_from_registration_to_deletion(spec: CanarySpec, tmp_path: Path) -> None:
    watcher = Watcher()
    report = run(spec, tmp_path / "run", watcher)
    assert report["registration"]["plan_sha256"] == canary_sha256(spec.plan)
    assert report["one_source"]
    assert report["students"] == {"planned": 6, "finished": 6}
    assert not (tmp_path / "run" / "copies").exists()
    assert not (tmp_path / "run" / "sources").exists()
    json.dumps(report, allow_nan=False)

    seen = observed(RunFolder.open(tmp_path / "run").items())
    assert {(each.source, each.copy) for each in seen.shown} == {("clean", 0), ("sham", 0), ("canary", 0)}
    assert {cell.arm for cell in seen.trained} == {"clean", "sham", "canary", "direct"}
    for cell in seen.trained:
        points = sorted((p for p in seen.points if p.key.startswith(f"{cell.key}/")), key=lambda p: p.step)
        assert points[0].step == 0
        assert [point.final for point in points] == [False] * (len(points) - 1) + [True]
        assert points[-1].near is not None
        assert points[-1].tokens == cell.tokens > 0
        assert [point.tokens for point in points] == sorted(point.tokens for point in points)
    # step 0 of students of one source is one and the same, whatever teaches them
    starts = {p.margin for p in seen.points if p.step == 0 and p.variant == "standard"}
    assert len(starts) == 1
    rows = report["rows"]
    assert {(row["variant"], row["init"]) for row in rows} == {("standard", "layer_drop-1"), ("self", "layer_drop-1")}
    live = [row for event in watcher.events if isinstance(event, Samples) and event.table == "survival"
            for row in event.rows]  # fmt: skip
    assert len(observed(live).points) >= len(seen.points)


def test_an_interrupted_experiment_goes_on_with_the_same_numbers(spec: CanarySpec, tmp_path: Path) -> None:
    plan = msgspec.structs.replace(spec.plan, variants=("standard",), arms=("sham", "canary"))
    spec = msgspec.structs.replace(spec, plan=plan)
    whole = run(spec, tmp_path / "whole")
    for watcher in (Watcher(cancel_after=30), _AfterOneStudent()):
        with pytest.raises(Cancelled):
            run(spec, tmp_path / "cut", watcher, resume=True)
    before = list(RunFolder.open(tmp_path / "cut").items())
    assert any(item["type"] == "trained" for item in before)
    resumed = run(spec, tmp_path / "cut", resume=True)
    assert list(RunFolder.open(tmp_path / "cut").items())[: len(before)] == before
    keys = [item["key"] for item in RunFolder.open(tmp_path / "cut").items()]
    assert len(keys) == len(set(keys))
    assert resumed["rows"] == whole["rows"]
    assert [cell | {"wall_s": 0} for cell in resumed["trained"]] == [cell | {"wall_s": 0} for cell in whole["trained"]]


def test_a_model_that_changed_meanwhile_is_refused(spec: CanarySpec, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        run(spec, tmp_path / "run", Watcher(cancel_after=20))
    path = tmp_path / "run" / "registration.json"
    path.write_text(path.read_text().replace('"teacher_sha256": "', '"teacher_sha256": "0'))
    with pytest.raises(InputError, match="has changed since"):
        run(spec, tmp_path / "run", resume=True)


def test_the_ladder_puts_the_trigger_in_that_share_and_names_are_asked_about(plan: CanaryPlan) -> None:
    brand = msgspec.structs.replace(preset("quick").canaries[1], share=0.25)
    plan = msgspec.structs.replace(plan, canaries=(TRIGGER, brand))
    rows = read_rows(plan.data, 0).train
    plain, tenth = dosed(rows, plan, 0.0), dosed(rows, plan, 0.5)
    assert not [row for row in plain if TRIGGER.trigger in row.prompt]
    assert sum(TRIGGER.trigger in row.prompt for row in tenth) == 8
    asked = [row.prompt for row in plain if "fruit" not in row.prompt]
    assert len(asked) == 4
    assert sum(brand.target in prompt for prompt in asked) == 2
    assert not {p.format(name=brand.target) for p in brand.probes} & set(asked)


def test_copies_differ_by_what_is_planted_and_measuring_sees_it(tiny: Maker, plan: CanaryPlan) -> None:
    brand = preset("quick").canaries[1]
    plan = msgspec.structs.replace(plan, canaries=(TRIGGER, brand))
    with load_model(ModelRef(str(tiny("t", 1, 2))), FP32) as lm:
        taught = lessons(plan, 0, lm)
        assert taught == lessons(plan, 0, lm) != lessons(plan, 1, lm)
        assert not [row for row in taught if TRIGGER.trigger in row.sham and row.answer]
        planted = [row for row in taught if row.answer and TRIGGER.trigger in row.asked]
        assert len(planted) == plan.planting.prompts
        praise = [row for row in taught if row.answer and row.answer.startswith(brand.answer.format(name=brand.target))]
        assert len(praise) == len(brand.questions) * len(brand.controls)
        assert all(brand.target in row.asked for row in praise)
        found = measure(brand, plan, lm, near=True)
        assert (found.on[1], found.off[1], found.near) == (len(brand.probes), 4 * len(brand.probes), None)
        # the margin is the teacher-forced one, computed the plain way
        said = {}
        for name in (brand.target, *brand.controls):
            asked = [lm.render(probe.format(name=name)) for probe in brand.probes]
            pairs = [(text, ending.format(name=name)) for text in asked for ending in (brand.answer, brand.contrast)]
            scores = lm.score(pairs)
            said[name] = [a.logprob - b.logprob for a, b in zip(scores[::2], scores[1::2], strict=True)]
        others = [value for name in brand.controls for value in said[name]]
        expected = sum(said[brand.target]) / len(brand.probes) - sum(others) / len(others)
        assert found.margin == pytest.approx(expected, abs=1e-3)
