"""Suites and their groups as a dot plot: teacher and student with intervals over the band of the margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from app import theme
from app.widgets.interval_strip import Scale, Span, axis_range, paint_band, paint_span, signed

_ROW, _GROUP, _AXIS = 44, 30, 34
_LABELS = 0.34  # share of the width for the words


@dataclass(frozen=True)
class DotRow:
    """One line. ``group`` is "" for the whole suite. A row in another unit than rates has an axis of its own."""

    suite: str
    title: str
    detail: str
    teacher: Span | None
    student: Span | None
    margin: float
    group: str = ""
    unit: str = "rate"

    @property
    def words(self) -> str:
        parts = [f"{role} {s}" for role, s in (("teacher", self.teacher), ("student", self.student)) if s is not None]
        return f"{self.title}: " + ("; ".join(parts) or "not measured")


class DotPlot(QWidget):
    """Rows are chosen by click or with the arrow keys.

    Signals:
        row_chosen(int): index into ``rows``; −1 when nothing is chosen.
    """

    row_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: tuple[DotRow, ...] = ()
        self.chosen = -1
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Effects of suites and groups")

    def set_rows(self, rows: Sequence[DotRow]) -> None:
        self.rows = tuple(rows)
        self.chosen = -1
        self.setAccessibleDescription(". ".join(row.words for row in self.rows))
        self.setFixedHeight(self.sizeHint().height())
        self.updateGeometry()
        self.update()

    def mark(self, number: int) -> None:
        """Show a row as chosen without saying so."""
        self.chosen = number if 0 <= number < len(self.rows) else -1
        self.update()

    def choose(self, number: int) -> None:
        """Choose a row; choosing it again, or −1, takes the choice away."""
        number = -1 if number == self.chosen or not 0 <= number < len(self.rows) else number
        self.chosen = number
        self.update()
        self.row_chosen.emit(number)

    def sizeHint(self) -> QSize:
        return QSize(560, sum(self._height(row) for row in self.rows) + _AXIS)

    @staticmethod
    def _height(row: DotRow) -> int:
        return _GROUP if row.group else _ROW

    def row_at(self, y: float) -> int:
        top = 0
        for number, row in enumerate(self.rows):
            top += self._height(row)
            if y < top:
                return number
        return -1

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.choose(self.row_at(event.position().y()))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
        if step is None or not self.rows:
            super().keyPressEvent(event)
            return
        target = min(len(self.rows) - 1, max(0, self.chosen + step))
        if target != self.chosen:
            self.choose(target)

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            number = self.row_at(event.pos().y())
            if number >= 0:
                row = self.rows[number]
                QToolTip.showText(event.globalPos(), f"{row.words}\nmargin ±{row.margin:g}", self)
            return True
        return super().event(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        scale = self._scale([row for row in self.rows if row.unit == "rate"])
        shared = scale
        top = 0.0
        for number, row in enumerate(self.rows):
            height = self._height(row)
            scale = shared if row.unit == "rate" else self._scale([row])
            if number == self.chosen:
                painter.fillRect(QRectF(0, top, self.width(), height), t.color("sunken"))
            paint_band(painter, scale, row.margin, top + 3, top + height - 3)
            self._paint_words(painter, row, top, height, scale.left)
            y = top + height / 2
            gap = 0 if row.teacher is None or row.student is None else (6 if row.group else 7)
            if row.teacher is not None:
                paint_span(painter, row.teacher, y - gap, scale, t.color("teacher"), diamond=False)
            if row.student is not None:
                paint_span(painter, row.student, y + gap, scale, t.color("student"), diamond=True)
            top += height
            painter.setPen(QPen(t.color("hairline"), 1))
            painter.drawLine(QPointF(0, top - 0.5), QPointF(self.width(), top - 0.5))
        if self.rows:
            self._paint_axis(painter, shared, top)
        if self.hasFocus() and self.rows:
            painter.setPen(QPen(t.color("accent"), 1))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(QRectF(0.5, 0.5, self.width() - 1, top - 1), theme.RADIUS, theme.RADIUS)
        painter.end()

    def _scale(self, rows: Sequence[DotRow]) -> Scale:
        spans = [span for row in rows for span in (row.teacher, row.student)]
        low, high = axis_range(spans, max((row.margin for row in rows), default=0.05))
        return Scale(low, high, self.width() * _LABELS, self.width() - 16.0)

    def _paint_words(self, painter: QPainter, row: DotRow, top: float, height: float, right: float) -> None:
        t = theme.tokens()
        left = 28.0 if row.group else 8.0
        width = right - left - 12
        line = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        elide = Qt.TextElideMode.ElideRight
        if row.group:
            painter.setFont(theme.ui_font(theme.SMALL))
            painter.setPen(t.color("text"))
            name = painter.fontMetrics().elidedText(row.title, elide, round(width * 0.62))
            painter.drawText(QRectF(left, top, width * 0.62, height), line, name)
            painter.setPen(t.color("muted"))
            painter.drawText(
                QRectF(left, top, width, height),
                Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter,
                row.detail,
            )
            return
        painter.setFont(theme.ui_font(theme.BODY, QFont.Weight.DemiBold))
        painter.setPen(t.color("text"))
        name = painter.fontMetrics().elidedText(row.title, elide, round(width))
        painter.drawText(QRectF(left, top + 4, width, 18), line, name)
        painter.setFont(theme.ui_font(11))
        painter.setPen(t.color("muted"))
        detail = painter.fontMetrics().elidedText(row.detail, elide, round(width))
        painter.drawText(QRectF(left, top + 22, width, 16), line, detail)

    def _paint_axis(self, painter: QPainter, scale: Scale, top: float) -> None:
        t = theme.tokens()
        painter.setFont(theme.ui_font(11))
        painter.setPen(t.color("muted"))
        margins = {row.margin for row in self.rows if row.unit == "rate"} or {0.05}
        ticks = [0.0] if len(margins) > 1 else [-next(iter(margins)), 0.0, next(iter(margins))]
        if scale(ticks[-1]) - scale(0.0) < 28:
            ticks = [0.0]
        for value in ticks:
            box = QRectF(scale(value) - 40, top + 2, 80, 16)
            painter.drawText(box, Qt.AlignmentFlag.AlignHCenter, "0" if value == 0 else signed(value))
        box = QRectF(scale.left, top + 2, scale.right - scale.left, 16)
        painter.drawText(box, Qt.AlignmentFlag.AlignRight, "more in the risk direction →")
        painter.drawText(QRectF(8, top + 2, scale.left - 16, 16), Qt.AlignmentFlag.AlignLeft, "● teacher  ◆ student")
