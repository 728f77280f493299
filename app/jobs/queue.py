"""The job queue: first come, first served, one lease per device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from PySide6.QtCore import QObject

from app.context import Context
from app.jobs.engine_process import CANCEL_GRACE_MS, ENGINE_MODULE, EngineProcess, Outcome
from core.runs.events import Event
from core.runs.folder import RunFolder
from core.specs import AuditSpec, DistillSpec, JobSpec, SoftLabelsSpec

CHECKPOINT_GRACE_MS: Final = 60_000
"""A distillation that is cancelled ends its batch and writes a checkpoint; who cannot wait presses again."""


def leases(spec: JobSpec) -> frozenset[str]:
    """The devices that a job takes. ``auto`` may become any of them."""
    if isinstance(spec, AuditSpec | SoftLabelsSpec):
        return frozenset({spec.teacher_load.device, spec.student_load.device})
    if isinstance(spec, DistillSpec):
        return frozenset({spec.load.device, spec.plan.student_load.device})
    return frozenset({spec.load.device})


def conflict(a: frozenset[str], b: frozenset[str]) -> bool:
    return "auto" in a or "auto" in b or bool(a & b)


class JobQueue(QObject):
    """Starts jobs when their devices are free and reports through the context's signals."""

    def __init__(
        self, context: Context, *, arguments: Sequence[str] = ("-m", ENGINE_MODULE), parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.context = context
        self.arguments = tuple(arguments)
        self.waiting: list[RunFolder] = []
        self.running: dict[str, EngineProcess] = {}

    def submit(self, folder: RunFolder) -> None:
        self.waiting.append(folder)
        self._fill()

    def cancel(self, run_id: str) -> None:
        """Ask a running job to stop; take a waiting one out."""
        if run_id in self.running:
            self.running[run_id].cancel()
            return
        for folder in self.waiting:
            if folder.id == run_id:
                self.waiting.remove(folder)
                self.context.run_finished.emit(run_id, Outcome("cancelled"))
                return

    def pause(self, run_id: str, on: bool) -> None:
        """Let a running job stand still, or go on; its models stay in memory and its device stays taken."""
        if run_id in self.running:
            self.running[run_id].pause(on)

    def shutdown(self) -> None:
        """Nothing survives the window."""
        self.waiting.clear()
        for process in list(self.running.values()):
            process.kill_and_wait()

    def _fill(self) -> None:
        ahead: list[frozenset[str]] = [leases(p.folder.spec) for p in self.running.values()]
        for folder in list(self.waiting):
            wanted = leases(folder.spec)
            if not any(conflict(wanted, other) for other in ahead):
                self.waiting.remove(folder)
                self._start(folder)
            ahead.append(wanted)  # also of those that wait: nobody overtakes for the same device

    def _start(self, folder: RunFolder) -> None:
        python = str(self.context.settings.value("engine_python") or sys.executable)
        grace = CHECKPOINT_GRACE_MS if isinstance(folder.spec, DistillSpec) else CANCEL_GRACE_MS
        process = EngineProcess(folder, python=python, arguments=self.arguments, grace_ms=grace, parent=self)
        process.events.connect(partial(self._route, folder.id))
        process.finished.connect(partial(self._ended, folder.id))
        self.running[folder.id] = process
        self.context.run_started.emit(folder.id)
        process.start()

    def _route(self, run_id: str, events: list[Event]) -> None:
        for event in events:
            self.context.run_event.emit(run_id, event)

    def _ended(self, run_id: str, outcome: Outcome) -> None:
        process = self.running.pop(run_id)
        process.deleteLater()
        self.context.run_finished.emit(run_id, outcome)
        self._fill()
