"""The Distil page: one plan with the command line's, an estimate before, curves while it runs, students to scan."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtWidgets import QPushButton
from pytestqt.qtbot import QtBot

from app.context import Context, ModelChoice
from app.estimates import distill_estimate
from app.jobs.engine_process import Outcome
from app.pages.distil import AGREEMENT, KL, LOSS, DistilPage
from app.widgets.live_curves import Curve, LiveCurves, thinned
from core.__main__ import _parser
from core.cli.distilling import distill_plan
from core.runs.events import Progress, Samples
from core.runs.folder import RunFolder
from core.specs import DistillSpec, LoadOptions, ScanSpec
from core.specs.distill import VARIANTS, DistillPlan, Trainable, make_plan, read_plan
from core.types import ModelRef
from tests.gui.conftest import fake_card


class Queue:
    def __init__(self) -> None:
        self.waiting: list[RunFolder] = []
        self.said: list[tuple[str, str]] = []

    def submit(self, folder: RunFolder) -> None:
        self.waiting.append(folder)

    def cancel(self, run_id: str) -> None:
        self.said.append(("cancel", run_id))

    def pause(self, run_id: str, on: bool) -> None:
        self.said.append(("pause" if on else "go on", run_id))

    def shutdown(self) -> None: ...


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def context(qtbot: QtBot, queue: Queue) -> Context:
    made = Context()
    made.jobs = queue
    return made


@pytest.fixture
def page(qtbot: QtBot, context: Context) -> DistilPage:
    made = DistilPage(context)
    context.pair_changed.connect(lambda: made.set_pair(context.teacher, context.student))
    qtbot.addWidget(made)
    made.resize(1280, 760)
    made.show()
    return made


def choose(context: Context, *, free: int = 10**12) -> None:
    context.set_pair(
        *(
            ModelChoice(ModelRef(path), LoadOptions(), fake_card(ModelRef(path), fingerprint=path * 32))
            for path in ("/t", "/s")
        )
    )


def pick(page: DistilPage, box: str, key: str) -> None:
    made = getattr(page.recipe, box)
    made.setCurrentIndex(made.findData(key))


def command(line: str) -> DistillPlan:
    """The plan that the command line makes of ``line``."""
    return distill_plan(_parser().parse_args(["distill", *shlex.split(line)]))


def test_a_missing_model_is_asked_for_in_place(page: DistilPage, context: Context, qtbot: QtBot) -> None:
    page._show_estimate()
    assert "Open a teacher first" in page.need.text()
    assert not page.start.isEnabled()
    with qtbot.wait_signal(context.choose_requested) as asked:
        page.recipe.open["teacher"].click()
    assert asked.args == ["teacher"]
    context.set_pair(ModelChoice(ModelRef("/t")), None)
    page._show_estimate()
    assert "Open a student first" in page.need.text()
    pick(page, "variant", "self")  # needs no student
    page._show_estimate()
    assert page.start.isEnabled()
    assert not page.recipe.student_row.isVisible()


COMMANDS = {
    "standard": "--teacher /t --student /s",
    "self": "--teacher /t --variant self",
    "progressive": "--teacher /t --student /s --variant progressive",
    "task-specific": "--teacher /t --student /s --variant task-specific --task recipe",
    "sequence-level": "--teacher /t --student /s --variant sequence-level",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_page_makes_the_plan_of_the_command_line(variant: str, page: DistilPage, context: Context) -> None:
    choose(context)
    pick(page, "variant", variant)
    if variant == "task-specific":
        page.recipe.task.setText("recipe")
    assert page.plan() == command(f"{COMMANDS[variant]} --evaluate-every 20")


def test_every_choice_reaches_the_plan(page: DistilPage, context: Context, tmp_path: Path) -> None:
    choose(context)
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "a", "answer": "b"}\n')
    recipe = page.recipe
    recipe.add_file(file)
    pick(page, "precision", "nf4")
    pick(page, "answers", "given")
    pick(page, "loss", "jsd")
    pick(page, "build", "width_prune")
    pick(page, "trained", "lora")
    pick(page, "keep", "keep")
    for name, value in {
        "temperature": 2.0, "alpha": 0.5, "keep_width": 50, "rank": 8, "epochs": 3, "steps": 40, "rate": 1e-3,
        "answer_tokens": 32, "limit": 100, "own": 25,
    }.items():  # fmt: skip
        getattr(recipe, name).setValue(value)
    said = (
        f"--teacher /t --student /s --teacher-quant nf4 --prompts {file} --answers given --loss jsd --temperature 2 "
        "--alpha 0.5 --build width_prune --keep-width 0.5 --lora 8 --epochs 3 --steps 40 --rate 0.001 "
        "--answer-tokens 32 --limit 100 --on-policy 0.25 --evaluate-every 20 --keep-checkpoints"
    )
    assert page.plan() == command(said)


def test_a_contradiction_is_said_where_the_recipe_is(page: DistilPage, context: Context) -> None:
    choose(context)
    pick(page, "variant", "task-specific")
    page._show_estimate()
    assert "needs a task" in page.need.text()
    assert not page.start.isEnabled()


def test_what_does_not_fit_is_said_with_what_would_make_it(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    choose(context)
    assert context.teacher is not None
    assert context.student is not None
    plan = make_plan("standard", "/t", "/s")
    monkeypatch.setattr("app.estimates._free", lambda _choice: 3_000_000_000)
    found = distill_estimate(context.runs_dir, plan, context.teacher, context.student)
    assert found.fits is False
    assert "of 3.0 GB free" in found.words[0]
    copy = distill_estimate(context.runs_dir, plan, context.teacher, context.teacher)
    assert "nothing to learn" in copy.words[0]
    assert found.remedies
    assert all(remedy.total <= 3_000_000_000 for remedy in found.remedies)
    monkeypatch.setattr("app.estimates._free", lambda _choice: 30_000_000_000)
    assert distill_estimate(context.runs_dir, plan, context.teacher, context.student).fits is True


def test_the_time_is_that_of_an_earlier_run(context: Context) -> None:
    choose(context)
    assert context.teacher is not None
    assert context.student is not None
    plan = make_plan("standard", "/t", "/s")
    before = distill_estimate(context.runs_dir, plan, context.teacher, context.student)
    assert "rough estimate" in before.words[-1]
    folder = RunFolder.create(DistillSpec(plan=plan))
    folder.write_json("report.json", {"stages": [{"flops": 1e12}], "timing": {"wall_s": 10.0}})
    after = distill_estimate(context.runs_dir, plan, context.teacher, context.student)
    assert "at the rate of an earlier distillation" in after.words[-1]


def test_a_plan_can_be_saved_for_the_command_line(
    page: DistilPage, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(context)
    path = tmp_path / "plan.yaml"
    monkeypatch.setattr("PySide6.QtWidgets.QFileDialog.getSaveFileName", lambda *_: (str(path), ""))
    page._show_estimate()
    page.save.click()
    assert read_plan(path) == page.plan()


# a run


def steps(stage: str, first: int, last: int) -> Samples:
    return Samples("training", [{"stage": stage, "step": n, "loss": 3.0 / n} for n in range(first, last + 1)])


def evaluation(stage: str, step: int, kl: float) -> Samples:
    row = {"stage": stage, "step": step, "kl": kl, "agreement": 1 - kl / 4, "perplexity": 9.0, "degenerate": None}
    return Samples("evaluations", [row])


@pytest.fixture
def started(page: DistilPage, context: Context, queue: Queue) -> str:
    choose(context)
    page._show_estimate()
    page.start.click()
    (folder,) = queue.waiting
    assert isinstance(folder.spec, DistillSpec)
    queue.waiting.clear()
    context.run_started.emit(folder.id)
    page.on_started(folder.id)
    return folder.id


def test_curves_follow_the_events(page: DistilPage, started: str) -> None:
    page.on_event(started, Progress("load", "Loading t", 1, 4))
    assert page.empty.text() == "Loading t: 25 %"
    page.on_event(started, evaluation("stage-1", 0, 2.0))
    page.on_event(started, Samples("fit", [{"need": 2e9, "free": 3e9, "estimated": 2.2e9}]))
    page.on_event(started, Progress("stage-1/train", "Distilling", 4, 20))
    page.on_event(started, steps("stage-1", 1, 4))
    page.on_event(started, evaluation("stage-1", 4, 1.0))
    page.on_event(started, steps("stage-1", 3, 6))  # two of them again
    assert [step for step, _ in page.curves.curves[LOSS].points] == [1, 2, 3, 4, 5, 6]
    assert page.curves.curves[KL].points == [(0, 2.0), (4, 1.0)]
    assert page.curves.curves[AGREEMENT].points[-1] == (4, 0.75)
    assert page.curves.steps == 20
    assert "measured a need of 2.0 GB of 3.0 GB (by the files: 2.2 GB)" in page.state.text()
    assert page.curves.isVisible()
    assert not page.start.isEnabled()
    # events of other runs are not taken
    page.on_event("another", steps("stage-1", 7, 9))
    assert len(page.curves.curves[LOSS].points) == 6


def test_stages_stand_one_after_the_other(page: DistilPage, context: Context, queue: Queue) -> None:
    choose(context)
    pick(page, "variant", "progressive")
    page._show_estimate()
    page.start.click()
    run_id = page.run_id
    page.on_event(run_id, evaluation("stage-1", 0, 2.0))
    page.on_event(run_id, Progress("stage-1/train", "Distilling", 5, 5))
    page.on_event(run_id, steps("stage-1", 1, 5))
    page.on_event(run_id, evaluation("stage-2", 0, 3.0))
    page.on_event(run_id, steps("stage-2", 1, 2))
    assert [step for step, _ in page.curves.curves[LOSS].points] == [1, 2, 3, 4, 5, 6, 7]
    assert page.curves.curves[KL].points == [(0, 2.0), (5, 3.0)]
    assert page.curves.curves[KL].marks == {5: "stage-2"}


def test_pause_go_on_cancel_resume(page: DistilPage, context: Context, queue: Queue, started: str) -> None:
    assert [b.isVisible() for b in (page.pause, page.cancel, page.resume)] == [True, True, False]
    page.pause.click()
    assert page.state.text().startswith("Paused")
    page.pause.click()
    page.cancel.click()
    assert queue.said == [("pause", started), ("go on", started), ("cancel", started)]
    context.run_finished.emit(started, Outcome("cancelled"))
    page.on_finished(started, Outcome("cancelled"))
    assert [b.isVisible() for b in (page.pause, page.cancel, page.resume)] == [False, False, True]
    page.resume.click()
    assert [folder.id for folder in queue.waiting] == [started]  # in its own folder
    assert not page.resume.isVisible()


def write_run(context: Context, *, lora: bool = False, finished: bool = True) -> RunFolder:
    """A run folder as the engine leaves it; every figure is made up for the test."""
    plan = make_plan("standard", "/t", "/s", trainable=Trainable(mode="lora" if lora else "full"))
    folder = RunFolder.create(DistillSpec(plan=plan))
    folder.append_items([
        {"key": f"stage-1/{n}", "stage": "stage-1", "step": n, "loss": 2.0 / n} for n in range(1, 41)
    ])  # fmt: skip
    evaluations = [evaluation("stage-1", step, kl).rows[0] for step, kl in ((0, 2.0), (20, 1.0), (40, 0.5))]
    place = folder.path / "stage-1"
    for name, file in {
        "baseline": "config.json",
        "kept/step-000020": "adapter_config.json" if lora else "config.json",
        **({"student": "config.json"} if finished else {}),
    }.items():
        (place / name).mkdir(parents=True)
        (place / name / file).write_text("{}")
    if finished:
        (place / "stage.json").write_text(
            json.dumps({"evaluations": evaluations, "after": {**evaluations[-1], "degenerate": 0.125}})
        )
        stage: dict[str, Any] = {
            "fit": {"need": 2e9, "free": 3e9, "estimated": None}, "share_of_ideal": 0.41, "tokens_per_s": 512.0,
        }  # fmt: skip
        summary = {"sentence": "Distilled (standard)."}
        folder.write_json("report.json", {"summary": summary, "stages": [stage]})
        folder.finish("done", summary)
    else:
        (place / "checkpoint-a").mkdir()
        (place / "checkpoint-a" / "engine.json").write_text(json.dumps({"evaluations": evaluations[:2]}))
    return folder


def test_a_finished_run_is_read_from_its_folder(page: DistilPage, context: Context, queue: Queue) -> None:
    folder = write_run(context)
    page.open_run(folder.path)
    assert len(page.curves.curves[LOSS].points) == 40
    assert page.curves.curves[KL].points == [(0, 2.0), (20, 1.0), (40, 0.5)]
    assert [row.what for row in page.table.rows] == ["before distillation", "checkpoint", "student"]
    assert page.table.data(page.table.index(2, 6)) == "12 %"
    assert "512 supervised tokens/s, 41 % of this machine's matrix peak" in page.state.text()
    page.view.selectRow(1)
    page.scan.click()
    (scan,) = queue.waiting
    assert isinstance(scan.spec, ScanSpec)
    assert scan.spec.model == str(folder.path / "stage-1" / "kept" / "step-000020")
    page.view.selectRow(2)
    page.place.click()
    assert context.student is not None
    assert context.student.ref == ModelRef(str(folder.path / "stage-1" / "student"))


def test_an_adapter_on_the_way_stands_on_the_baseline(page: DistilPage, context: Context, queue: Queue) -> None:
    folder = write_run(context, lora=True)
    page.open_run(folder.path)
    place = folder.path / "stage-1"
    assert page.table.rows[1].ref == ModelRef(str(place / "baseline"), str(place / "kept" / "step-000020"))


def test_an_interrupted_run_shows_what_it_had(page: DistilPage, context: Context) -> None:
    folder = write_run(context, finished=False)
    (folder.path / "stage-1" / "kept" / "step-000020" / "config.json").unlink()
    page.open_run(folder.path)
    assert page.curves.curves[KL].points == [(0, 2.0), (20, 1.0)]
    assert page.resume.isVisible()
    assert "Resume goes on" in page.state.text()
    page.view.selectRow(1)
    assert page.table.rows[1].what == "measured, not kept"
    assert not page.scan.isEnabled()


# the plot


def test_thinning_keeps_every_peak() -> None:
    points = [(float(n), float(n % 7)) for n in range(50_000)]
    points[31_234] = (31_234.0, 99.0)
    points[8] = (8.0, -5.0)
    kept = thinned(points, 300)
    assert len(kept) <= 602
    assert points[31_234] in kept
    assert points[8] in kept
    assert kept == sorted(kept)
    assert thinned(points[:20], 300) == points[:20]


def test_a_flood_of_points_is_painted_at_most_thirty_times_a_second(qtbot: QtBot) -> None:
    plot = LiveCurves([Curve("loss")])
    qtbot.addWidget(plot)
    plot.resize(400, 300)
    plot.show()
    qtbot.wait(80)
    before = plot.painted
    for number in range(5_000):
        plot.add("loss", [(float(number), 1.0 / (number + 1))])
        if number % 500 == 0:
            qtbot.wait(10)
    qtbot.wait(80)
    assert len(plot.curves["loss"].points) == 5_000
    assert 1 <= plot.painted - before <= 9
    assert plot.accessibleDescription() == "loss 0.0002"


def test_the_page_is_in_the_rail_and_opens_runs(make_window: Any, context: Context) -> None:
    window = make_window()
    window.open_run(write_run(context).path)
    assert window.current == "distil"
    assert window.context.teacher.ref == ModelRef("/t")
    assert window.context.student.ref == ModelRef("/s")
    assert any(b.text() == "Scan this one" for b in window.pages["distil"].findChildren(QPushButton))
