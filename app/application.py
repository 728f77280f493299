"""The only composition root: application, context, queue, index, reader, window."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import cast

from PySide6.QtCore import QByteArray, QTimer
from PySide6.QtWidgets import QApplication

from app import theme
from app.context import Context
from app.jobs.engine_process import ENGINE_MODULE
from app.jobs.model_reader import ModelReader
from app.jobs.queue import JobQueue
from app.jobs.speed_meter import SpeedMeter
from app.main_window import MainWindow
from core import __version__
from core.runs.folder import data_dir
from core.runs.index import RunIndex


def application(argv: Sequence[str] = ()) -> QApplication:
    """The QApplication, styled. The running one if there is one."""
    app = QApplication.instance()
    if not isinstance(app, QApplication):
        app = QApplication([sys.argv[0], *argv])
    app.setApplicationName("Foreshot")
    app.setApplicationVersion(__version__)
    app.setDesktopFileName("foreshot")
    theme.apply(app)
    return app


def build_window(engine: Sequence[str] = ("-m", ENGINE_MODULE)) -> MainWindow:
    """Everything wired together, not shown yet. ``engine`` are the arguments of the engine's Python."""
    context = Context()
    context.index = RunIndex(data_dir() / "runs.sqlite", context.runs_dir)
    context.jobs = JobQueue(context, arguments=engine, parent=context)
    context.reader = ModelReader(context, parent=context)
    context.speeds = SpeedMeter(context, parent=context)
    window = MainWindow(context)
    context.setParent(window)
    geometry = context.settings.value("geometry")
    if isinstance(geometry, QByteArray):
        window.restoreGeometry(geometry)
    scheme = context.settings.value("scheme")
    if scheme in ("light", "dark"):
        window.set_scheme(cast(theme.Scheme, scheme))
    for note in context.index.notes:
        context.show_error(note, "Nothing needs to be done.")
    return window


def main(argv: Sequence[str]) -> int:
    """Show the window on the given models or run; returns the exit code."""
    app = application()
    window = build_window()
    window.show()
    QTimer.singleShot(0, theme.load_companion_fonts)
    if argv:
        QTimer.singleShot(0, lambda: window.open_arguments(argv))
    signal.signal(signal.SIGINT, lambda *_: window.close())
    beat = QTimer()  # lets Python see Ctrl+C in the terminal
    beat.timeout.connect(lambda: None)
    beat.start(250)
    return app.exec()
