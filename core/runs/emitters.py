"""Where events go: a pipe to the window, or a terminal; and always the run's ``events.jsonl``."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO, TextIO

import msgspec

from core.errors import Cancelled
from core.runs.events import Artifact, Emitter, Error, Event, Log, Progress, Result, Samples, State, encode

PROGRESS_EVERY_S = 0.1
"""At most ten progress events a second reach the reader (200,000 would be no trouble, but nobody reads them)."""


class _Base:
    """Cancel flag and rate limit, shared by both ends."""

    def __init__(self) -> None:
        self._cancel = threading.Event()
        self._going = threading.Event()
        self._going.set()
        self._last: dict[str, float] = {}

    def cancel(self) -> None:
        self._cancel.set()
        self._going.set()

    def pause(self, on: bool) -> None:
        """Whether the next ``check`` waits. Cancel ends the wait."""
        if on and not self._cancel.is_set():
            self._going.clear()
        else:
            self._going.set()

    def check(self) -> None:
        self._going.wait()
        if self._cancel.is_set():
            raise Cancelled

    def _too_soon(self, event: Event) -> bool:
        if not isinstance(event, Progress) or event.done >= event.total:
            return False
        now = time.monotonic()
        if now - self._last.get(event.stage, 0.0) < PROGRESS_EVERY_S:
            return True
        self._last[event.stage] = now
        return False


class PipeEmitter(_Base):
    """Writes JSON lines to the private descriptor of a worker."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        if self._too_soon(event):
            return
        with self._lock:
            self._stream.write(encode(event))
            self._stream.flush()


class TerminalEmitter(_Base):
    """One line of progress that rewrites itself on a terminal; one line a stage elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._said: set[str] = set()
        self._width = 0

    def emit(self, event: Event) -> None:
        if self._too_soon(event):
            return
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Log) and event.level in ("warning", "error"):
            self._line(f"{event.level}: {event.message}")
        elif isinstance(event, State) and event.detail:
            self._line(event.detail)

    def _progress(self, event: Progress) -> None:
        share = event.done / event.total if event.total else 0.0
        rate = f" · {event.rate:,.0f} {event.unit}/s" if event.rate else ""
        left = f" · {_duration(event.eta_s)} left" if event.eta_s else ""
        text = f"{event.task}: {share:4.0%}{rate}{left}{' · ' + event.note if event.note else ''}"
        finished = event.total > 0 and event.done >= event.total
        if self._live:
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
            if finished:
                self._stream.write("\n")
                self._width = 0
            self._stream.flush()
        elif finished or event.stage not in self._said:
            self._said.add(event.stage)
            self._line(text)

    def _line(self, text: str) -> None:
        if self._width:
            self._stream.write("\n")
            self._width = 0
        self._stream.write(text + "\n")
        self._stream.flush()


class RecordingEmitter:
    """Passes events on and keeps those worth reading later in ``events.jsonl`` (not the flood of progress)."""

    def __init__(self, inner: PipeEmitter | TerminalEmitter | RecordingEmitter, path: Path) -> None:
        self._inner = inner
        self._path = path

    def emit(self, event: Event) -> None:
        kept = isinstance(event, State | Artifact | Log | Result | Error) or (
            isinstance(event, Progress) and event.done >= event.total
        )
        if kept:
            try:
                with self._path.open("ab") as stream:
                    stream.write(encode(event))
            except OSError:
                pass  # a full disk is reported by what must be written; the diary may miss a line
        self._inner.emit(event)

    def check(self) -> None:
        self._inner.check()


class PrefixEmitter:
    """Puts ``teacher/`` or ``student/`` before stages and tables, so that an audit's parts stay apart."""

    def __init__(self, inner: Emitter, role: str) -> None:
        self._inner = inner
        self._role = role

    def emit(self, event: Event) -> None:
        if isinstance(event, Progress):
            event = msgspec.structs.replace(
                event, stage=f"{self._role}/{event.stage}", task=f"{self._role.capitalize()} · {event.task}"
            )
        elif isinstance(event, Samples):
            event = msgspec.structs.replace(event, table=f"{self._role}/{event.table}")
        elif isinstance(event, Result | State):
            return
        self._inner.emit(event)

    def check(self) -> None:
        self._inner.check()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
