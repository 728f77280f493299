"""One part of the still that a recipe is drawn as."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app import theme
from app.widgets.basic import label

_GUTTER = 34


class RecipeStation(QWidget):
    """One part of the still: its drawing in the gutter, its title, what it says, and its fields."""

    def __init__(self, kind: str, title: str) -> None:
        super().__init__()
        self.kind = kind
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(_GUTTER, 4, 0, 12)
        self.column.setSpacing(4)
        self.title = label(title, bold=True)
        self.title.setObjectName(kind if kind in ("teacher", "student") else "")
        self.column.addWidget(self.title)

    def row(self, *widgets: QWidget) -> QWidget:
        """Fields side by side; the first takes what is left."""
        holder = QWidget()
        line = QHBoxLayout(holder)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(8)
        for number, widget in enumerate(widgets):
            line.addWidget(widget, 1 if number == 0 else 0)
        self.column.addWidget(holder)
        return holder

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        x, y = 11.0, 13.0
        top, bottom = (y if self.kind == "teacher" else 0.0), (y if self.kind == "student" else float(self.height()))
        painter.setPen(QPen(t.color("control"), 2))
        painter.drawLine(QPointF(x, top), QPointF(x, bottom))
        painter.setBrush(t.color("surface"))
        painter.setPen(QPen(t.color(self.kind if self.kind in ("teacher", "student") else "text"), 1.75))
        if self.kind == "teacher":  # the pot, half full
            painter.drawEllipse(QPointF(x, y), 9, 9)
            painter.setBrush(t.color("teacher"))
            painter.drawChord(QRectF(x - 9, y - 9, 18, 18), 180 * 16, 180 * 16)
        elif self.kind == "data":  # what is poured in
            painter.drawEllipse(QPointF(x, y), 5, 5)
        elif self.kind == "loss":  # the coil
            coil = QPainterPath(QPointF(x, y - 8))
            for turn in range(3):
                low = y - 8 + 6 * turn
                coil.cubicTo(x + 11, low, x + 11, low + 4, x, low + 3)
                coil.cubicTo(x - 11, low + 2, x - 11, low + 6, x, low + 6)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPath(coil)
        else:  # the drop
            drop = QPainterPath(QPointF(x, y - 9))
            drop.cubicTo(x + 4, y - 2, x + 7, y + 1, x + 7, y + 4)
            drop.cubicTo(x + 7, y + 12, x - 7, y + 12, x - 7, y + 4)
            drop.cubicTo(x - 7, y + 1, x - 4, y - 2, x, y - 9)
            painter.setBrush(t.color("student"))
            painter.drawPath(drop)
        painter.end()
