"""What every page shares: the chosen pair, the running jobs, and the few things a page may ask of the window."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PySide6.QtCore import QObject, QSettings, Signal

from core.errors import ForeshotError
from core.runs.folder import RunFolder, data_dir
from core.specs import JobSpec, LoadOptions
from core.types import ModelRef

if TYPE_CHECKING:
    from app.jobs.model_reader import ModelReader
    from app.jobs.speed_meter import SpeedMeter
    from core.catalog import ModelCard
    from core.runs.index import RunIndex


@dataclass(frozen=True)
class ModelChoice:
    """A model that the user put in a place. ``card`` is None until its files are read."""

    ref: ModelRef
    load: LoadOptions = field(default_factory=LoadOptions)
    card: ModelCard | None = None

    @property
    def name(self) -> str:
        return self.ref.name


class Jobs(Protocol):
    """What the context needs of the queue."""

    def submit(self, folder: RunFolder) -> None: ...

    def cancel(self, run_id: str) -> None: ...

    def pause(self, run_id: str, on: bool) -> None: ...

    def shutdown(self) -> None: ...


class Context(QObject):
    """Shared state of the window.

    Attributes:
        teacher, student: the chosen pair, None where nothing was dropped yet.
        runs_dir: where run folders lie.
        settings: small facts about the window that survive it (ini file in the data folder).
        jobs, index, reader, speeds: the queue, the history, the reader of model folders, the meter of how fast models
            run here; set by ``app.application``.
        folders: run folders touched in this session, by run id. running: ids of those in progress.

    Signals:
        pair_changed: teacher, student or a card of theirs is another one.
        run_started(run_id), run_event(run_id, Event), run_finished(run_id, Outcome).
        page_requested(name), error_shown(message, hint, action): answered by the main window.
        run_opened(Path): a run should be shown on its pages.
        audit_requested: the guided audit of the chosen pair should be opened.
        choose_requested(role), paths_dropped(list[Path], role): a page wants a model in a place; role may be "".
    """

    pair_changed = Signal()
    run_queued = Signal(str)
    run_started = Signal(str)
    run_event = Signal(str, object)
    run_finished = Signal(str, object)
    page_requested = Signal(str)
    error_shown = Signal(str, str, object)
    run_opened = Signal(object)
    audit_requested = Signal()
    choose_requested = Signal(str)
    paths_dropped = Signal(list, str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.teacher: ModelChoice | None = None
        self.student: ModelChoice | None = None
        self.runs_dir: Path = data_dir() / "runs"
        self.settings = QSettings(str(data_dir() / "window.ini"), QSettings.Format.IniFormat)
        self.jobs: Jobs | None = None
        self.index: RunIndex | None = None
        self.reader: ModelReader | None = None
        self.speeds: SpeedMeter | None = None
        self.folders: dict[str, RunFolder] = {}
        self.running: set[str] = set()
        self.run_started.connect(self.running.add)
        self.run_finished.connect(lambda run_id, _outcome: self.running.discard(run_id))

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        """Choose both places at once; announces only a real change."""
        if (teacher, student) != (self.teacher, self.student):
            self.teacher, self.student = teacher, student
            self.pair_changed.emit()

    def submit(self, spec: JobSpec, *, folder: RunFolder | None = None) -> str:
        """Queue a job and return its run id, or "" when it could not be written (the banner says why).

        ``folder`` resumes an interrupted run in its own folder.
        """
        if self.jobs is None:
            raise RuntimeError("the window was put together without a job queue")
        try:
            folder = folder or RunFolder.create(spec)
        except ForeshotError as error:
            self.show_error(error.message, error.hint)
            return ""
        self.folders[folder.id] = folder
        self.jobs.submit(folder)
        self.run_queued.emit(folder.id)
        return folder.id

    def run_folder(self, run_id: str) -> Path:
        """The folder of a run of this session, or of the runs folder."""
        known = self.folders.get(run_id)
        return known.path if known else self.runs_dir / run_id

    def busy(self, run_id: str) -> bool:
        """Whether a run is in progress, or waits for its device."""
        waiting = getattr(self.jobs, "waiting", ())
        return run_id in self.running or any(folder.id == run_id for folder in waiting)

    def rate(self, choice: ModelChoice) -> float | None:
        """Tokens a second of a model, None where that was not measured."""
        return self.speeds.rate(choice) if self.speeds is not None else None

    def cancel(self, run_id: str) -> None:
        """Ask a job to stop; what is finished stays."""
        if self.jobs is not None:
            self.jobs.cancel(run_id)

    def pause(self, run_id: str, on: bool) -> None:
        """Let a running job stand still between two batches, or go on."""
        if self.jobs is not None:
            self.jobs.pause(run_id, on)

    def open_page(self, name: str) -> None:
        """Bring a page to the front: start, models, scan, suites, scorecard, runs."""
        self.page_requested.emit(name)

    def open_run(self, folder: Path) -> None:
        """Show a finished run on the pages that its kind of job fills."""
        self.run_opened.emit(folder)

    def show_error(self, message: str, hint: str, action: tuple[str, object] | None = None) -> None:
        """Show the inline banner: what happened, what to do, and one button ``(label, callable)`` that does it."""
        self.error_shown.emit(message, hint, action)

    def shutdown(self) -> None:
        """End what runs: called when the window closes."""
        if self.jobs is not None:
            self.jobs.shutdown()
        if self.reader is not None:
            self.reader.wait()
        if self.speeds is not None:
            self.speeds.stop()
        self.settings.sync()
