"""Two bar columns over the same tokens: the teacher's soft label to the left, the student's to the right."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme
from app.tables.soft_labels import Expected
from app.widgets.heat_strip import visible

ROW, HEAD, WORD, FIGURE = 24, 24, 150, 58


class SoftBars(QWidget):
    """Bars from 0 to 1, on one scale whatever the temperature. A thin line to 1 is the hard label: all on one token."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: tuple[Expected, ...] = ()
        self.names = ("teacher", "student")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Probability of the next token")

    def set_rows(self, rows: Sequence[Expected], names: tuple[str, str]) -> None:
        self.rows, self.names = tuple(rows), names
        self.setAccessibleDescription(
            "; ".join(
                f"{row.text}{' (hard label)' if row.hard else ''}: {row.teacher:.1%}, {row.student:.1%}" for row in rows
            )
        )
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(600, HEAD + ROW * max(1, len(self.rows)))

    def minimumSizeHint(self) -> QSize:
        return QSize(420, HEAD + ROW * max(1, len(self.rows)))

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        middle = self.width() / 2
        span = max(40.0, middle - WORD / 2 - FIGURE)
        painter.setFont(theme.ui_font(theme.SMALL))
        for side, name in enumerate(self.names):
            painter.setPen(t.color(("teacher", "student")[side]))
            box = QRectF(0, 0, middle - WORD / 2, HEAD - 4) if side == 0 else QRectF(middle + WORD / 2, 0, middle, HEAD)
            flag = Qt.AlignmentFlag.AlignRight if side == 0 else Qt.AlignmentFlag.AlignLeft
            text = painter.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, round(span))
            painter.drawText(box, flag | Qt.AlignmentFlag.AlignTop, text)
        for number, row in enumerate(self.rows):
            self._row(painter, row, HEAD + number * ROW, middle, span)
        painter.end()

    def _row(self, painter: QPainter, row: Expected, y: float, middle: float, span: float) -> None:
        t = theme.tokens()
        painter.setFont(theme.mono_font(13))
        painter.setPen(t.color("text" if row.hard else "muted"))
        word = painter.fontMetrics().elidedText(visible(row.text), Qt.TextElideMode.ElideRight, WORD - 16)
        painter.drawText(QRectF(middle - WORD / 2, y, WORD, ROW), Qt.AlignmentFlag.AlignCenter, word)
        painter.setFont(theme.ui_font(11))
        for side, share in enumerate((row.teacher, row.student)):
            colour = t.color(("teacher", "student")[side])
            edge = middle + (WORD / 2 if side else -WORD / 2)
            bar = QRectF(edge, y + 6, share * span, ROW - 12)
            full = QRectF(edge, y + 4, span, ROW - 8)
            if side == 0:
                bar.moveRight(edge)
                full.moveRight(edge)
            painter.fillRect(bar, colour)
            if row.hard:
                painter.setPen(QPen(t.color("text"), 1))
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawRect(full)
            painter.setPen(t.color("muted"))
            figure = QRectF(edge + span + 6, y, FIGURE, ROW)
            flag = Qt.AlignmentFlag.AlignLeft
            if side == 0:
                figure.moveRight(edge - span - 6)
                flag = Qt.AlignmentFlag.AlignRight
            painter.drawText(figure, flag | Qt.AlignmentFlag.AlignVCenter, f"{100 * share:.1f} %")
