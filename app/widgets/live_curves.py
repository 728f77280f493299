"""What training does, live: small plots over one axis of steps, drawn at most thirty times a second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, QTimer
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme

FRAME_MS: Final = 34
_LEFT, _RIGHT, _TOP, _BASE, _GAP = 56.0, 16.0, 22.0, 20.0, 14.0
Point = tuple[float, float]


@dataclass
class Curve:
    """One plot: ``points`` (step, value) in the order of their steps; ``dots`` marks each (few, measured points)."""

    title: str
    dots: bool = False
    percent: bool = False
    points: list[Point] = field(default_factory=list)
    marks: dict[int, str] = field(default_factory=dict)
    """Steps at which something begins (a stage of several), by its name."""


def thinned(points: Sequence[Point], columns: int) -> list[Point]:
    """At most two points a column of pixels, its lowest and its highest: no peak is lost, however long the curve."""
    if len(points) <= 2 * columns:
        return list(points)
    first, last = points[0][0], points[-1][0]
    width = (last - first) / columns or 1.0
    kept: list[Point] = []
    start = 0
    while start < len(points):
        edge = first + (int((points[start][0] - first) / width) + 1) * width
        end = start
        while end < len(points) and (points[end][0] < edge or end == start):
            end += 1
        low, high = (
            min(range(start, end), key=lambda at: points[at][1]),
            max(range(start, end), key=lambda at: points[at][1]),
        )
        kept += [points[at] for at in sorted({low, high})]
        start = end
    return kept


class LiveCurves(QWidget):
    """Curves one under the other. ``add`` may be called as often as events come; painting is paced."""

    def __init__(self, curves: Iterable[Curve], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.curves = {curve.title: curve for curve in curves}
        self.steps = 0  # where the axis ends, once that is known
        self.painted = 0
        self._pointer: float | None = None
        self._frame = QTimer(self)
        self._frame.setSingleShot(True)
        self._frame.setInterval(FRAME_MS)
        self._frame.timeout.connect(self.update)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAccessibleName("Curves of the training")

    def sizeHint(self) -> QSize:
        return QSize(640, 420)

    def minimumSizeHint(self) -> QSize:
        return QSize(280, 240)

    def clear(self) -> None:
        for curve in self.curves.values():
            curve.points.clear()
            curve.marks.clear()
        self.steps = 0
        self._soon()

    def add(self, title: str, points: Iterable[Point]) -> None:
        """Append; a step that is there already (a resumed run repeats some) is not drawn twice."""
        curve = self.curves[title]
        last = curve.points[-1][0] if curve.points else float("-inf")
        for step, value in points:
            if step > last:
                curve.points.append((step, value))
                last = step
        self._soon()

    def mark(self, step: int, name: str) -> None:
        for curve in self.curves.values():
            curve.marks[step] = name
        self._soon()

    def set_steps(self, steps: int) -> None:
        if steps != self.steps:
            self.steps = steps
            self._soon()

    def _soon(self) -> None:
        if not self._frame.isActive():
            self._frame.start()

    # drawing

    def paintEvent(self, event: QPaintEvent) -> None:
        self.painted += 1
        shown = [curve for curve in self.curves.values() if curve.points]
        self.setAccessibleDescription("; ".join(f"{c.title} {_said(c, c.points[-1][1])}" for c in shown))
        if not shown:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        height = (self.height() - _BASE - _GAP * (len(shown) - 1)) / len(shown)
        last = max(self.steps, max(curve.points[-1][0] for curve in shown), 1)
        for number, curve in enumerate(shown):
            box = QRectF(_LEFT, number * (height + _GAP) + _TOP, max(1.0, self.width() - _LEFT - _RIGHT), height - _TOP)
            self._paint(painter, curve, box, last)
        self._axis(painter, last)
        painter.end()

    def _paint(self, painter: QPainter, curve: Curve, box: QRectF, last: float) -> None:
        t = theme.tokens()
        values = [value for _, value in curve.points]
        low, high = (0.0, 1.0) if curve.percent else (min(0.0, *values), max(values))
        high = high if high > low else low + 1.0

        def place(point: Point) -> QPointF:
            return QPointF(
                box.left() + box.width() * point[0] / last,
                box.bottom() - box.height() * (point[1] - low) / (high - low),
            )

        painter.setFont(theme.ui_font(11))
        for value in (low, high):
            y = place((0, value)).y()
            painter.setPen(QPen(t.color("hairline"), 1))
            painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
            painter.setPen(t.color("muted"))
            where = QRectF(0, y - 8, _LEFT - 8, 16)
            painter.drawText(where, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, _said(curve, value))
        for step, name in curve.marks.items():
            at = place((step, low)).x()
            painter.setPen(QPen(t.color("hairline"), 1, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(at, box.top()), QPointF(at, box.bottom()))
            painter.setPen(t.color("muted"))
            painter.drawText(QPointF(at + 4, box.top() + 11), name)
        painter.setPen(t.color("text"))
        painter.drawText(QPointF(box.left(), box.top() - 8), curve.title)
        places = [place(point) for point in thinned(curve.points, round(box.width()))]
        painter.setPen(QPen(t.color("student"), 1.5))
        painter.drawPolyline(places)
        if curve.dots:
            painter.setBrush(t.color("student"))
            for at_point in places:
                painter.drawEllipse(at_point, 2.5, 2.5)
            painter.setBrush(Qt.BrushStyle.NoBrush)
        point = self._near(curve, box, last)
        words = f"{_said(curve, point[1])} at step {point[0]:,.0f}"
        painter.setPen(t.color("muted"))
        here = QRectF(box.left(), box.top() - 20, box.width(), 16)
        painter.drawText(here, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, words)
        if self._pointer is not None:
            painter.setPen(QPen(t.color("text"), 1))
            painter.drawEllipse(place(point), 4, 4)

    def _near(self, curve: Curve, box: QRectF, last: float) -> Point:
        """The newest point, or the one under the pointer."""
        if self._pointer is None:
            return curve.points[-1]
        step = (self._pointer - box.left()) / box.width() * last
        return min(curve.points, key=lambda point: abs(point[0] - step))

    def _axis(self, painter: QPainter, last: float) -> None:
        painter.setFont(theme.ui_font(11))
        painter.setPen(theme.tokens().color("muted"))
        y = self.height() - 5.0
        painter.drawText(QPointF(_LEFT, y), "0")
        words = f"{last:,.0f} steps"
        wide = painter.fontMetrics().horizontalAdvance(words)
        painter.drawText(QPointF(self.width() - _RIGHT - wide, y), words)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        self._pointer = event.position().x()
        self._soon()

    def leaveEvent(self, event: object) -> None:
        self._pointer = None
        self._soon()


def _said(curve: Curve, value: float) -> str:
    if curve.percent:
        return f"{100 * value:.0f} %" if value in (0.0, 1.0) else f"{100 * value:.1f} %"
    return f"{value:.3g}"
