"""The Runs page: history, reopen, resume, reproduce."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.pages.runs import RunsPage
from app.tables.history import history_table
from core.runs.folder import RunFolder
from core.runs.index import read_run
from core.specs import ScanSpec, command_line

MakeWindow = Callable[..., MainWindow]


def runs(window: MainWindow) -> RunsPage:
    window.open_page("runs")
    page = window.page("runs")
    assert isinstance(page, RunsPage)
    return page


def test_history_says_status_and_sentence(make_window: MakeWindow) -> None:
    RunFolder.create(ScanSpec(model="/m/alpha")).finish("done", {"sentence": "No evidence."})
    RunFolder.create(ScanSpec(model="/m/beta"))
    page = runs(make_window())
    cells = {tuple(page.model.index(row, column).data() for column in (2, 3, 4)) for row in range(2)}
    assert cells == {
        ("alpha", "● done", "No evidence."),
        ("beta", "◐ interrupted", "can be resumed; what was finished is kept"),
    }
    assert page.count.text() == "2 runs"


def test_an_empty_history_says_what_to_do(make_window: MakeWindow) -> None:
    page = runs(make_window())
    assert page.empty.isVisible()
    assert "Drop a teacher" in page.empty.text()
    assert not page.foot.isVisible()


def test_search_narrows(make_window: MakeWindow, qtbot: QtBot) -> None:
    for name in ("alpha", "beta"):
        RunFolder.create(ScanSpec(model=f"/m/{name}"))
    page = runs(make_window())
    qtbot.keyClicks(page.search, "BETA")
    assert [r.models for r in page.model.rows] == ["beta"]


def test_copy_gives_the_command_that_does_it_again(make_window: MakeWindow, qtbot: QtBot) -> None:
    spec = ScanSpec(model="/m/alpha", preset="deep", seed=7)
    RunFolder.create(spec)
    page = runs(make_window())
    qtbot.mouseClick(page.copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == command_line(spec)
    assert "--preset deep" in page.command.text()


def test_resume_goes_on_in_the_same_folder(make_window: MakeWindow, qtbot: QtBot) -> None:
    folder = RunFolder.create(ScanSpec(model="/m/alpha"))
    folder.append_items([{"key": "1"}])
    window = make_window("normal")
    page = runs(window)
    assert page.resume.isVisible()
    with qtbot.wait_signal(window.context.run_finished, timeout=10_000) as ended:
        qtbot.mouseClick(page.resume, Qt.MouseButton.LeftButton)
        assert page.model.rows[0].status == "running"
    assert ended.args is not None
    assert ended.args[0] == folder.id
    assert ended.args[1].ok
    assert list(folder.items()) == [{"key": "1"}]
    assert [(r.id, r.status) for r in page.model.rows] == [(folder.id, "done")]
    assert not page.resume.isVisible()


def test_enter_opens_a_run(make_window: MakeWindow, qtbot: QtBot, tmp_path: Path) -> None:
    model = tmp_path / "gamma"
    model.mkdir()
    RunFolder.create(ScanSpec(model=str(model))).finish("done", {"sentence": "x"})
    window = make_window()
    page = runs(window)
    qtbot.keyClick(page.table, Qt.Key.Key_Return)
    assert window.context.teacher is not None
    assert window.context.teacher.name == "gamma"


def test_table_keeps_qt_contract(qtmodeltester: object) -> None:
    folder = RunFolder.create(ScanSpec(model="/m/alpha"))
    row = read_run(folder.path)
    assert row is not None
    table = history_table()
    table.set_rows([row])
    table.append([row, row])
    assert table.rowCount() == 3
    qtmodeltester.check(table)  # type: ignore[attr-defined]
