"""Small pieces that every page is made of."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QFont, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QPushButton, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from app import theme


def label(
    text: str = "", *, size: int = theme.BODY, muted: bool = False, bold: bool = False, wrap: bool = False
) -> QLabel:
    """Plain text (never rich: names of files and models are shown as they are)."""
    made = QLabel(text)
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setFont(theme.ui_font(size, QFont.Weight.DemiBold if bold else QFont.Weight.Normal))
    made.setWordWrap(wrap)
    made.setObjectName("muted" if muted else "")
    return made


def heading(text: str) -> QLabel:
    return label(text, bold=True)


def button(text: str, callback: Callable[[], object], *, primary: bool = False, tip: str = "") -> QPushButton:
    made = QPushButton(text)
    made.setObjectName("primary" if primary else "")
    made.setAccessibleName(text)
    made.setToolTip(tip)
    made.clicked.connect(lambda _checked=False: callback())
    return made


def card(spacing: int = 8, margin: int = 16) -> tuple[QFrame, QVBoxLayout]:
    """A surface with a hairline, and the column inside it."""
    frame = QFrame()
    frame.setObjectName("card")
    layout = QVBoxLayout(frame)
    layout.setContentsMargins(margin, margin, margin, margin)
    layout.setSpacing(spacing)
    return frame, layout


def scrolled(inside: QWidget) -> QScrollArea:
    """``inside``, as wide as there is room and as high as it needs."""
    inside.setObjectName("page")
    made = QScrollArea()
    made.setWidgetResizable(True)
    made.setFrameShape(QFrame.Shape.NoFrame)
    made.setWidget(inside)
    return made


class ElidedLabel(QWidget):
    """One line that is cut in the middle where it does not fit; the whole text is the tooltip."""

    def __init__(self, text: str = "", *, font: QFont | None = None, muted: bool = False) -> None:
        super().__init__()
        self._text = text
        self._muted = muted
        self.setFont(font or theme.ui_font())
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setText(text)

    def text(self) -> str:
        return self._text

    def setText(self, text: str) -> None:
        self._text = text
        self.setAccessibleName(text)
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        metrics = self.fontMetrics()
        return QSize(metrics.horizontalAdvance(self._text) + 2, metrics.height())

    def minimumSizeHint(self) -> QSize:
        return QSize(24, self.fontMetrics().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        cut = self.fontMetrics().horizontalAdvance(self._text) > self.width()
        self.setToolTip(self._text if cut else "")

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        t = theme.tokens()
        painter.setPen(t.color("muted" if self._muted else "text"))
        shown = self.fontMetrics().elidedText(self._text, Qt.TextElideMode.ElideMiddle, self.width())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, shown)


def clear(layout: QVBoxLayout) -> None:
    """Take everything out of a column."""
    while (item := layout.takeAt(0)) is not None:
        widget = item.widget()
        if widget is not None:
            widget.hide()
            widget.deleteLater()
        elif item.layout() is not None:
            inner = item.layout()
            assert isinstance(inner, QVBoxLayout)
            clear(inner)


def gigabytes(number: int | float) -> str:
    """``0.27 GB``: decimal, two figures below ten."""
    value = number / 1e9
    return f"{value:.2f} GB" if value < 1 else f"{value:.1f} GB"
