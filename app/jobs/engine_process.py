"""One engine process for one job: started with QProcess, told what to do on stdin, heard line by line on stdout."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Signal

from core.runs.events import (
    PROTOCOL,
    Cancel,
    Error,
    Event,
    Heartbeat,
    Hello,
    LineSplitter,
    Pause,
    Progress,
    Result,
    Samples,
    Start,
    decode_event,
    encode,
)
from core.runs.folder import RunFolder

CANCEL_GRACE_MS: Final = 3000
FRAME_MS: Final = 16
"""Lines are gathered for one frame of the screen, so that a flood becomes at most sixty batches a second."""
ENGINE_MODULE: Final = "core.engine.worker"
EXIT_CANCELLED: Final = 130
_ROOT: Final = Path(__file__).resolve().parents[2]

Status = Literal["done", "cancelled", "failed", "crashed", "not_started"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended; what the window says is derived from this value alone.

    Attributes:
        forced: the process was killed because it did not answer, or because it was asked to stop at once.
        error: the engine's own sentence, where it had one.
        summary: of the report, where the job was done.
        bad_lines: lines on stdout that were no events (skipped).
    """

    status: Status
    exit_code: int = 0
    forced: bool = False
    error: Error | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    bad_lines: int = 0
    log: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "done"

    @property
    def sentence(self) -> str:
        """What happened, in one sentence."""
        match self.status:
            case "done":
                return str(self.summary.get("sentence") or "The job is done.")
            case "cancelled" if self.forced:
                return "The job did not answer and was stopped at once; what was finished is kept."
            case "cancelled":
                return "The job was cancelled; what was finished is kept."
            case "failed" if self.error:
                return self.error.message
            case "failed":
                return f"The engine ended early (exit code {self.exit_code})."
            case "crashed":
                return f"The engine crashed (exit code {self.exit_code}); what was finished is kept."
            case "not_started":
                return "The engine could not be started."

    @property
    def hint(self) -> str:
        """What to do next, in one sentence; "" where there is nothing to do."""
        match self.status:
            case "done":
                return ""
            case "cancelled":
                return "Resume it from Runs."
            case "failed" if self.error:
                return self.error.hint
            case "failed" | "crashed":
                return "Its last words are in the log; resume it from Runs."
            case "not_started":
                return "Set engine_python in window.ini to a Python that has the engine (make sets one up)."


class EngineProcess(QObject):
    """Runs the job of one run folder.

    Signals:
        events(list[Event]): what arrived since the last time, already thinned (see ``thin``).
        finished(Outcome): exactly once.
    """

    events = Signal(list)
    finished = Signal(object)

    def __init__(
        self,
        folder: RunFolder,
        *,
        python: str = sys.executable,
        arguments: Sequence[str] = ("-m", ENGINE_MODULE),
        grace_ms: int = CANCEL_GRACE_MS,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.folder = folder
        self.device = ""
        self._splitter = LineSplitter()
        self._bad_lines = 0
        self._error: Error | None = None
        self._summary: dict[str, Any] | None = None
        self._cancelled = False
        self._forced = False
        self._ended = False
        self._log = folder.path / "stderr.log"

        self._process = QProcess(self)
        self._process.setProgram(python)
        self._process.setArguments(list(arguments))
        self._process.setProcessEnvironment(engine_environment())
        self._process.setStandardErrorFile(str(self._log), QProcess.OpenModeFlag.Append)
        self._process.readyReadStandardOutput.connect(self._on_ready)
        self._process.errorOccurred.connect(self._on_error)
        self._process.finished.connect(self._on_finished)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(grace_ms)
        self._timer.timeout.connect(self.kill)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(FRAME_MS)
        self._pause.timeout.connect(self._read)

    @property
    def pid(self) -> int:
        return int(self._process.processId())

    @property
    def running(self) -> bool:
        return self._process.state() != QProcess.ProcessState.NotRunning

    def start(self) -> None:
        self._process.start()
        self._process.write(encode(Start(str(self.folder.path))))

    def cancel(self) -> None:
        """Ask; kill when there is no answer in time. Asking twice kills at once."""
        if self._cancelled:
            self.kill()
            return
        self._cancelled = True
        self._process.write(encode(Cancel()))
        self._timer.start()

    def pause(self, on: bool) -> None:
        """Let the engine stand still between two batches, or go on."""
        self._process.write(encode(Pause(on)))

    def kill(self) -> None:
        """End the process now."""
        if self.running:
            self._cancelled = self._forced = True
            self._process.kill()

    def kill_and_wait(self, ms: int = 2000) -> None:
        """End the process and wait for its end: for closing the window."""
        self.kill()
        self._process.waitForFinished(ms)

    def _on_ready(self) -> None:
        if not self._pause.isActive():
            self._pause.start()

    def _read(self) -> None:
        batch: list[Event] = []
        for line in self._splitter.feed(bytes(self._process.readAllStandardOutput().data())):
            event = decode_event(line)
            if event is None:
                self._bad_lines += 1
                continue
            self._note(event)
            batch.append(event)
        if batch:
            self.events.emit(thin(batch))

    def _note(self, event: Event) -> None:
        if isinstance(event, Error):
            self._error = event
        elif isinstance(event, Result):
            self._summary = event.summary
        elif isinstance(event, Hello):
            self.device = event.device
            if event.protocol != PROTOCOL:
                self._error = Error(
                    "environment",
                    "protocol",
                    f"The engine speaks protocol {event.protocol}, this window speaks {PROTOCOL}.",
                    "Point engine_python at the Python that came with this version.",
                )
                self._process.kill()

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._end(Outcome("not_started", log=str(self._log)))

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._read()
        self._end(self._outcome(code, status == QProcess.ExitStatus.CrashExit))

    def _outcome(self, code: int, crashed: bool) -> Outcome:
        ended: Status
        if self._summary is not None and not crashed and code == 0:
            ended = "done"
        elif self._cancelled and (crashed or code == EXIT_CANCELLED):
            ended = "cancelled"
        elif self._error is not None:
            ended = "failed"
        else:
            ended = "crashed" if crashed else "failed"
        return Outcome(ended, code, self._forced, self._error, self._summary or {}, self._bad_lines, str(self._log))

    def _end(self, outcome: Outcome) -> None:
        if self._ended:
            return
        self._ended = True
        self._timer.stop()
        self._pause.stop()
        with contextlib.suppress(OSError):
            if self._log.stat().st_size == 0:
                self._log.unlink()
        self.finished.emit(outcome)


def engine_environment() -> QProcessEnvironment:
    """This process's, with this program on the path of the engine's Python."""
    environment = QProcessEnvironment.systemEnvironment()
    paths = [str(_ROOT), environment.value("PYTHONPATH")]
    environment.insert("PYTHONPATH", os.pathsep.join(path for path in paths if path))
    return environment


def thin(batch: list[Event]) -> list[Event]:
    """Drop what nobody can see: of each stage's progress only the last; rows of a table joined; last heartbeat.

    Order among the kept is kept; a merged event stands where its last part stood.
    """
    last: dict[tuple[str, str], int] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for position, event in enumerate(batch):
        if isinstance(event, Progress):
            last["progress", event.stage] = position
        elif isinstance(event, Heartbeat):
            last["heartbeat", ""] = position
        elif isinstance(event, Samples):
            last["samples", event.table] = position
            rows.setdefault(event.table, []).extend(event.rows)
    kept: list[Event] = []
    for position, event in enumerate(batch):
        if isinstance(event, Progress) and last["progress", event.stage] != position:
            continue
        if isinstance(event, Heartbeat) and last["heartbeat", ""] != position:
            continue
        if isinstance(event, Samples):
            if last["samples", event.table] != position:
                continue
            event = msgspec.structs.replace(event, rows=rows[event.table])
        kept.append(event)
    return kept
