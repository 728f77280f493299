"""A card that does one thing: a title, a line under it, a key."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QAction, QFont, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QSizePolicy

from app import theme


class ActionCard(QAbstractButton):
    """Follows the action that it stands for: pressed runs it, disabled where it is."""

    def __init__(self, action: QAction, detail: str, *, keys: str = "") -> None:
        super().__init__()
        self._detail = detail
        self._keys = keys or action.shortcut().toString()
        self.setText(action.text())
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.clicked.connect(lambda _checked=False: action.trigger())
        action.changed.connect(lambda: self.setEnabled(action.isEnabled()))
        self.setEnabled(action.isEnabled())
        self.set_detail(detail)

    def set_detail(self, detail: str) -> None:
        self._detail = detail
        self.setAccessibleName(self.text())
        self.setAccessibleDescription(detail)
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(208, 68)

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        lit = self.isEnabled() and (self.underMouse() or self.isDown())
        painter.setBrush(t.color("sunken" if lit else "surface" if self.isEnabled() else "window"))
        painter.setPen(QPen(t.color("accent" if self.hasFocus() else "hairline"), 1))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 8, 8)
        painter.setPen(t.color("text" if self.isEnabled() else "muted"))
        painter.setFont(theme.ui_font(theme.BODY, QFont.Weight.DemiBold))
        width = self.width() - 32
        painter.drawText(QRectF(16, 14, width, 20), Qt.AlignmentFlag.AlignVCenter, self.text())
        painter.setPen(t.color("muted"))
        painter.setFont(theme.ui_font(theme.SMALL))
        detail = painter.fontMetrics().elidedText(self._detail, Qt.TextElideMode.ElideRight, width)
        painter.drawText(QRectF(16, 36, width, 18), Qt.AlignmentFlag.AlignVCenter, detail)
        painter.setFont(theme.ui_font(10))
        painter.drawText(
            QRectF(16, 14, width, 20), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, self._keys
        )
