"""Lineage as one line: base → teacher → student. What nobody stated is dashed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme


@dataclass(frozen=True)
class Node:
    """A model on the line. ``colour`` is a token; ``stated`` says whether the step to the *next* node is stated."""

    role: str
    name: str
    colour: str
    stated: bool


class LineageLine(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self._nodes: tuple[Node, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_nodes(self, nodes: Sequence[Node]) -> None:
        self._nodes = tuple(nodes)
        words: list[str] = []
        for number, node in enumerate(nodes):
            words.append(f"{node.role} {node.name}")
            if number < len(nodes) - 1:
                words.append("then, as its files say," if node.stated else "then, which no file says,")
        self.setAccessibleName(" ".join(words))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(360, 56)

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self._nodes:
            return
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        cell = self.width() / len(self._nodes)
        for number, node in enumerate(self._nodes):
            x = cell * number + 6
            if number < len(self._nodes) - 1:
                style = Qt.PenStyle.SolidLine if node.stated else Qt.PenStyle.DashLine
                painter.setPen(QPen(t.color("muted"), 1.5, style))
                painter.drawLine(int(x + 10), 10, int(x + cell - 10), 10)
            painter.setPen(QPen(t.color(node.colour), 1.5))
            painter.setBrush(t.color(node.colour) if node.colour != "muted" else Qt.BrushStyle.NoBrush)
            painter.drawEllipse(QRectF(x - 5, 5, 10, 10))
            painter.setPen(t.color("muted"))
            painter.setFont(theme.ui_font(11))
            painter.drawText(QRectF(x - 6, 20, cell - 8, 16), Qt.AlignmentFlag.AlignLeft, node.role)
            painter.setPen(t.color("text"))
            painter.setFont(theme.ui_font(theme.SMALL))
            name = painter.fontMetrics().elidedText(node.name, Qt.TextElideMode.ElideMiddle, int(cell - 12))
            painter.drawText(QRectF(x - 6, 35, cell - 8, 18), Qt.AlignmentFlag.AlignLeft, name)
