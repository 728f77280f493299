"""Small multiples: what students show of a canary over the tokens that they saw, an arm a panel, the sham arm grey."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme

_LEFT, _RIGHT, _HEAD, _TITLE, _PLOT, _BASE, _GAP = 46.0, 12.0, 24.0, 18.0, 96.0, 26.0, 20.0
_LOWEST: Final = -0.1
Line = tuple[tuple[float, float], ...]
"""(tokens, lift) of one run."""


class Panel(NamedTuple):
    """One arm's runs, and those of the sham arm behind them."""

    title: str
    lines: tuple[Line, ...]
    sham: tuple[Line, ...]


class PanelRow(NamedTuple):
    """``teacher`` is the lift of the planted copies; up to ``delta`` of it a canary counts as gone."""

    title: str
    panels: tuple[Panel, ...]
    teacher: float | None
    delta: float


class SurvivalGrid(QWidget):
    """One row of panels under the other; as high as it needs."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: tuple[PanelRow, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Lift of each canary over the tokens that students saw")

    def set_rows(self, rows: Sequence[PanelRow]) -> None:
        self.rows = tuple(rows)
        self.setAccessibleDescription("; ".join(_said(row) for row in self.rows))
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(720, round(len(self.rows) * self._height()))

    def minimumSizeHint(self) -> QSize:
        return QSize(360, self.sizeHint().height())

    @staticmethod
    def _height() -> float:
        return _HEAD + _TITLE + _PLOT + _BASE

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.rows:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for number, row in enumerate(self.rows):
            self._paint_row(painter, row, number * self._height())
        painter.end()

    def _paint_row(self, painter: QPainter, row: PanelRow, top: float) -> None:
        t = theme.tokens()
        painter.setFont(theme.ui_font(theme.SMALL))
        painter.setPen(t.color("text"))
        painter.drawText(QPointF(0, top + 15), row.title)
        last = max((line[-1][0] for panel in row.panels for line in (*panel.lines, *panel.sham) if line), default=1.0)
        width = (self.width() - _LEFT - _RIGHT - _GAP * (len(row.panels) - 1)) / len(row.panels)
        for at, panel in enumerate(row.panels):
            box = QRectF(_LEFT + at * (width + _GAP), top + _HEAD + _TITLE, max(width, 1.0), _PLOT)
            self._paint_panel(painter, row, panel, box, max(last, 1.0), first=at == 0)

    def _paint_panel(
        self, painter: QPainter, row: PanelRow, panel: Panel, box: QRectF, last: float, *, first: bool
    ) -> None:
        t = theme.tokens()

        def place(tokens: float, lift: float) -> QPointF:
            share = (max(_LOWEST, lift) - _LOWEST) / (1 - _LOWEST)
            return QPointF(box.left() + box.width() * tokens / last, box.bottom() - box.height() * share)

        if row.teacher:
            edge = place(0, row.delta * row.teacher).y()
            painter.fillRect(QRectF(box.left(), edge, box.width(), place(0, 0).y() - edge), t.color("band"))
        painter.setFont(theme.ui_font(11))
        for lift in (0.0, 0.5, 1.0):
            y = place(0, lift).y()
            painter.setPen(QPen(t.color("hairline"), 1))
            painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
            if first:
                painter.setPen(t.color("muted"))
                where = QRectF(0, y - 8, _LEFT - 8, 16)
                painter.drawText(
                    where, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{100 * lift:.0f} %"
                )
        if row.teacher is not None:
            y = place(0, row.teacher).y()
            painter.setPen(QPen(t.color("teacher"), 1.5, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
        painter.setPen(t.color("muted"))
        title = QRectF(box.left(), box.top() - _TITLE, box.width(), _TITLE - 2)
        painter.drawText(title, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, panel.title)
        for lines, colour in ((panel.sham, t.color("control")), (panel.lines, t.color("student"))):
            for line in lines:
                self._paint_line(painter, [place(*point) for point in line], colour)
        painter.setPen(t.color("muted"))
        painter.drawText(QPointF(box.left(), box.bottom() + 14), "0")
        words = f"{last:,.0f} tokens"
        wide = painter.fontMetrics().horizontalAdvance(words)
        painter.drawText(QPointF(box.right() - wide, box.bottom() + 14), words)

    @staticmethod
    def _paint_line(painter: QPainter, places: list[QPointF], colour: QColor) -> None:
        painter.setPen(QPen(colour, 1.5))
        painter.drawPolyline(places)
        painter.setBrush(colour)
        for at in places:
            painter.drawEllipse(at, 2.5, 2.5)
        painter.setBrush(Qt.BrushStyle.NoBrush)


def _said(row: PanelRow) -> str:
    """For a screen reader: the newest lift of each run."""
    parts = [
        f"{panel.title}: {', '.join(f'{line[-1][1]:.0%}' for line in panel.lines if line) or 'nothing yet'}"
        for panel in row.panels
    ]
    return f"{row.title}: {'; '.join(parts)}"
