"""Teacher and student over the band of the margin, as one strip; and the mark of a verdict: a shape with the word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme

MARKS = {
    "transferred": "●",
    "attenuated": "◐",
    "removed": "○",
    "emerged": "▲",
    "not detected at δ": "▫",
    "inconclusive": "◇",
    "confirmed": "●",
    "likely": "◐",
    "natural sensitivity": "◇",
    "memorised text": "▫",
    "no evidence": "–",
}
"""Shape of each verdict, the same in tables, strips and the printed page."""


@dataclass(frozen=True)
class Span:
    """An estimate with its 95 % interval; without one where none was computed (groups of a suite)."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return signed(self.value)
        return f"{signed(self.value)} [{signed(self.low)}, {signed(self.high)}]"


def signed(value: float) -> str:
    """``+0.12``, ``−0.03`` with a real minus, ``0.00``."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def axis_range(spans: Iterable[Span | None], margin: float) -> tuple[float, float]:
    """A range that holds every interval, the band and 0, with room at both ends."""
    present = [span for span in spans if span is not None]
    low = min([-margin, *(span.value if span.low is None else span.low for span in present)])
    high = max([margin, *(span.value if span.high is None else span.high for span in present)])
    room = 0.06 * max(high - low, 1e-6)
    return low - room, high + room


def paint_span(painter: QPainter, span: Span, y: float, scale: Scale, colour: QColor, *, diamond: bool) -> None:
    """The interval as a line, the estimate as a circle (teacher) or a diamond (student)."""
    if span.low is not None and span.high is not None:
        painter.setPen(QPen(colour, 1.5))
        painter.drawLine(QPointF(scale(span.low), y), QPointF(scale(span.high), y))
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(colour)
    x = scale(span.value)
    if diamond:
        r = 5.0
        painter.drawPolygon(QPolygonF([QPointF(x, y - r), QPointF(x + r, y), QPointF(x, y + r), QPointF(x - r, y)]))
    else:
        painter.drawEllipse(QPointF(x, y), 4.5, 4.5)


@dataclass(frozen=True)
class Scale:
    """Effect → pixels."""

    low: float
    high: float
    left: float
    right: float

    def __call__(self, value: float) -> float:
        share = (min(self.high, max(self.low, value)) - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)


def paint_band(painter: QPainter, scale: Scale, margin: float, top: float, bottom: float) -> None:
    """The band ±δ and the line of no effect."""
    t = theme.tokens()
    painter.fillRect(QRectF(QPointF(scale(-margin), top), QPointF(scale(margin), bottom)), t.color("band"))
    painter.setPen(QPen(t.color("control"), 1))
    painter.drawLine(QPointF(scale(0.0), top), QPointF(scale(0.0), bottom))


class IntervalStrip(QWidget):
    """One risk class: teacher above, student below, over the band."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.teacher: Span | None = None
        self.student: Span | None = None
        self.margin = 0.0
        self.range: tuple[float, float] = (-1.0, 1.0)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Effect with interval")

    def set_values(
        self,
        teacher: Span | None,
        student: Span | None,
        margin: float,
        range_: tuple[float, float] | None = None,
    ) -> None:
        """Show both estimates; ``range_`` shares one axis between strips."""
        self.teacher, self.student, self.margin = teacher, student, margin
        self.range = range_ or axis_range((teacher, student), margin)
        words = [f"{role} {span}" for role, span in (("teacher", teacher), ("student", student)) if span is not None]
        text = "; ".join([*words, f"margin ±{margin:g}"])
        self.setAccessibleDescription(text)
        self.setToolTip(text)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(160, 30)

    def minimumSizeHint(self) -> QSize:
        return QSize(80, 30)

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        scale = Scale(*self.range, 8.0, self.width() - 8.0)
        paint_band(painter, scale, self.margin, 0, self.height())
        both = self.teacher is not None and self.student is not None
        for span, name, y in ((self.teacher, "teacher", 9.0), (self.student, "student", 21.0)):
            if span is not None:
                paint_span(painter, span, y if both else 15.0, scale, t.color(name), diamond=name == "student")
        painter.end()
