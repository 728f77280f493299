"""A button that measures how fast a model would run here, offered where an estimate stands on its size alone."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton

from app.context import Context, ModelChoice


class MeasureButton(QPushButton):
    """Hidden where there is nothing to measure.

    Signals:
        changed: a measurement began or ended: what stands beside the button may be another estimate.
    """

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__("Measure")
        self.context = context
        self.choice: ModelChoice | None = None
        self.setAccessibleName("Measure how fast this model would run here")
        self.setToolTip("Two seconds of a layer as wide as the model's, of random weights; nothing is loaded")
        self.hide()
        self.clicked.connect(lambda _checked=False: self._measure())
        if context.speeds is not None:
            context.speeds.changed.connect(self._on_changed)
        context.run_started.connect(lambda _run_id: self._show())
        context.run_finished.connect(lambda _run_id, _outcome: self._show())

    def offer(self, choice: ModelChoice | None) -> None:
        """Measure this model when pressed; None hides the button."""
        self.choice = choice
        self._show()

    def _measure(self) -> None:
        if self.choice is not None and self.context.speeds is not None:
            self.context.speeds.measure(self.choice)

    def _on_changed(self) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        busy = self.context.speeds is not None and self.context.speeds.busy
        self.setText("Measuring…" if busy else "Measure")
        # a job beside it would make the machine look slow, and be slowed itself
        self.setEnabled(not busy and not self.context.running)
        self.setVisible(self.choice is not None and self.context.speeds is not None)
