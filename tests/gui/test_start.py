"""The Start page: two places, three actions, recents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.pages.start import StartPage
from app.tables.history import when
from core.runs.folder import RunFolder
from core.specs import LoadOptions, ScanSpec
from core.specs.demo import demo_spec
from tests.gui.test_frame import drop

MakeWindow = Callable[..., MainWindow]
MakeModel = Callable[[str], Path]


def start(window: MainWindow) -> StartPage:
    page = window.page("start")
    assert isinstance(page, StartPage)
    return page


def test_dropped_models_show_their_facts(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window()
    targets = start(window).targets
    assert not targets["student"].name.isVisible()
    drop(targets["student"], model_folder("small-student"))
    assert window.context.teacher is None
    qtbot.wait_until(lambda: "135 M parameters" in targets["student"].line.text(), timeout=5000)
    assert targets["student"].name.text() == "small-student"
    assert "1 file finding" in targets["student"].state.text()
    assert "Drop a model" in targets["teacher"].line.text()


def test_a_folder_that_cannot_be_read_says_why(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window()
    target = start(window).targets["teacher"]
    drop(target, model_folder("broken"))
    qtbot.wait_until(lambda: target.line.text() == "config.json is not JSON.", timeout=5000)
    assert target.state.text() == "Copy the folder again."
    assert window.banner.isVisible()
    assert window.banner.action.text() == "Open another folder…"


def test_ctrl_o_opens_a_folder(
    make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window()
    folder = model_folder("chosen")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    qtbot.keyClick(window, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)
    assert window.context.teacher is not None
    assert window.context.teacher.ref.path == str(folder)


def test_demo_without_its_model_says_how_to_get_it(
    make_window: MakeWindow, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FORESHOT_MODEL", str(tmp_path / "absent"))
    window = make_window()
    qtbot.mouseClick(start(window).action_cards[3], Qt.MouseButton.LeftButton)
    assert "not on this machine yet" in window.banner.message.text()
    assert "python -m core model" in window.banner.hint.text()
    assert not window.context.running


def test_demo_is_the_same_job_as_on_the_command_line(
    make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_folder("smollm2")
    monkeypatch.setenv("FORESHOT_MODEL", str(model))
    window = make_window("hang")
    qtbot.mouseClick(start(window).action_cards[3], Qt.MouseButton.LeftButton)
    (run_id,) = window.context.running
    assert window.context.folders[run_id].spec == demo_spec(model, LoadOptions())
    assert window.context.student is not None
    assert window.context.student.ref.path == str(model)


def test_recents_reopen(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    folder = RunFolder.create(ScanSpec(model=str(model_folder("old"))))
    folder.finish("done", {"sentence": "No evidence."})
    window = make_window()
    page = start(window)
    assert [(r.models, r.summary) for r in page.model.rows] == [("old", "No evidence.")]
    page.recent.activated.emit(page.model.index(0, 0))
    assert window.context.teacher is not None
    assert window.context.teacher.name == "old"


def test_without_runs_there_is_no_empty_table(make_window: MakeWindow) -> None:
    page = start(make_window())
    assert not page.recent.isVisible()


def test_when() -> None:
    import datetime

    now = datetime.datetime(2026, 11, 24, 15, 0).astimezone()
    hours = datetime.timedelta(hours=1)
    assert [when(now - n * hours, now) for n in (1, 20, 72, 24 * 40)] == [
        "14:00",
        "yesterday",
        "3 days ago",
        "2026-10-15",
    ]
