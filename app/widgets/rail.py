"""The rail on the left: one button a page, icon over word."""

from __future__ import annotations

from PySide6.QtCore import QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFocusEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QFrame, QVBoxLayout

from app import theme
from app.widgets.icons import paint_icon


class RailButton(QAbstractButton):
    def __init__(self, title: str, icon_name: str, shortcut: str) -> None:
        super().__init__()
        self._icon = icon_name
        self.setText(title)
        self.setCheckable(True)
        self.setAutoExclusive(True)
        self.setAccessibleName(title)
        self.setToolTip(f"{title} ({shortcut})")
        self.setFont(theme.ui_font(10))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self._ring = False

    def sizeHint(self) -> QSize:
        return QSize(56, 46)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """The ring is for those who came by key."""
        self._ring = event.reason() in (Qt.FocusReason.TabFocusReason, Qt.FocusReason.BacktabFocusReason)
        super().focusInEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(self.rect()).adjusted(2, 1, -2, -1)
        if self.isChecked() or self.underMouse():
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(t.color("sunken"))
            painter.drawRoundedRect(box, theme.RADIUS, theme.RADIUS)
        if self.hasFocus() and self._ring:
            painter.setPen(t.color("accent"))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), theme.RADIUS, theme.RADIUS)
        colour = t.color("text" if self.isChecked() else "muted")
        paint_icon(painter, self._icon, QRectF(self.width() / 2 - 9, 6, 18, 18), colour)
        painter.setPen(colour)
        painter.drawText(QRect(0, 26, self.width(), 16), Qt.AlignmentFlag.AlignCenter, self.text())


class Rail(QFrame):
    """Signals: chosen(name)."""

    chosen = Signal(str)

    def __init__(self, pages: list[tuple[str, str, str]]) -> None:
        """``pages`` are (name, title, icon)."""
        super().__init__()
        self.setObjectName("rail")
        self.setFixedWidth(64)
        self.setAccessibleName("Pages")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 10, 4, 10)
        layout.setSpacing(2)
        group = QButtonGroup(self)
        self.buttons: dict[str, RailButton] = {}
        for number, (name, title, icon_name) in enumerate(pages, start=1):
            made = RailButton(title, icon_name, f"Ctrl+{number}")
            made.clicked.connect(lambda _checked=False, name=name: self.chosen.emit(name))
            group.addButton(made)
            layout.addWidget(made)
            self.buttons[name] = made
        layout.addStretch(1)

    def show_chosen(self, name: str) -> None:
        self.buttons[name].setChecked(True)
