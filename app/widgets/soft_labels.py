"""The soft-label explorer: a prompt, what both models expect at each token of the answer, at a temperature."""

from __future__ import annotations

from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QFrame, QHBoxLayout, QLineEdit, QScrollArea, QSlider, QVBoxLayout, QWidget

from app import theme
from app.tables.soft_labels import SoftText
from app.widgets.basic import button, heading, label
from app.widgets.heat_strip import HeatStrip
from app.widgets.soft_bars import SoftBars

SHOWN: Final = 12
FULL: Final = 2.0
"""Nats per token at which the tint is full: there the teacher's token is some seven times less likely."""


class SoftLabels(QWidget):
    """Signals: asked(text, as_text): read the teacher's answer to it, or the text as it stands."""

    asked = Signal(str, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text: SoftText | None = None
        self._busy = False
        self.line = QLineEdit()
        self.line.setPlaceholderText("Write a prompt; both models are read along the teacher's answer")
        self.line.setAccessibleName("Prompt or text")
        self.line.returnPressed.connect(self._ask)
        self.line.textChanged.connect(lambda _text: self._enable())
        self.kind = QComboBox()
        self.kind.setAccessibleName("What is read")
        self.kind.addItems(["a prompt", "a text as it stands"])
        self.read = button("Read", self._ask, primary=True, tip="Both models are loaded once; then it is all here")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.kind)
        row.addWidget(self.line, 1)
        row.addWidget(self.read)

        self.state = label(muted=True, wrap=True)
        self.state.setAccessibleName("State of the reading")
        self.strip = HeatStrip()
        self.strip.chosen.connect(lambda _token: self._show_token())
        self.scale = label(size=theme.SMALL, muted=True, wrap=True)
        self.bars = SoftBars()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName("Temperature")
        self.slider.setFixedWidth(260)
        self.slider.valueChanged.connect(lambda _at: self._show_temperature())
        self.degrees = label(bold=True)
        self.degrees.setMinimumWidth(70)
        self.about = label(size=theme.SMALL, muted=True, wrap=True)
        self.about.setAccessibleName("What the bars hold")
        heat = QHBoxLayout()
        heat.addWidget(heading("Next token"))
        heat.addStretch(1)
        heat.addWidget(label("temperature", muted=True))
        heat.addWidget(self.slider)
        heat.addWidget(self.degrees)

        self.body = QWidget()
        self.body.setObjectName("page")
        column = QVBoxLayout(self.body)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(8)
        column.addWidget(heading("Where they part ways"))
        column.addWidget(self.strip)
        column.addWidget(self.scale)
        column.addSpacing(8)
        column.addLayout(heat)
        column.addWidget(self.bars)
        column.addWidget(self.about)
        column.addStretch(1)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidget(self.body)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(12)
        whole.addLayout(row)
        whole.addWidget(self.state)
        whole.addWidget(area, 1)
        self.area = area
        self.set_text(None)

    def _ask(self) -> None:
        if self.read.isEnabled():
            self.asked.emit(self.line.text().strip(), self.kind.currentIndex() == 1)

    def say(self, words: str, *, busy: bool = False) -> None:
        """A line under the prompt; ``busy`` keeps a second reading from being asked for."""
        self._busy = busy
        self.state.setText(words)
        self.state.setVisible(bool(words))
        self._enable()

    def _enable(self) -> None:
        self.read.setEnabled(bool(self.line.text().strip()) and not self._busy)

    def set_text(self, text: SoftText | None) -> None:
        """Show what was read; None: nothing yet."""
        self.text = text
        self.area.setVisible(text is not None)
        if text is None:
            self.say(
                "A hard label says one token; a soft label says how likely every token is. "
                "Read a prompt to see both models' soft labels, and where the student's differ."
            )
            return
        if not self.line.text():
            self.line.setText(str(text.report.get("prompt") or text.report.get("text", "")))
            self.kind.setCurrentIndex(0 if text.report.get("prompt") else 1)
        self.say(str((text.report.get("summary") or {}).get("sentence", "")))
        self.slider.blockSignals(True)
        self.slider.setRange(0, len(text.temperatures) - 1)
        self.slider.setValue(text.one)
        self.slider.blockSignals(False)
        self.strip.current = -1
        self._show_temperature()
        values = text.kl(text.one)
        self.strip.choose(max(range(len(values)), key=values.__getitem__))

    def _show_temperature(self) -> None:
        text = self.text
        if text is None:
            return
        at = self.slider.value()
        self.degrees.setText(f"T = {text.temperatures[at]:.2f}")
        self.strip.set_text([item["text"] for item in text.items], text.kl(at), FULL)
        highest = max(text.kl(at))
        self.scale.setText(
            f"Tint: KL(teacher‖student) of each token at this temperature, full from {FULL:g} nats; here up to "
            f"{highest:.3g}. A frame marks the token that is shown below; arrow keys move it."
        )
        self._show_token()

    def _show_token(self) -> None:
        text, token = self.text, self.strip.current
        if text is None or token < 0:
            return
        at = self.slider.value()
        names = tuple(str(text.report["models"][role]["name"]) for role in ("teacher", "student"))
        rows = text.expected(token, at)
        shown = rows[:SHOWN]
        if not any(row.hard for row in shown):  # the hard label is always among them
            shown = [*rows[: SHOWN - 1], next(row for row in rows if row.hard)]
        self.bars.set_rows(shown, (f"teacher · {names[0]}", f"student · {names[1]}"))
        source = "the token that the text has here" if text.report.get("prompt", "") == "" else "the teacher's answer"
        self.about.setText(f"{text.words(token, at, shown)} The frame to 100 % is the hard label: {source}.")
