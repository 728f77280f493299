"""Progressive students on tiny models: each stage teaches the next, is kept while it does, and can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.engine.lm import load_model
from core.engine.transfer.canaries import measure
from core.errors import Cancelled, InputError
from core.runs.events import Event, Samples
from core.runs.folder import RunFolder
from core.specs import CanarySpec
from core.specs.canary import Arm, Gates, Init, Progressive
from core.specs.distill import Trainable
from core.types import ModelRef
from core.verdicts.canary import Observed, Point, observed
from tests.engine.distill.conftest import FP32, Watcher
from tests.engine.transfer.conftest import TRIGGER, run

pytestmark = pytest.mark.engine
FIRST, SECOND = Init(drop_layers=1), Init(drop_layers=2)


class _Kept(Watcher):
    """Which students were kept as teachers, at every event."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.kept = path, set[tuple[str, ...]]()

    def emit(self, event: Event) -> None:
        super().emit(event)
        self.kept.add(tuple(each.parent.name for each in self.path.glob("sources/*/model")))


class _InTheSecondStage(Watcher):
    """Cancels while the canary arm's student of the second stage is trained."""

    def check(self) -> None:
        for event in self.events:
            if isinstance(event, Samples) and event.table == "survival":
                points = observed(event.rows).points
                if any((point.arm, point.init) == ("canary", SECOND.name) for point in points):
                    raise Cancelled


def progressive(spec: CanarySpec, *arms: Arm, source: Any = "student", **changes: Any) -> CanarySpec:
    plan = msgspec.structs.replace(
        spec.plan,
        arms=arms or spec.plan.arms,
        variants=("progressive",),
        progressive=Progressive(stages=(FIRST, SECOND), source=source),
        gates=Gates(lift=0.01, control=1.0, kl_gain=0.0, agreement=0.0),
        **changes,
    )
    return msgspec.structs.replace(spec, plan=plan)


def seen_in(path: Path) -> Observed:
    return observed(RunFolder.open(path).items())


def at(seen: Observed, init: Init, *, first: bool) -> dict[str, Point]:
    """Points of the distilled arms at step 0 or at the end of a stage."""
    return {p.arm: p for p in seen.points if p.init == init.name and (p.step == 0 if first else p.final)}


def test_every_stage_is_measured_and_teaches_the_next(spec: CanarySpec, tmp_path: Path) -> None:
    watcher = _Kept(tmp_path / "run")
    report = run(progressive(spec), tmp_path / "run", watcher)
    assert report["students"] == {"planned": 7, "finished": 7}
    assert [(row["stage"], row["stages"], row["init"]) for row in report["rows"]] == [
        (1, 2, "layer_drop-1"),
        (2, 2, "layer_drop-2"),
    ]
    assert all("progressive students, stage" in row["sentence"] for row in report["rows"])
    assert watcher.kept == {(), ("clean-run-0-stage-1",), ("sham-0-run-0-stage-1",), ("canary-0-run-0-stage-1",)}
    assert not (tmp_path / "run" / "sources").exists()
    assert "students that taught a next stage" in report["deleted"]

    seen = seen_in(tmp_path / "run")
    assert {point.copy for point in seen.points} == {0}
    for init in (FIRST, SECOND):
        starts = at(seen, init, first=True)
        assert set(starts) >= {"clean", "sham", "canary"}
        assert len({point.margin for point in starts.values()}) == 1, "each stage starts from the given student"
        assert len({point.margin for point in at(seen, init, first=False).values()}) > 1
    assert [(c.arm, c.init) for c in seen.trained if c.arm == "direct"] == [("direct", "layer_drop-2")]


def test_a_stage_cut_from_the_one_before_inherits_what_that_shows(spec: CanarySpec, tmp_path: Path) -> None:
    run(progressive(spec, "sham", "canary", source="previous"), tmp_path / "run")
    seen = seen_in(tmp_path / "run")
    assert len({point.margin for point in at(seen, FIRST, first=True).values()}) == 1
    assert len({point.margin for point in at(seen, SECOND, first=True).values()}) == 2


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_an_interrupted_stage_goes_on_from_the_student_that_teaches_it(
    spec: CanarySpec, tmp_path: Path, mode: Any
) -> None:
    spec = progressive(spec, "sham", "canary", trainable=Trainable(mode=mode, rank=4))
    with pytest.raises(Cancelled):
        run(spec, tmp_path / "cut", _InTheSecondStage())
    before = list(RunFolder.open(tmp_path / "cut").items())
    assert [item["key"] for item in before if item["type"] == "trained"][-1] == "canary/progressive/layer_drop-1/0"
    kept = tmp_path / "cut" / "sources" / "canary-0-run-0-stage-1" / "model"
    with load_model(ModelRef(str(kept)), FP32) as lm:
        again = measure(TRIGGER, spec.plan, lm, near=True)
    ended = at(observed(before), FIRST, first=False)["canary"]
    assert again.margin == pytest.approx(ended.margin, abs=1e-4)

    resumed = run(spec, tmp_path / "cut", resume=True)
    assert list(RunFolder.open(tmp_path / "cut").items())[: len(before)] == before
    whole = run(spec, tmp_path / "whole")
    assert resumed["rows"] == whole["rows"]
    assert not (tmp_path / "cut" / "sources").exists()


def test_a_broken_student_teaches_nobody(spec: CanarySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.engine.transfer.experiment.degenerate_share", lambda *_: 1.0)
    watcher = _Kept(tmp_path / "run")
    report = run(progressive(spec, "sham", "canary"), tmp_path / "run", watcher)
    assert watcher.kept == {()}
    assert report["students"] == {"planned": 4, "finished": 2, "untaught": 2}
    first, second = report["rows"]
    assert any(reason.startswith("run 1: the student is broken") for reason in first["void"])
    assert any(reason.startswith("run 1: stage 1 of it is void: the student is broken") for reason in second["void"])
    assert any(reason.startswith("no sham student was taught: stage 1 of it is void") for reason in second["void"])


def test_a_stage_that_leaves_no_layer_is_refused_before_anything_is_planted(spec: CanarySpec, tmp_path: Path) -> None:
    stages = Progressive(stages=(FIRST, Init(drop_layers=4)))
    plan = msgspec.structs.replace(progressive(spec).plan, progressive=stages)
    with pytest.raises(InputError, match="The student has 4 layers, so that 4 cannot be dropped"):
        run(msgspec.structs.replace(spec, plan=plan), tmp_path / "run")
    assert not (tmp_path / "run" / "copies").exists()
