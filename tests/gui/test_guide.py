"""The guided audit: from Start by the keyboard to a running audit, what it says before, and what it shows meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from app.guide import AuditGuide
from app.guide.guide import RUNNING
from app.guide.plan import wont
from app.jobs.engine_process import Outcome
from app.main_window import MainWindow, pair_of
from app.pages.scorecard import ScorecardPage
from app.pages.start import StartPage
from core.runs.events import Error, Progress
from core.specs import AuditSpec, Pipeline, SuiteSpec
from tests.gui.test_frame import drop

MakeWindow = Callable[..., MainWindow]
MakeModel = Callable[[str], Path]
CTRL, ALT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier


def guide_of(window: MainWindow) -> AuditGuide:
    page = window.page("start")
    assert isinstance(page, StartPage)
    return page.begin_audit()


def running(window: MainWindow) -> AuditSpec:
    (run_id,) = window.context.running
    spec = window.context.folders[run_id].spec
    assert isinstance(spec, AuditSpec)
    return spec


def test_from_start_to_a_running_audit_with_the_keyboard_alone(
    make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot
) -> None:
    window = make_window("hang")
    for name in ("big", "small"):
        drop(window, model_folder(name))
    qtbot.wait_until(lambda: bool(window.context.student and window.context.student.card), timeout=5000)
    qtbot.keyClick(window, Qt.Key.Key_Return, CTRL)
    page = window.page("start")
    assert isinstance(page, StartPage)
    guide = page.guide
    assert guide is not None
    qtbot.wait_until(guide.next.hasFocus, timeout=2000)
    qtbot.keyClick(guide.next, Qt.Key.Key_Space)
    assert guide.step == 1
    focused = QGuiApplication.focusObject()
    assert focused is guide.pipeline.boxes["data"] or focused is guide.pipeline.boxes["data"].lineEdit()
    qtbot.keyClicks(guide.pipeline.boxes["data"].lineEdit(), "")
    guide.pipeline.boxes["data"].setEditText("our mails")
    qtbot.keyClick(guide.pipeline.boxes["init"], Qt.Key.Key_Down)
    for step in (2, 3):
        qtbot.keyClick(guide, Qt.Key.Key_Right, ALT)
        assert guide.step == step
    assert "there is no baseline" in guide.last.wont.text()
    assert "4 of 6 questions about it are not answered" in guide.last.wont.text()
    assert "Teacher · needs about" in guide.last.takes.text()
    qtbot.keyClick(guide, Qt.Key.Key_Right, ALT)
    spec = running(window)
    assert (Path(spec.teacher).name, Path(spec.student or "").name, spec.suites) == ("big", "small", ())
    assert spec.pipeline == Pipeline(data="our mails", init="another pretrained model")
    assert window.tray.what.text() == "Audit of big → small"
    assert guide.step == RUNNING
    assert guide.progress.scan_button.hasFocus()
    assert guide.leave.text() == "Leave it running"
    qtbot.keyClick(window, Qt.Key.Key_Return, CTRL)  # again: no second one
    assert len(window.context.running) == 1


def test_the_scorecard_page_opens_the_guide_with_the_pair_filled_in(
    make_window: MakeWindow, model_folder: MakeModel
) -> None:
    window = make_window("hang")
    for name in ("big", "small"):
        drop(window, model_folder(name))
    window.open_page("scorecard")
    page = window.page("scorecard")
    assert isinstance(page, ScorecardPage)
    page.audit_button.click()
    assert window.current == "start"
    start = window.page("start")
    assert isinstance(start, StartPage)
    guide = start.guide
    assert guide is not None
    assert start.stack.currentWidget() is guide
    assert (guide.step, window.context.running) == (0, set())
    assert {role: choice.name for role, choice in guide.models.models().items()} == {
        "teacher": "big",
        "student": "small",
    }


def test_nothing_goes_on_without_a_model(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window()
    guide = guide_of(window)
    assert not guide.next.isEnabled()
    assert guide.why.text() == "Choose a teacher and a student first, or one model alone."
    guide.forward()
    guide.start()
    assert (guide.step, window.context.running) == (0, set())
    drop(guide.models.targets["teacher"], model_folder("broken"))
    qtbot.wait_until(lambda: "not JSON" in guide.models.targets["teacher"].line.text(), timeout=5000)
    assert not guide.next.isEnabled()
    assert guide.why.text() == "The teacher cannot be read: choose another folder."
    qtbot.keyClick(guide, Qt.Key.Key_Escape)
    page = window.page("start")
    assert isinstance(page, StartPage)
    assert page.stack.currentIndex() == 0


def test_one_model_alone_is_asked_nothing_of_a_pipeline(make_window: MakeWindow, model_folder: MakeModel) -> None:
    window = make_window("hang")
    guide = guide_of(window)
    drop(guide.models.targets["student"], model_folder("only"))
    assert "One model alone" in guide.models.note.text()
    guide.pipeline.boxes["data"].setEditText("ours")
    spec = guide.spec()
    assert (Path(spec.teacher).name, spec.student, spec.pipeline) == ("only", None, Pipeline())
    assert wont(spec)[0] == "anything about transfer: there is one model alone"
    assert wont(spec)[1].startswith("what its scans would have found")
    assert len(wont(msgspec.structs.replace(spec, power=1))) == 1
    guide.forward()
    assert guide.step == 2, "the step about the pipeline is passed over"
    guide.backward()
    assert guide.step == 0


def test_a_baseline_is_read_and_can_be_left_out(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window("hang")
    guide = guide_of(window)
    for role in ("teacher", "student", "baseline"):
        drop(guide.models.targets[role], model_folder(role))
    qtbot.wait_until(lambda: "135 M" in guide.models.targets["baseline"].line.text(), timeout=5000)
    assert Path(guide.spec().baseline or "").name == "baseline"
    assert "traced to before or after" in guide.models.note.text()
    drop(guide.models.targets["baseline"], Path("/nowhere"))
    assert "does not exist" in window.banner.message.text()
    guide.models.remove_button.click()
    assert guide.spec().baseline is None


def test_a_student_that_was_distilled_here_brings_its_baseline_and_answers(
    make_window: MakeWindow, model_folder: MakeModel, tmp_path: Path
) -> None:
    student = model_folder("student")
    (tmp_path / "stage-1" / "baseline").mkdir(parents=True)
    (tmp_path / "stage-1" / "baseline" / "config.json").write_text("{}")
    said = {"variant": "standard", "precision": "bf16", "teacher": {"name": "t"}, "student": {"name": "s"}}
    data = {"rows": 9, "sources": ["x"], "dose": "none"}
    (student / "lineage.json").write_text(json.dumps(said | {"data": data}))
    window = make_window("hang")
    guide = guide_of(window)
    guide.pipeline.boxes["data"].setEditText("mine")
    drop(guide.models.targets["teacher"], model_folder("t"))
    drop(guide.models.targets["student"], student)
    guide.go(1)
    spec = guide.spec()
    assert Path(spec.baseline or "").parent.name == "stage-1"
    assert (spec.pipeline.variant, spec.pipeline.data) == ("standard", "mine")
    guide.models.remove_button.click()
    guide.models.refresh()
    assert guide.spec().baseline is None  # left out once, it is not offered again


def test_a_file_of_answers_stands_in(
    make_window: MakeWindow, model_folder: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window("hang")
    guide = guide_of(window)
    prompts = tmp_path / "prompts.jsonl"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(prompts), ""))
    guide.models.save_prompts()
    rows = [json.loads(line) for line in prompts.read_text(encoding="utf-8").splitlines()]
    assert f"{len(rows):,} prompts were saved" in guide.models.note.text()
    bad, good = tmp_path / "bad.jsonl", tmp_path / "gpt.jsonl"
    bad.write_text("{}")
    good.write_text("\n".join(json.dumps({"uid": row["uid"], "answer": "Yes."}) for row in rows))
    guide.models.take_answers(bad)
    assert "line 1" in window.banner.message.text()
    drop(guide.models.targets["teacher"], good)
    assert not guide.next.isEnabled()  # a file alone is no audit
    drop(guide.models.targets["student"], model_folder("small"))
    spec = guide.spec()
    assert (spec.teacher, spec.teacher_answers) == ("gpt", str(good))
    assert guide.next.isEnabled()
    guide.go(2)
    assert "can be read from written answers" in guide.plan.words.text()
    guide.models.choose_answers()
    assert guide.spec().teacher_answers is None


def test_whoever_answered_is_no_folder_to_be_read() -> None:
    audit = AuditSpec(teacher="gpt", student="small", teacher_answers="gpt.jsonl")
    teacher, student = pair_of(audit, None, None)
    assert teacher is None
    assert student is not None
    assert pair_of(SuiteSpec(model="gpt", answers="gpt.jsonl"), None, None) == (None, None)


def test_what_is_ticked_is_run(make_window: MakeWindow, model_folder: MakeModel) -> None:
    window = make_window("hang")
    guide = guide_of(window)
    drop(guide.models.targets["teacher"], model_folder("a"))
    guide.go(2)
    for key in guide.plan.suites:
        guide.plan.tree.tick(key, key == "knowledge.basics")
    guide.plan.presets.buttons()[1].setChecked(True)
    assert (guide.spec().suites, guide.spec().preset) == (("knowledge.basics",), "standard")
    assert guide.spec().power == 0
    guide.plan.power.setCurrentIndex(1)
    assert guide.spec().power == 1
    guide.go(3)
    assert "2 canaries in private copies of it" in guide.last.will.text()
    assert "--power 1" in guide.last.command.text()
    guide.go(2)
    guide.plan.tree.tick("knowledge.basics", False)
    assert not guide.next.isEnabled()
    assert guide.why.text() == "Tick at least one suite."


def test_progress_part_by_part_and_an_end_that_says_what_is_kept(
    make_window: MakeWindow, model_folder: MakeModel
) -> None:
    window = make_window("hang")
    guide = guide_of(window)
    for role in ("teacher", "student"):
        drop(guide.models.targets[role], model_folder(role))
    guide.start()
    view = guide.progress
    titles = [title for title, _note, _bar in view.lines]
    assert titles[:3] == ["Files", "Scan of the teacher for triggers", "Suites on the teacher"]
    assert len(titles) == 8
    guide.on_event(view.run_id, Progress("teacher/inspect", "Teacher · Files", 1, 1))
    assert view.lines[0][1].text() == "Teacher · Files · 100 %"
    guide.on_event(view.run_id, Progress("part", "Part 2 of 6", 1, 6))
    assert [note.text() for _title, note, _bar in view.lines[:4]] == ["done", "done", "starting", "waiting"]
    guide.on_event(view.run_id, Progress("teacher/suite", "Teacher · Suites", 1, 4, eta_s=300))
    assert view.lines[2][1].text() == "Teacher · Suites · 25 % · 5 min left"
    folder = window.context.run_folder(view.run_id)
    (folder / "scorecard.json").write_text("{}")
    fault = Error("environment", "disk_full", "The disk is full.", "Free some space.")
    guide.on_finished(view.run_id, Outcome("failed", 3, error=fault))
    assert "The disk is full." in view.words.text()
    assert "says what is missing" in view.words.text()
    assert [note.text() for _title, note, _bar in view.lines[1:4]] == ["done", "not finished", "not finished"]
    assert view.open_button.isVisibleTo(view)
    assert view.resume_button.isVisibleTo(view)
    window.context.running.clear()
    submitted: list[Path] = []
    window.context.run_queued.connect(lambda run_id: submitted.append(window.context.run_folder(run_id)))
    view.resume_button.click()
    assert submitted == [folder]
    assert (guide.step, view.ended) == (RUNNING, False)
