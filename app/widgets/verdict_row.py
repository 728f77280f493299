"""One risk class of the scorecard as a row that can be pressed: words, verdict with its shape, strip, grade."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFont, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QSizePolicy, QWidget

from app import theme
from app.widgets.interval_strip import MARKS, Scale, Span, paint_band, paint_span
from core.report.scorecard import Estimate, RiskRow


def span(estimate: Estimate | None) -> Span | None:
    return None if estimate is None else Span(estimate.value, estimate.low, estimate.high)


def verdict_text(row: RiskRow) -> str:
    """The verdict with its shape; for an undecided row, what it would take."""
    if row.verdict is None:
        return "one model, no verdict"
    text = f"{MARKS[row.verdict]} {row.verdict}"
    if row.verdict == "inconclusive" and row.items_needed:
        text += f" · about {row.items_needed:,} items needed"
    return text


class VerdictRow(QAbstractButton):
    """``range_`` is shared by all rows of one measure, so that lengths compare."""

    def __init__(self, row: RiskRow, range_: tuple[float, float], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.row = row
        self.range = range_
        self.setCheckable(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        words = [f"{role} {s}" for role, s in (("teacher", span(row.teacher)), ("student", span(row.student))) if s]
        self.setAccessibleName(f"{row.title}: {row.verdict or 'no verdict'}")
        self.setAccessibleDescription("; ".join([*words, f"evidence grade {row.grade}"]))
        self.setToolTip("; ".join([*words, f"margin ±{row.margin:g}"]))

    def sizeHint(self) -> QSize:
        return QSize(320, 58)

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.isChecked() or self.underMouse():
            painter.fillRect(self.rect(), t.color("sunken"))
        width = self.width()
        words = width * 0.58
        line = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        painter.setFont(theme.ui_font(theme.BODY, QFont.Weight.DemiBold))
        painter.setPen(t.color("text"))
        elide = Qt.TextElideMode.ElideRight
        title = painter.fontMetrics().elidedText(self.row.title, elide, round(words) - 16)
        painter.drawText(QRectF(8, 8, words - 16, 20), line, title)
        painter.setFont(theme.ui_font(theme.SMALL))
        quiet = self.row.verdict in (None, "inconclusive", "not detected at δ")
        painter.setPen(t.color("muted" if quiet else "text"))
        verdict = painter.fontMetrics().elidedText(verdict_text(self.row), elide, round(words) - 12)
        painter.drawText(QRectF(8, 30, words - 12, 18), line, verdict)

        scale = Scale(*self.range, words, width - 52.0)
        paint_band(painter, scale, self.row.margin, 8, self.height() - 8)
        teacher, student = span(self.row.teacher), span(self.row.student)
        gap = 8 if teacher is not None and student is not None else 0
        middle = self.height() / 2
        if teacher is not None:
            paint_span(painter, teacher, middle - gap, scale, t.color("teacher"), diamond=False)
        if student is not None:
            paint_span(painter, student, middle + gap, scale, t.color("student"), diamond=True)

        box = QRectF(width - 36.0, middle - 12, 24, 24)
        painter.setPen(QPen(t.color("hairline"), 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(box, 4, 4)
        painter.setPen(t.color("text"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, self.row.grade)
        painter.setPen(QPen(t.color("hairline"), 1))
        painter.drawLine(0, self.height() - 1, width, self.height() - 1)
        if self.hasFocus():
            painter.setPen(QPen(t.color("accent"), 1.5))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -2), 4, 4)
        painter.end()
