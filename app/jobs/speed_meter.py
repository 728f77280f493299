"""How fast a model would run here, measured on request in a process of its own: this one never loads torch."""

from __future__ import annotations

import json
import sys

from PySide6.QtCore import QObject, QProcess, Signal

from app.context import Context, ModelChoice
from app.jobs.engine_process import engine_environment


class SpeedMeter(QObject):
    """Tokens a second of models that were asked about, for this session.

    Attributes:
        busy: a measurement is under way; one at a time.

    Signals:
        changed: a measurement began or ended. What went wrong is shown in the banner.
    """

    changed = Signal()

    def __init__(self, context: Context, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.context = context
        self._rates: dict[str, float] = {}
        self._asked = ""
        self._process = QProcess(self)
        self._process.setProcessEnvironment(engine_environment())
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_error)

    @property
    def busy(self) -> bool:
        return bool(self._asked)

    def rate(self, choice: ModelChoice) -> float | None:
        """Tokens a second, None where it was not measured."""
        return self._rates.get(_key(choice))

    def measure(self, choice: ModelChoice) -> None:
        """Start a process that measures; ``changed`` follows."""
        if self.busy:
            return
        self._asked = _key(choice)
        words = ["-m", "core", "estimate", choice.ref.path, "--device", choice.load.device, "--dtype", _dtype(choice)]
        words += ["--adapter", choice.ref.adapter] if choice.ref.adapter else []
        self._process.start(str(self.context.settings.value("engine_python") or sys.executable), [*words, "--json"])
        self.changed.emit()

    def stop(self) -> None:
        """For closing the window."""
        self._process.blockSignals(True)
        self._process.kill()
        self._process.waitForFinished(2000)

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._end(None, "The engine could not be started.")

    def _on_finished(self, code: int, _status: QProcess.ExitStatus) -> None:
        said = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace").strip().splitlines()
        try:
            rate = float(json.loads(bytes(self._process.readAllStandardOutput().data()))["tokens_per_s"])
        except (ValueError, KeyError, TypeError):
            last = said[-1].removeprefix("foreshot: ") if said else f"The engine ended early (exit code {code})."
            self._end(None, last)
        else:
            self._end(rate, "")

    def _end(self, rate: float | None, failure: str) -> None:
        asked, self._asked = self._asked, ""
        if rate:
            self._rates[asked] = rate
        else:
            self.context.show_error(
                f"The speed could not be measured. {failure}", "Start the job: its stages say what is left."
            )
        self.changed.emit()


def _dtype(choice: ModelChoice) -> str:
    return choice.load.dtype if choice.load.quant == "none" else "auto"


def _key(choice: ModelChoice) -> str:
    return f"{choice.ref}\0{choice.load.device}\0{_dtype(choice)}"
