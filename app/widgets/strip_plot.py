"""The distribution of the matched controls as a strip of dots, with the finding as a needle over it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme

_RADIUS = 2.5
_MARGIN = 8.0


class StripPlot(QWidget):
    """Rates in [0, 1], or margins in nats. Each dot is one control; dots of one value are stacked, never jittered."""

    def __init__(self, name: str = "Rates of the matched controls", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rate = True
        self.range = (0.0, 1.0)
        self.rates: tuple[float, ...] = ()
        self.needle: float | None = None
        self.interval: tuple[float, float] | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(name)

    def set_values(
        self, rates: Sequence[float], needle: float | None, interval: tuple[float, float] | None = None
    ) -> None:
        """Show ``rates`` of the controls and ``needle``, the rate of the finding, with its 95 % interval."""
        self._show(sorted(min(1.0, max(0.0, rate)) for rate in rates), needle, interval, (0.0, 1.0), rate=True)

    def set_margins(self, margins: Sequence[float], needle: float) -> None:
        """Show by how many nats each control makes the payload likelier, and by how many the finding does."""
        low, high = min(0.0, needle, *margins), max(0.0, needle, *margins)
        room = 0.04 * max(high - low, 1e-6)
        self._show(sorted(margins), needle, None, (low - room if low < 0 else 0.0, high + room), rate=False)

    def _show(
        self,
        values: Sequence[float],
        needle: float | None,
        interval: tuple[float, float] | None,
        range_: tuple[float, float],
        *,
        rate: bool,
    ) -> None:
        self.rates, self.needle, self.interval, self.range, self.rate = tuple(values), needle, interval, range_, rate
        words = "no controls"
        if self.rates:
            words = f"{len(self.rates)} controls between {self.said(self.rates[0])} and {self.said(self.rates[-1])}"
        if needle is not None:
            words += f"; this trigger {self.said(needle)}"
        self.setAccessibleDescription(words)
        self.setToolTip(words)
        self.update()

    def said(self, value: float) -> str:
        """``98 %``, or ``20.5`` nats."""
        return f"{100 * value:.0f} %" if self.rate else f"{value:.1f}"

    def sizeHint(self) -> QSize:
        return QSize(400, 124)

    def minimumSizeHint(self) -> QSize:
        return QSize(160, 124)

    def place(self, value: float) -> float:
        """x of a value, in pixels."""
        low, high = self.range
        return _MARGIN + (value - low) / (high - low) * (self.width() - 2 * _MARGIN)

    def dots(self) -> list[QPointF]:
        """Centres of the dots: binned by width, stacked upward; squeezed where a stack is higher than the strip."""
        base, top = self.height() - 24.0, 28.0
        bins: dict[int, int] = {}
        columns = [round(self.place(rate) / (2 * _RADIUS)) for rate in self.rates]
        for column in columns:
            bins[column] = bins.get(column, 0) + 1
        highest = max(bins.values(), default=1)
        step = min(2 * _RADIUS, (base - top) / highest)
        seen: dict[int, int] = {}
        centres = []
        for column in columns:
            level = seen.get(column, 0)
            seen[column] = level + 1
            centres.append(QPointF(column * 2 * _RADIUS, base - 4 - level * step))
        return centres

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        base = self.height() - 24.0
        painter.setPen(QPen(t.color("hairline"), 1))
        painter.drawLine(QPointF(_MARGIN, base), QPointF(self.width() - _MARGIN, base))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(t.color("control"))
        for centre in self.dots():
            painter.drawEllipse(centre, _RADIUS - 0.5, _RADIUS - 0.5)
        self._paint_axis(painter, base)
        if self.needle is not None:
            self._paint_needle(painter, base, self.needle)
        painter.end()

    def _paint_axis(self, painter: QPainter, base: float) -> None:
        t = theme.tokens()
        painter.setFont(theme.ui_font(11))
        painter.setPen(t.color("muted"))
        box = QRectF(_MARGIN, base + 4, self.width() - 2 * _MARGIN, 18)
        flag = Qt.AlignmentFlag
        painter.drawText(box, flag.AlignHCenter, "payload rate" if self.rate else "nats")
        painter.drawText(box, flag.AlignRight, self.said(self.range[1]))
        painter.drawText(box, flag.AlignLeft, self.said(self.range[0]))

    def _paint_needle(self, painter: QPainter, base: float, needle: float) -> None:
        t = theme.tokens()
        x = self.place(needle)
        red = t.color("needle")
        if self.interval is not None:
            painter.setPen(QPen(red, 1))
            painter.drawLine(QPointF(self.place(self.interval[0]), 12), QPointF(self.place(self.interval[1]), 12))
        painter.setPen(QPen(red, 2))
        painter.drawLine(QPointF(x, base), QPointF(x, 12))
        painter.setBrush(red)
        painter.drawEllipse(QPointF(x, 12), 4, 4)
        painter.setFont(theme.ui_font(11))
        text = f"this trigger {self.said(needle)}"
        width = painter.fontMetrics().horizontalAdvance(text) + 2
        low, high = self.interval or (needle, needle)
        left = self.place(min(low, needle)) - 12 - width
        if left < 0:
            left = self.place(max(high, needle)) + 12
        painter.setPen(red)
        painter.drawText(QRectF(left, 3, width, 18), Qt.AlignmentFlag.AlignVCenter, text)
