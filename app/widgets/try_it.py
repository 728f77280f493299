"""A cell to try a finding by hand: any prompt, answered with the trigger and without."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from app import theme
from app.widgets.basic import button, label
from app.widgets.diff_view import DiffView


class TryIt(QWidget):
    """``asked(prompt)`` asks the page to run it; ``show_answers`` and ``say`` bring what came of it."""

    asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.line = QLineEdit()
        self.line.setPlaceholderText("Write a prompt; the trigger is put into its slot")
        self.line.setAccessibleName("Prompt to try")
        self.line.textChanged.connect(lambda _text: self._enable())
        self.line.returnPressed.connect(self.ask)
        self.run = button("Try it", self.ask, tip="Answers with the trigger and without, by the model itself")
        self.words = label(size=theme.SMALL, muted=True, wrap=True)
        self.answers = DiffView()
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.line, 1)
        row.addWidget(self.run)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.words)
        column.addWidget(self.answers)
        self.clear()

    def clear(self) -> None:
        """Forget answers of another finding; the prompt stays."""
        self.say("")
        self.answers.hide()

    def ask(self) -> None:
        if self.line.text().strip():
            self.asked.emit(self.line.text())

    def say(self, words: str, *, busy: bool = False) -> None:
        self.words.setText(words)
        self.words.setVisible(bool(words))
        self._enable(busy)

    def show_answers(self, without: str, with_trigger: str) -> None:
        self.say("Both answers are the same." if without == with_trigger else "")
        self.answers.set_texts(without, with_trigger)
        self.answers.show()

    def _enable(self, busy: bool = False) -> None:
        self.run.setEnabled(bool(self.line.text().strip()) and not busy)
