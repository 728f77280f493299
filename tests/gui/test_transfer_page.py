"""The Transfer page: cost before the start, live curves beside the sham's, void reasons, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from app.context import Context, ModelChoice
from app.pages.transfer import TransferPage
from app.widgets.survival_grid import apart, ends
from core.runs.events import Progress, Samples
from core.runs.folder import RunFolder
from core.specs import CanarySpec, LoadOptions
from core.specs.canary import CanaryPlan, preset, read_canary_plan, with_variants
from core.specs.canary_cells import Cell, cells
from core.types import ModelRef
from core.verdicts.canary import Point, Shown, Trained, judge_canaries, observed
from tests.gui.conftest import fake_card
from tests.gui.test_distil_page import Queue

RATES = {
    ("canary", "rare-trigger", "self"): 0.6,
    ("canary", "brand", "self"): 0.9,
    ("canary", "brand", "standard"): 0.8,
}


@pytest.fixture
def context(qtbot: QtBot) -> Context:
    made = Context()
    made.jobs = Queue()
    return made


@pytest.fixture
def page(qtbot: QtBot, context: Context) -> TransferPage:
    made = TransferPage(context)
    context.pair_changed.connect(lambda: made.set_pair(context.teacher, context.student))
    qtbot.addWidget(made)
    made.resize(1280, 760)
    made.show()
    return made


def choose(context: Context, teacher: str = "/t", student: str = "/student") -> None:
    context.set_pair(
        *(ModelChoice(ModelRef(path), LoadOptions(), fake_card(ModelRef(path))) for path in (teacher, student))
    )


def items(runs: int = 3, lift: float = 1.0, plan: CanaryPlan | None = None) -> list[dict[str, Any]]:
    """A made-up quick experiment: the brand comes over, the trigger stays in students that were cut from the copy."""
    plan = plan or preset("quick")
    found: list[Any] = []
    for source, rate in (("clean", 0.0), ("sham", 0.0), ("canary", lift)):
        for canary in plan.canaries:
            on = (round(24 * rate), 24)
            key = f"shown/{source}-0/{canary.id}"
            found.append(Shown(key=key, source=source, copy=0, canary=canary.id, on=on, off=(0, 24), margin=20 * rate))
    for cell in cells(plan, one_source=True):
        if cell.run < runs:
            found += _student(cell)
    rows: list[dict[str, Any]] = msgspec.to_builtins(found)
    return rows


def _student(cell: Cell) -> list[Any]:
    common = {"arm": cell.arm, "variant": cell.variant, "init": cell.init, "run": cell.run, "share": cell.share}
    made: list[Any] = []
    for step in (0, 15, 30):
        for canary in preset("quick").canaries:
            end = 1.0 if cell.arm == "direct" else RATES.get((cell.arm, canary.id, cell.variant), 0.0)
            held = cell.variant == "self" and cell.arm == "canary"
            rate = end * (0.9 if held and not step else step / 30 if not held else 1.0)
            hits = max(0, round(24 * rate) - cell.run * (0 < rate < 1))
            made.append(
                Point(
                    key=f"{cell.key}/{step}/{canary.id}",
                    copy=0,
                    canary=canary.id,
                    step=step,
                    tokens=256 * step,
                    on=(hits, 24),
                    off=(0, 24),
                    margin=20 * rate,
                    final=step == 30,
                    **common,
                )
            )
    made.append(
        Trained(
            key=cell.key,
            steps=30,
            tokens=7680,
            kl_before=1.8,
            kl_after=0.5,
            agreement=0.7,
            broken="",
            ended="budget",
            wall_s=90.0,
            **common,
        )
    )
    return made


def write_run(
    path: Path, rows: list[dict[str, Any]], *, finished: bool = True, plan: CanaryPlan | None = None
) -> RunFolder:
    plan = plan or preset("quick")
    folder = RunFolder.create(CanarySpec(teacher="/t", student="/t", plan=plan), path)
    folder.append_items(rows)
    folder.write_json("registration.json", {"plan_sha256": "ab" * 32, "teacher_sha256": "1", "student_sha256": "1"})
    if finished:
        judged = judge_canaries(plan, observed(rows), one_source=True)
        report = {"rows": judged, "could_not_see": ["Relearning was not measured."], "summary": {"sentence": "x"}}
        folder.write_json("report.json", report)
        folder.finish("done", {"sentence": "x"})
    return folder


def texts(page: TransferPage) -> str:
    return "\n".join(made.text() for made in page.below.findChildren(QLabel) if made.text())


def test_the_cost_is_said_before_the_start_and_grows_with_the_runs(page: TransferPage, context: Context) -> None:
    assert "Open a teacher first" in page.need.text()
    assert not page.start.isEnabled()
    choose(context)
    few = page.need.text()
    assert "24 students" in few
    assert "rough estimate" in few
    assert "3 runs show points; absence needs 5." in few
    page.setup.runs.setValue(6)
    assert "48 students" in page.need.text()
    assert "absence needs" not in page.need.text()
    page.setup.variants["self"].setChecked(False)
    assert "24 students" in page.need.text()
    assert page.start.isEnabled()


def test_the_page_makes_the_plan_of_the_command_line(page: TransferPage, context: Context) -> None:
    choose(context)
    page.start.click()
    (folder,) = context.jobs.waiting  # type: ignore[union-attr]
    assert isinstance(folder.spec, CanarySpec)
    assert folder.spec.plan == preset("quick")
    assert folder.spec.student_load.dtype == "fp32"
    assert not page.start.isEnabled()
    assert page.cancel.isVisible()


def test_an_experiment_without_canary_or_student_cannot_start(page: TransferPage, context: Context) -> None:
    choose(context)
    for box in page.setup.boxes.values():
        box.setChecked(False)
    assert "The plan has no canary." in page.need.text()
    assert not page.start.isEnabled()
    page.setup.boxes["brand"].setChecked(True)
    for box in page.setup.variants.values():
        box.setChecked(False)
    assert "The plan makes no student." in page.need.text()


def test_a_plan_is_saved_and_opened(
    page: TransferPage, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "plan.yaml"
    monkeypatch.setattr("app.pages.transfer.QFileDialog.getSaveFileName", lambda *_: (str(file), ""))
    monkeypatch.setattr("app.widgets.canary_setup.QFileDialog.getOpenFileName", lambda *_: (str(file), ""))
    page.setup.boxes["rare-trigger"].setChecked(False)
    page.setup.runs.setValue(7)
    page.save.click()
    assert read_canary_plan(file).runs == 7
    page.setup.choose("quick")
    page.setup.own.click()
    assert page.setup.plan() == read_canary_plan(file)
    assert page.setup.presets.currentText() == "own plan"
    said: list[str] = []
    context.error_shown.connect(lambda message, *_: said.append(message))
    file.write_text("canaries: 3")
    page.setup.own.click()
    assert "is no canary plan" in said[0]


def test_a_finished_run_shows_curves_beside_the_sham_and_what_survived(page: TransferPage, tmp_path: Path) -> None:
    page.open_run(write_run(tmp_path / "run", items()).path)
    rows = page.grid.rows
    assert [row.title for row in rows] == [
        "rare-trigger · standard students, layer_drop-6",
        "rare-trigger · self students, layer_drop-6",
        "brand · standard students, layer_drop-6",
        "brand · self students, layer_drop-6",
    ]
    for row in rows:
        assert (row.teacher, row.void) == (1.0, ())
        assert [len(panel.lines) for panel in row.panels] == [3, 3, 3], "direct and clean self are the standard ones"
        assert all(len(panel.sham) == 3 for panel in row.panels)
    assert rows[2].panels[0].lines[0] == ((0.0, 0.0), (3840.0, pytest.approx(0.42, abs=0.01)), (7680.0, 19 / 24))
    assert "Finished; the planted copies are deleted." in page.state.text()
    assert "abababababab, registered before" in page.state.text()
    assert "brand in standard students (layer_drop-6): survival 0.7" in texts(page)
    assert "fewer than 5 runs cannot show absence" in texts(page)
    assert "not measured" in texts(page)
    assert "log margin 0.90 of the copy's" in texts(page)


def test_void_rows_say_why(page: TransferPage, tmp_path: Path) -> None:
    page.open_run(write_run(tmp_path / "run", items(lift=0.5)).path)
    assert texts(page).count("VOID, the canary is not in the teacher: copy 1 shows a lift of 50%") == 4

    first = page.grid.views[0]
    assert first.void.isVisible()
    assert first.void.text().startswith("✕ void: the canary is not in the teacher: copy 1 shows a lift of 50%")
    panels = {panel.arm: panel for panel in page.grid.rows[0].panels}
    assert panels["canary"].void == (True, True, True)
    assert panels["direct"].void == (False, False, False)
    assert "(void)" in first.panels.accessibleDescription()


def test_a_void_run_is_marked_and_named_beside_its_curve(page: TransferPage, tmp_path: Path) -> None:
    rows = items()
    cell = next(row for row in rows if row["type"] == "trained" and row["key"] == "canary/self/layer_drop-6/1")
    cell |= {"kl_after": 1.7, "agreement": 0.1}
    page.open_run(write_run(tmp_path / "run", rows).path)
    ours = [row for row in page.grid.rows if row.title.endswith("self students, layer_drop-6")]
    for row in ours:
        assert row.panels[0].void == (False, True, False)
        assert row.void == ("run 2: the student did not learn: KL 1.80 to 1.70 nats a token, agreement 10%",)
    others = [row for row in page.grid.rows if row not in ours]
    assert not any(any(panel.void) for row in others for panel in row.panels)
    assert [view.void.isVisibleTo(page) for view in page.grid.views] == [False, True, False, True]


def test_arms_that_coincide_stay_apart_in_words_and_in_grey(page: TransferPage, tmp_path: Path) -> None:
    page.open_run(write_run(tmp_path / "run", items()).path)
    standard, own = page.grid.rows[:2]
    assert ends(standard.panels[0]) == [("canary", 0.0), ("sham", 0.0)]
    assert apart([100.0, 100.0]) == [93.0, 107.0]
    assert apart([20.0, 100.0]) == [20.0, 100.0]
    assert [word for word, _ in ends(own.panels[0])] == ["canary", "sham"]
    image = page.grid.views[0].panels.grab().toImage().convertToFormat(QImage.Format.Format_Grayscale8)
    zero = 18 + 96 - round(96 * 0.1 / 1.1)  # y of a lift of 0
    column = [image.pixelColor(150, y).value() for y in range(zero - 4, zero + 5)]
    dark, pale = min(column), sorted(column)[3]
    assert pale - dark > 40, "the sham's wide line is seen on both sides of the thin one"
    assert max(column) - pale > 20, "and against the ground"


def test_opening_a_run_fills_in_its_set_up(page: TransferPage, context: Context, tmp_path: Path) -> None:
    standard = preset("standard")
    plan = msgspec.structs.replace(
        standard, canaries=(standard.canaries[2],), variants=("self",), runs=2, copies=2, ladder=()
    )
    folder = RunFolder.create(CanarySpec(teacher="/t", student="/student", plan=plan), tmp_path / "run")
    choose(context)
    page.open_run(folder.path)
    assert page.setup.plan() == plan
    assert page.setup.presets.currentText() == "standard"
    assert [name for name, box in page.setup.boxes.items() if box.isChecked()] == ["brand"]
    assert "sham, canary, direct" in page.setup.arms.text()
    assert page.start.text() == "Repeat from the beginning"
    page.setup.runs.setValue(3)
    assert page.start.text() == "Start the experiment"
    page.setup.runs.setValue(2)
    page.start.click()
    (again,) = context.jobs.waiting  # type: ignore[union-attr]
    assert again.path != folder.path
    assert again.spec == folder.spec
    own = msgspec.structs.replace(plan, arms=("sham", "canary"), seed=5)
    page.open_run(RunFolder.create(CanarySpec(teacher="/t", student="/t", plan=own), tmp_path / "own").path)
    assert (page.setup.presets.currentText(), page.setup.plan()) == ("own plan", own)


def test_stages_are_ticked_named_and_drawn(page: TransferPage, context: Context, tmp_path: Path) -> None:
    choose(context)
    box = page.setup.variants["progressive"]
    assert box.text() == "Students in stages: layer_drop-4, then layer_drop-8"
    assert not box.isChecked()
    for name, other in page.setup.variants.items():
        other.setChecked(name == "progressive")
    plan = with_variants(preset("quick"), ("progressive",))
    assert page.setup.plan() == plan
    assert "21 students, 9 of them taught by a student of the stage before" in page.need.text()

    page.setup.choose("quick")
    rows = items(plan=plan)
    why = "stage 1 of it is void: the student did not learn"
    for row in [row for row in rows if row["key"].startswith("canary/progressive/layer_drop-8/1")]:
        rows.remove(row)
        if row["type"] == "trained":
            rows.append(row | {"untaught": why})
    page.open_run(write_run(tmp_path / "run", rows, plan=plan).path)
    assert [row.title for row in page.grid.rows] == [
        "rare-trigger · progressive students, stage 1 of 2, layer_drop-4",
        "rare-trigger · progressive students, stage 2 of 2, layer_drop-8",
        "brand · progressive students, stage 1 of 2, layer_drop-4",
        "brand · progressive students, stage 2 of 2, layer_drop-8",
    ]
    first, second = page.grid.rows[:2]
    assert [len(panel.lines) for panel in first.panels] == [3, 3, 3]
    assert [len(panel.lines) for panel in second.panels] == [2, 3, 3]
    assert first.panels[1].lines == second.panels[1].lines, "the direct control is one and the same"
    assert second.void == (f"run 2: {why}",)
    assert "rare-trigger in progressive students, stage 2 of 2 (layer_drop-8): survival" in texts(page)
    assert page.setup.plan() == plan
    assert page.setup.presets.currentText() == "quick"


def test_a_stage_that_leaves_no_layer_cannot_start(page: TransferPage, context: Context) -> None:
    small = fake_card(ModelRef("/student"), layers=8)
    context.set_pair(
        ModelChoice(ModelRef("/t"), LoadOptions(), fake_card(ModelRef("/t"))),
        ModelChoice(ModelRef("/student"), LoadOptions(), small),
    )
    assert page.start.isEnabled()
    page.setup.variants["progressive"].setChecked(True)
    assert "The student has 8 layers, so that 8 cannot be dropped." in page.need.text()
    assert not page.start.isEnabled()


def test_points_come_live(page: TransferPage, context: Context, qtbot: QtBot) -> None:
    choose(context)
    page.start.click()
    run_id = page.run_id
    context.running.add(run_id)
    rows = items(runs=1)
    page.on_event(run_id, Progress("cells", "Students", 4, 18, note="canary/self/layer_drop-6/0"))
    page.on_event("another", Samples("survival", rows))
    page.on_event(run_id, Samples("survival", [row for row in rows if row["type"] != "trained"]))
    qtbot.waitUntil(lambda: bool(page.grid.rows))
    assert "Students: 4 of 18 · now canary/self/layer_drop-6/0" in page.state.text()
    assert page.grid.grab().height() > 100


def test_an_interrupted_run_can_be_resumed_and_says_that_copies_are_kept(
    page: TransferPage, context: Context, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", items(runs=1), finished=False)
    page.open_run(folder.path)
    assert page.state.text().startswith("Interrupted")
    assert "copies" not in page.state.text()  # there are none yet
    (folder.path / "copies" / "canary-0").mkdir(parents=True)
    page.open_run(folder.path)
    assert "planted copies are kept" in page.state.text()
    page.resume.click()
    assert [waiting.path for waiting in context.jobs.waiting] == [folder.path]  # type: ignore[union-attr]


def test_a_run_that_failed_says_why_and_claims_no_deletion(page: TransferPage, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", items(runs=1), finished=False)
    (folder.path / "copies" / "canary-0").mkdir(parents=True)
    folder.finish("failed", {"sentence": "The student cannot be loaded."})
    page.open_run(folder.path)
    assert page.state.text().startswith(
        "Ended without a result: The student cannot be loaded. Its planted copies are kept"
    )
