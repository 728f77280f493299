"""What fits: one bar a precision against the memory that is free now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme
from app.widgets.basic import gigabytes

if TYPE_CHECKING:
    from core.catalog import FitRow

ROW = 26
_LABEL, _TEXT = 52, 190


class FitBars(QWidget):
    """Bars share one scale; the line is the free memory. An unknown need is said, not drawn."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[FitRow, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_rows(self, rows: Sequence[FitRow]) -> None:
        self._rows = tuple(rows)
        self.setAccessibleName("; ".join(f"{r.precision}: {self.words(r)}" for r in rows))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(360, ROW * max(1, len(self._rows)))

    def minimumSizeHint(self) -> QSize:
        return QSize(320, ROW * max(1, len(self._rows)))

    @staticmethod
    def words(row: FitRow) -> str:
        if not row.bytes or row.fits is None:
            return "unknown"
        return f"{gigabytes(row.bytes)} · {'fits' if row.fits else 'does not fit'}"

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(theme.ui_font(theme.SMALL))
        width = max(40, self.width() - _LABEL - _TEXT)
        free = max((r.free_bytes or 0 for r in self._rows), default=0)
        top = max([free, *(r.bytes or 0 for r in self._rows)], default=1) or 1
        for number, row in enumerate(self._rows):
            y = number * ROW
            middle = Qt.AlignmentFlag.AlignVCenter
            painter.setPen(t.color("text"))
            painter.drawText(QRectF(0, y, _LABEL, ROW), middle, row.precision)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(t.color("sunken"))
            painter.drawRoundedRect(QRectF(_LABEL, y + 9, width, 8), 4, 4)
            if row.bytes:
                painter.setBrush(t.color("accent" if row.fits else "sev_high" if row.fits is False else "muted"))
                painter.drawRoundedRect(QRectF(_LABEL, y + 9, max(4.0, width * row.bytes / top), 8), 4, 4)
            painter.setPen(t.color("sev_high" if row.fits is False else "muted"))
            painter.drawText(QRectF(_LABEL + width + 12, y, _TEXT - 12, ROW), middle, self.words(row))
        if free:
            x = _LABEL + width * free / top
            painter.setPen(QPen(t.color("text"), 1))
            painter.drawLine(int(x), 3, int(x), self.height() - 3)
