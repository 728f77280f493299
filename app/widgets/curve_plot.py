"""How much of a trigger is needed: the payload rate over the number of its tokens that are kept."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme

_LEFT, _RIGHT, _TOP, _BASE = 44.0, 12.0, 10.0, 22.0


class CurvePlot(QWidget):
    """Points (tokens kept, rate in [0, 1]), joined; a rate that was not measured is left out."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.points: tuple[tuple[int, float], ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Payload rate by tokens of the trigger kept")

    def set_points(self, points: Sequence[Sequence[float | None]]) -> None:
        self.points = tuple(sorted((int(n), float(rate)) for n, rate in points if n is not None and rate is not None))
        words = "; ".join(f"{kept} kept: {rate:.0%}" for kept, rate in self.points)
        self.setAccessibleDescription(words)
        self.setToolTip(words)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(400, 112)

    def minimumSizeHint(self) -> QSize:
        return QSize(160, 112)

    def place(self, kept: int, rate: float) -> QPointF:
        """Pixel of a point."""
        first, last = self.points[0][0], self.points[-1][0]
        along = (kept - first) / (last - first) if last > first else 0.5
        x = _LEFT + along * (self.width() - _LEFT - _RIGHT)
        return QPointF(x, self.height() - _BASE - rate * (self.height() - _TOP - _BASE))

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.points:
            return
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(theme.ui_font(11))
        for rate in (0.0, 0.5, 1.0):
            y = self.place(self.points[0][0], rate).y()
            painter.setPen(QPen(t.color("hairline"), 1))
            painter.drawLine(QPointF(_LEFT, y), QPointF(self.width() - _RIGHT, y))
            painter.setPen(t.color("muted"))
            box = QRectF(0, y - 8, _LEFT - 8, 16)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{100 * rate:.0f} %")
        places = [self.place(kept, rate) for kept, rate in self.points]
        painter.setPen(QPen(t.color("teacher"), 2))
        painter.drawPolyline(places)
        painter.setBrush(t.color("teacher"))
        for at in places:
            painter.drawEllipse(at, 3, 3)
        painter.setPen(t.color("muted"))
        for (kept, _rate), at in zip(self.points, places, strict=True):
            words = f"{kept} tokens" if kept == self.points[0][0] else str(kept)
            wide = painter.fontMetrics().horizontalAdvance(words)
            left = min(max(at.x() - wide / 2, _LEFT), self.width() - _RIGHT - wide)
            painter.drawText(QPointF(left, self.height() - 6), words)
        painter.end()
