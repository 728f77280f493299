"""Step 2: what is known of the distillation. Not known is an answer, and the first one offered."""

from __future__ import annotations

import msgspec
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QGridLayout, QVBoxLayout, QWidget

from app import theme
from app.widgets.basic import label
from core.specs.pipeline import LONGEST, UNKNOWN, Pipeline, answered, questions


class PipelineStep(QWidget):
    """One box a question; where the answer is free, it can be written."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.boxes: dict[str, QComboBox] = {}
        grid = QGridLayout()
        grid.setHorizontalSpacing(24)
        grid.setVerticalSpacing(12)
        grid.setColumnStretch(0, 5)
        grid.setColumnStretch(1, 4)
        for row, asked in enumerate(questions()):
            box = QComboBox()
            box.setEditable(not asked.closed)
            box.addItems([UNKNOWN, *asked.choices])
            box.setAccessibleName(asked.text)
            box.setAccessibleDescription(asked.matters)
            box.setMinimumContentsLength(28)
            if (line := box.lineEdit()) is not None:
                line.setMaxLength(LONGEST)
                line.setAccessibleName(asked.text)
            self.boxes[asked.id] = box
            words = QVBoxLayout()
            words.setSpacing(2)
            words.addWidget(label(asked.text))
            words.addWidget(label(asked.matters, size=theme.SMALL, muted=True, wrap=True))
            grid.addLayout(words, row, 0)
            grid.addWidget(box, row, 1, Qt.AlignmentFlag.AlignVCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(16)
        column.addWidget(
            label(
                "Leave at “unknown” what you do not know: the scorecard shows it as a gap. Choose an answer, or write "
                "your own where the field lets you. Answers are printed as you give them and are not checked.",
                muted=True,
                wrap=True,
            )
        )
        column.addLayout(grid)
        column.addStretch(1)

    def offer(self, told: Pipeline) -> None:
        """Answers that the student's own files give, where the user gave none."""
        for name, answer in msgspec.structs.asdict(told).items():
            box = self.boxes[name]
            if answer and box.currentText() == UNKNOWN:
                box.setCurrentText(answer)

    def pipeline(self) -> Pipeline:
        return answered({name: box.currentText() for name, box in self.boxes.items()})
