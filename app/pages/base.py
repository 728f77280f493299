"""The shape of a page. The window makes one of each, on first sight, and tells it what happens."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from PySide6.QtWidgets import QWidget

from app.context import Context, ModelChoice
from core.runs.events import Event


class Page(QWidget):
    """One page of the window.

    A page is constructed as ``PageClass(context)``; override what concerns it. ``set_pair`` is called right after
    construction and on every change of the pair.

    Attributes:
        name: stable id, the one of ``Context.open_page``.
        title: what stands in the header and in the rail.
        icon: file name in ``resources/icons`` without ``.svg``.
        context: the shared state.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    icon: ClassVar[str] = ""

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.context = context
        self.setObjectName("page")
        self.setAccessibleName(self.title)

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        """The pair is now this one."""

    def on_event(self, run_id: str, event: Event) -> None:
        """An event of a running job. Called for every job; pick by ``run_id``."""

    def on_started(self, run_id: str) -> None:
        """A job left the queue and runs."""

    def on_finished(self, run_id: str, outcome: object) -> None:
        """A job ended (``app.jobs.engine_process.Outcome``)."""

    def open_run(self, folder: Path) -> None:
        """Show a run folder, finished or interrupted. Called only for the kinds of job that this page shows."""
