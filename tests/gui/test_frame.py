"""The frame of the window: start, shortcuts, drop, palette, banner, tray, names, closing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import QMimeData, QObject, QPointF, Qt, QUrl, Signal
from PySide6.QtGui import QAccessible, QDragEnterEvent, QDropEvent, QGuiApplication
from PySide6.QtWidgets import QAbstractButton, QAbstractItemView, QComboBox, QLineEdit, QTextEdit, QWidget
from pytestqt.qtbot import QtBot

from app import theme
from app.main_window import MainWindow, pair_of
from app.widgets.tray import duration, progress_text
from core.runs.events import Progress
from core.runs.folder import RunFolder
from core.specs import AuditSpec, CanarySpec, LoadOptions, ScanSpec
from core.specs.canary import preset
from core.types import ModelRef

MakeWindow = Callable[..., MainWindow]
MakeModel = Callable[[str], Path]


def drop(widget: QWidget, *paths: Path) -> None:
    """What Qt sends when files are dropped on a widget."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    middle = widget.rect().center()
    buttons, keys, copy = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, Qt.DropAction.CopyAction
    enter = QDragEnterEvent(middle, copy, data, buttons, keys)
    QGuiApplication.sendEvent(widget, enter)
    assert enter.isAccepted()
    QGuiApplication.sendEvent(widget, QDropEvent(QPointF(middle), copy, data, buttons, keys))


class _Emitter(QObject):
    flag = Signal(bool)
    thing = Signal(object)


def test_signals_leave_reference_counts_alone(qtbot: QtBot) -> None:
    """PySide6 6.12.0 on CPython 3.11 loses one reference of True, False and None with every emit, and dies of it."""
    emitter = _Emitter()
    seen: list[object] = []
    emitter.flag.connect(lambda value: seen.append(value))
    emitter.thing.connect(lambda value: seen.append(value))
    for _ in range(3):
        emitter.flag.emit(True)
    seen.clear()
    before = [sys.getrefcount(value) for value in (True, False, None)]
    for _ in range(100):
        emitter.flag.emit(True)
        emitter.flag.emit(False)
        emitter.thing.emit(None)
        seen.clear()
    after = [sys.getrefcount(value) for value in (True, False, None)]
    # a few come and go with the test runner; the fault costs at least 100 of each
    assert [abs(a - b) < 20 for a, b in zip(after, before, strict=True)] == [True] * 3


def test_the_window_shows_without_torch(tmp_path: Path) -> None:
    """In a process of its own; also none of what is meant to be loaded later."""
    code = (
        "import sys, time\n"
        "began = time.perf_counter()\n"
        "from app.application import application, build_window\n"
        "app = application(); window = build_window(); window.show(); app.processEvents()\n"
        "window.grab()\n"
        "took = time.perf_counter() - began\n"
        "heavy = ('torch', 'transformers', 'core.engine', 'pyqtgraph', 'numpy', 'scipy', 'typst', 'jinja2')\n"
        "print([name for name in heavy if name in sys.modules], round(took, 2))\n"
        "window.close()\n"
    )
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen", "FORESHOT_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("[] "), done.stdout + done.stderr


def test_every_page_has_a_key(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    assert {"start", "models", "runs"} <= set(window.rail.buttons)
    for number, name in enumerate(window.rail.buttons, start=1):
        qtbot.keyClick(window, getattr(Qt.Key, f"Key_{number}"), Qt.KeyboardModifier.ControlModifier)
        assert window.current == name
        assert window.stack.currentWidget() is window.pages[name]
        assert window.rail.buttons[name].isChecked()
        assert window.title.text() == window.pages[name].title


def test_dropping_a_folder_puts_it_in_the_first_free_place(
    make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot
) -> None:
    window = make_window()
    teacher, student = model_folder("big-teacher"), model_folder("small-student")
    drop(window, teacher)
    assert window.context.teacher is not None
    assert window.context.teacher.ref == ModelRef(str(teacher))
    drop(window, student)
    qtbot.wait_until(lambda: bool(window.context.student and window.context.student.card), timeout=5000)
    assert "big-teacher" in window.chips["teacher"].accessibleName()
    assert "small-student" in window.chips["student"].accessibleName()


def test_drop_replaces_and_click_swaps(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window()
    drop(window, model_folder("one"), model_folder("two"))
    drop(window.chips["teacher"], model_folder("three"))
    assert window.context.teacher is not None
    assert window.context.teacher.name == "three"
    qtbot.mouseClick(window.chips["student"], Qt.MouseButton.LeftButton)
    assert window.context.student is not None
    assert (window.context.teacher.name, window.context.student.name) == ("two", "three")


def test_an_empty_place_asks_for_its_model(
    make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = make_window()
    drop(window, model_folder("one"))
    folder = model_folder("two")
    monkeypatch.setattr("app.main_window.QFileDialog.getExistingDirectory", lambda *_: str(folder))
    qtbot.mouseClick(window.chips["student"], Qt.MouseButton.LeftButton)
    teacher, student = window.context.teacher, window.context.student
    assert teacher is not None
    assert student is not None
    assert (teacher.name, student.name) == ("one", "two")


def test_an_opened_canary_run_puts_its_pair_back_on_its_device() -> None:
    spec = CanarySpec(
        teacher="/t",
        student="/s",
        plan=preset("quick"),
        teacher_load=LoadOptions(device="cuda:1"),
        student_load=LoadOptions(device="cuda:1", dtype="fp32"),
    )
    teacher, student = pair_of(spec, None, None)
    assert teacher is not None
    assert student is not None
    assert (teacher.ref, student.ref) == (ModelRef("/t"), ModelRef("/s"))
    assert (teacher.load.device, student.load.device, student.load.dtype) == ("cuda:1", "cuda:1", "auto")


def test_an_adapter_needs_its_base_and_then_sits_on_it(
    make_window: MakeWindow, model_folder: MakeModel, tmp_path: Path
) -> None:
    window = make_window()
    adapter = tmp_path / "lora"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/elsewhere"}')
    drop(window, adapter)
    assert window.banner.isVisible()
    assert "base model (org/elsewhere) is not here" in window.banner.message.text()
    base = model_folder("base")
    drop(window.chips["teacher"], base)
    drop(window.chips["teacher"], adapter)
    assert window.context.teacher is not None
    assert window.context.teacher.ref == ModelRef(str(base), str(adapter))


@pytest.mark.parametrize(("name", "words"), [("notes.txt", "single file"), ("gone", "does not exist")])
def test_what_is_no_model_is_said_with_a_next_step(
    make_window: MakeWindow, tmp_path: Path, name: str, words: str
) -> None:
    window = make_window()
    (tmp_path / "notes.txt").write_text("hello")
    window.open_paths([tmp_path / name])
    assert words in window.banner.message.text()
    assert window.banner.hint.text()
    assert window.context.teacher is None


def test_arguments_may_be_base_plus_adapter(make_window: MakeWindow, model_folder: MakeModel, tmp_path: Path) -> None:
    window = make_window()
    base, student = model_folder("base"), model_folder("student")
    adapter = tmp_path / "lora"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    window.open_arguments([f"{base}+{adapter}", str(student)])
    assert window.context.teacher is not None
    assert window.context.student is not None
    assert str(window.context.teacher.ref) == f"{base}+{adapter}"
    assert window.context.student.ref == ModelRef(str(student))


def test_palette_finds_and_runs_a_command(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    window.actions_["palette"].trigger()
    palette = window._palette
    assert palette is not None
    qtbot.keyClicks(palette.field, "go runs")
    assert palette.list.topLevelItemCount() == 1
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert window.current == "runs"
    assert not palette.isVisible()


def test_palette_moves_by_arrow_and_lists_only_what_can_be_done(make_window: MakeWindow, qtbot: QtBot) -> None:
    window = make_window()
    window.actions_["palette"].trigger()
    palette = window._palette
    assert palette is not None
    shown = [action.text() for action in palette._shown]
    assert not any(text.startswith("Swap") for text in shown)
    qtbot.keyClick(palette.field, Qt.Key.Key_Down)
    qtbot.keyClick(palette.field, Qt.Key.Key_Return)
    assert window.current == list(window.rail.buttons)[1]


def test_shortcuts_are_unique_and_actions_named_once(make_window: MakeWindow) -> None:
    window = make_window()
    keys = [a.shortcut().toString() for a in window.actions_ if not a.shortcut().isEmpty()]
    assert len(keys) == len(set(keys))
    with pytest.raises(ValueError, match="already"):
        window.actions_.add("quit", "Quit", window.close)


def test_a_job_fills_the_tray_and_ends_on_it(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window("obedient")
    run_id = window.context.submit(ScanSpec(model=str(model_folder("big"))))
    assert window.tray.what.text() == "Quick scan of big"
    qtbot.wait_until(lambda: "10 %" in window.tray.text.text(), timeout=10_000)
    assert "Known triggers · 10 % · 50 probes/s · 9 s left" in window.tray.text.text()
    assert "Fake device" in window.tray.right.text()
    second = window.context.submit(ScanSpec(model=str(model_folder("other"))))
    assert "1 waiting" in window.tray.right.text()
    window.context.cancel(second)
    with qtbot.wait_signal(window.context.run_finished, timeout=10_000) as ended:
        qtbot.mouseClick(window.tray.cancel, Qt.MouseButton.LeftButton)
    assert ended.args is not None
    assert ended.args[0] == run_id
    assert window.tray.what.text() == "Nothing is running"
    assert not window.banner.isVisible()


def test_a_second_press_stops_a_deaf_job_at_once(
    make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot
) -> None:
    window = make_window("hang")
    window.context.submit(ScanSpec(model=str(model_folder("big"))))
    qtbot.wait_until(lambda: "10 %" in window.tray.text.text(), timeout=10_000)
    window.cancel_job()
    assert window.tray.cancel.text() == "Stop at once"
    with qtbot.wait_signal(window.context.run_finished, timeout=1000) as ended:
        window.cancel_job()
    assert ended.args is not None
    assert ended.args[1].forced


def test_a_failed_job_becomes_a_banner_with_one_button(
    make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot
) -> None:
    window = make_window("crash")
    window.context.submit(ScanSpec(model=str(model_folder("big"))))
    qtbot.wait_until(window.banner.isVisible, timeout=10_000)
    assert "crashed" in window.banner.message.text()
    assert window.banner.action.text() == "Open the log"


def test_closing_the_window_ends_the_engine(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window("hang")
    window.context.submit(ScanSpec(model=str(model_folder("big"))))
    qtbot.wait_until(lambda: "10 %" in window.tray.text.text(), timeout=10_000)
    queue = window.context.jobs
    (process,) = queue.running.values()  # type: ignore[union-attr]
    pid = process.pid
    window.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_opening_a_run_puts_its_models_in_place(make_window: MakeWindow, model_folder: MakeModel) -> None:
    window = make_window()
    teacher, student = model_folder("t"), model_folder("s")
    folder = RunFolder.create(AuditSpec(teacher=str(teacher), student=str(student)))
    window.open_paths([folder.path])
    assert window.context.teacher is not None
    assert window.context.student is not None
    assert (window.context.teacher.name, window.context.student.name) == ("t", "s")


def test_pair_of_keeps_what_is_in_place() -> None:
    first, _ = pair_of(ScanSpec(model="/m"), None, None)
    assert first is not None
    assert pair_of(ScanSpec(model="/m"), None, first) == (None, first)


def test_progress_in_words() -> None:
    assert (
        progress_text(Progress("known", "t", 610, 1000, "probes", 1240.0, 120.0), 5)
        == "61 % · 1,240 probes/s · 2 min left"
    )
    assert progress_text(Progress("load", "t", 0, 0), 2) == "0 %"
    assert progress_text(Progress("load", "t", 1, 100), 3) == "1 %"  # too early to say
    assert progress_text(Progress("load", "t", 25, 100), 60) == "25 % · 3 min left"
    assert [duration(s) for s in (0.2, 40, 150, 9000)] == ["1 s", "40 s", "2 min", "2.5 h"]


def test_every_interactive_widget_has_a_name(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window()
    drop(window, model_folder("big-teacher"), model_folder("small-student"))
    qtbot.wait_until(lambda: bool(window.context.student and window.context.student.card), timeout=5000)
    window.show_palette()
    unnamed: list[str] = []
    for name in window.rail.buttons:
        window.open_page(name)
    kinds = (QAbstractButton, QLineEdit, QComboBox, QAbstractItemView, QTextEdit)
    for widget in window.findChildren(QWidget):
        if not isinstance(widget, kinds) or widget.objectName().startswith("qt_"):
            continue
        if widget.window() not in (window, window._palette) or isinstance(widget.parent(), QLineEdit):
            continue  # the lists of combo boxes and the buttons in line edits are made by Qt
        interface = QAccessible.queryAccessibleInterface(widget)
        if widget.focusPolicy() != Qt.FocusPolicy.NoFocus and not interface.text(QAccessible.Text.Name):
            unnamed.append(f"{type(widget).__name__} in {type(widget.window()).__name__} {window.current}")
    assert unnamed == []


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("tokens", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
@pytest.mark.parametrize(
    "ink", ["text", "muted", "teacher", "student", "sev_info", "sev_low", "sev_medium", "sev_high", "needle"]
)
def test_words_have_contrast(tokens: theme.Tokens, ink: str) -> None:
    """WCAG 2.1, 1.4.3: 4.5 to 1."""
    for paper in ("surface", "window", "sunken"):
        light, dark = sorted((_luminance(getattr(tokens, ink)), _luminance(getattr(tokens, paper))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {paper}"


@pytest.mark.parametrize("tokens", [theme.LIGHT, theme.DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["edge", "accent"])
def test_fields_and_focus_have_contrast(tokens: theme.Tokens, ink: str) -> None:
    """WCAG 2.1, 1.4.11: 3 to 1."""
    for paper in ("surface", "window"):
        light, dark = sorted((_luminance(getattr(tokens, ink)), _luminance(getattr(tokens, paper))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, f"{ink} on {paper}"


def test_scheme_can_be_chosen(make_window: MakeWindow) -> None:
    window = make_window()
    window.actions_["scheme.dark"].trigger()
    assert theme.tokens() is theme.DARK
    assert window.grab().toImage().pixelColor(window.width() // 2, 100).lightness() < 60
    window.actions_["scheme.light"].trigger()
    assert theme.tokens() is theme.LIGHT
    assert window.grab().toImage().pixelColor(window.width() // 2, 100).lightness() > 200
    window.actions_["scheme.system"].trigger()
