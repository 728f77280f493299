"""The job tray: what runs, how far, how long still, Cancel; on the right the device and its memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QProgressBar, QSizePolicy

from app.widgets.basic import ElidedLabel, button, gigabytes, label
from core.runs.events import Progress
from core.specs.effort import duration

_THOUSAND = 1000
_LONGEST = 360  # pixels of a title: what it does just now needs the rest


def progress_text(event: Progress, elapsed: float) -> str:
    """``61 % · 1,240 probes/s · 2 min left``.

    Where the engine gives no remaining time it is extrapolated, once 5 % are done or 10 s have passed.
    """
    share = event.done / event.total if event.total > 0 else 0.0
    parts = [f"{share:.0%}".replace("%", " %")]
    rate = event.rate if event.rate is not None else (event.done / elapsed if elapsed > 1 and event.unit else None)
    if rate:
        unit = event.unit or "steps"
        parts.append(f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.1f} {unit}/s")
    left = event.eta_s
    if left is None and 0 < share < 1 and (share >= 0.05 or elapsed >= 10):
        left = elapsed * (1 - share) / share
    if left is not None and share < 1:
        parts.append(f"{duration(left)} left")
    elif elapsed >= 10:
        parts.append(f"{duration(elapsed)} so far")
    return " · ".join(parts)


def machine() -> str:
    """Device in words, without asking torch."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpu = f"CPU, {threads} thread{'s' * (threads > 1)}"
    return f"NVIDIA GPU · {cpu}" if Path("/dev/nvidia0").exists() else cpu


class Tray(QFrame):
    """Signals: cancel_asked()."""

    cancel_asked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("tray")
        self.setFixedHeight(44)
        self._device = machine()
        self._rss = 0
        self._waiting = 0
        self._stage = ""
        self._since = 0.0
        self.what = label("Nothing is running", muted=True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, _THOUSAND)
        self.bar.setFixedWidth(200)
        self.bar.setAccessibleName("Progress of the running job")
        self.text = ElidedLabel(muted=True)
        self.text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.cancel = button("Cancel", self.cancel_asked.emit, tip="Ask the job to stop (Ctrl+.); twice: at once")
        self.memory = QProgressBar()
        self.memory.setTextVisible(False)
        self.memory.setRange(0, _THOUSAND)
        self.memory.setFixedWidth(56)
        self.memory.setAccessibleName("Memory in use")
        self.right = label(muted=True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(20, 0, 20, 0)
        layout.setSpacing(12)
        layout.addWidget(self.what)
        layout.addWidget(self.bar)
        layout.addWidget(self.text, 1)
        layout.addWidget(self.cancel)
        layout.addSpacing(8)
        layout.addWidget(self.memory)
        layout.addWidget(self.right)
        self._timer = QTimer(self)
        self._timer.setInterval(2000)
        self._timer.timeout.connect(self.refresh_memory)
        self._timer.start()
        self.set_idle()

    def set_idle(self) -> None:
        self.what.setText("Nothing is running")
        self.what.setObjectName("muted")
        self._restyle()
        self.text.setText("")
        self.bar.hide()
        self.cancel.hide()
        self._rss = 0
        self.refresh_memory()

    def set_job(self, title: str) -> None:
        metrics = self.what.fontMetrics()
        self.what.setText(metrics.elidedText(title, Qt.TextElideMode.ElideMiddle, _LONGEST))
        self.what.setToolTip(title)
        self.what.setObjectName("heading")
        self._restyle()
        self.text.setText("starting the engine")
        self.bar.setRange(0, 0)
        self.bar.show()
        self.cancel.setText("Cancel")
        self.cancel.show()
        self._stage = ""

    def set_progress(self, event: Progress) -> None:
        if event.stage != self._stage:
            self._stage = event.stage
            self._since = time.monotonic()
        self.bar.setRange(0, _THOUSAND)
        self.bar.setValue(round(_THOUSAND * event.done / event.total) if event.total > 0 else 0)
        text = f"{event.task} · {progress_text(event, time.monotonic() - self._since)}"
        self.text.setText(f"{text} · {event.note}" if event.note else text)

    def set_note(self, text: str) -> None:
        self.text.setText(text)

    def set_stopping(self) -> None:
        self.text.setText("stopping after this batch; press again to stop at once")
        self.cancel.setText("Stop at once")

    def set_waiting(self, number: int) -> None:
        self._waiting = number
        self.refresh_memory()

    def set_device(self, device: str) -> None:
        self._device = device
        self.refresh_memory()

    def set_rss(self, rss: int) -> None:
        self._rss = rss
        self.refresh_memory()

    def refresh_memory(self) -> None:
        memory = psutil.virtual_memory()
        self.memory.setValue(round(_THOUSAND * (1 - memory.available / memory.total)))
        parts = [self._device, f"{gigabytes(memory.available)} of {gigabytes(memory.total)} free"]
        if self._rss:
            parts.append(f"engine {gigabytes(self._rss)}")
        if self._waiting:
            parts.append(f"{self._waiting} waiting")
        self.right.setText(" · ".join(parts))

    def _restyle(self) -> None:
        self.what.style().unpolish(self.what)
        self.what.style().polish(self.what)
