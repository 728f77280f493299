"""A text whose tokens are tinted by a number: where two models part ways, seen at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QResizeEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme

LINE, PAD = 26, 2


class HeatStrip(QWidget):
    """Tokens one after the other, wrapped; the tint goes from nothing (0) to full at ``full``.

    Signals:
        chosen(int): by click, or by the arrow keys.
    """

    chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.texts: tuple[str, ...] = ()
        self.values: tuple[float, ...] = ()
        self.full = 1.0
        self.current = -1
        self._boxes: list[QRectF] = []
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setAccessibleName("KL per token over the text")
        self.setFont(theme.mono_font(13))

    def set_text(self, texts: Sequence[str], values: Sequence[float], full: float) -> None:
        """``values`` are tinted against ``full``, which is kept where only a temperature changes."""
        self.texts, self.values, self.full = tuple(map(visible, texts)), tuple(values), max(full, 1e-9)
        self.setAccessibleDescription(
            "; ".join(f"{text} {value:.3g}" for text, value in zip(self.texts, self.values, strict=True))
        )
        self._lay_out()
        self.update()

    def choose(self, token: int) -> None:
        if 0 <= token < len(self.texts) and token != self.current:
            self.current = token
            self.update()
            self.chosen.emit(token)

    # layout

    def _lay_out(self) -> None:
        self._boxes = self._placed(max(80, self.width()))
        self.setMinimumHeight(self.heightForWidth(self.width()))
        self.updateGeometry()

    def _placed(self, width: int) -> list[QRectF]:
        boxes: list[QRectF] = []
        x, y = 0.0, 0.0
        for text in self.texts:
            wide = min(float(width), self.fontMetrics().horizontalAdvance(text) + 2.0 * PAD)
            if x and x + wide > width:
                x, y = 0.0, y + LINE
            boxes.append(QRectF(x, y, wide, LINE - 4))
            x += wide
        return boxes

    def heightForWidth(self, width: int) -> int:
        boxes = self._placed(max(80, width))
        return round(boxes[-1].bottom()) + 4 if boxes else LINE

    def sizeHint(self) -> QSize:
        return QSize(480, self.heightForWidth(max(480, self.width())))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay_out()

    # what is seen and done

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setFont(self.font())
        for number, (box, text) in enumerate(zip(self._boxes, self.texts, strict=True)):
            tint = t.color("needle")
            tint.setAlphaF(0.75 * min(1.0, self.values[number] / self.full))
            painter.fillRect(box, tint)
            painter.setPen(t.color("text"))
            painter.drawText(box.adjusted(PAD, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, text)
            if number == self.current:
                painter.setPen(QPen(t.color("text"), 1.5))
                painter.drawRect(box.adjusted(0.5, 0.5, -0.5, -0.5))
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        at = next((n for n, box in enumerate(self._boxes) if box.contains(event.position())), -1)
        self.choose(at)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(Qt.Key(event.key()))
        if step is None:
            super().keyPressEvent(event)
        else:
            self.choose(self.current + step)


def visible(text: str) -> str:
    """Spaces stay, ends of lines and nothing at all are shown by a sign."""
    return text.replace("\n", "⏎").replace("\t", "⇥") or "∅"
