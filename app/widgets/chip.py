"""The chips in the header: which model stands in which place."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDropEvent, QFont, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton

from app import theme
from app.context import ModelChoice

NAME_WIDTH = 190


def precision(choice: ModelChoice) -> str:
    """How it will be loaded: ``nf4``, ``bf16`` or, as long as nobody chose, ``auto``."""
    return choice.load.quant if choice.load.quant != "none" else choice.load.dtype


def dropped_paths(event: QDropEvent) -> list[Path]:
    """Local paths of a drop; nothing is fetched."""
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]


class ModelChip(QAbstractButton):
    """Role, name, precision and the first eight digits of the fingerprint.

    Signals:
        dropped(list[Path]): put this here instead.
    """

    dropped = Signal(list)

    def __init__(self, role: str) -> None:
        super().__init__()
        self.role = role
        self._choice: ModelChoice | None = None
        self.setAcceptDrops(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.set_choice(None)

    def set_choice(self, choice: ModelChoice | None) -> None:
        self._choice = choice
        self.setEnabled(True)
        name = choice.name if choice else "none yet"
        self.setText(f"{self.role} {name}")
        self.setAccessibleName(f"{self.role.capitalize()}: {name}")
        self.setToolTip(
            f"{choice.ref}\nClick swaps teacher and student, drop replaces"
            if choice
            else "Click opens a folder, or drop a model here"
        )
        self.updateGeometry()
        self.update()

    def _parts(self) -> tuple[str, str, str]:
        if self._choice is None:
            return self.role, "–", ""
        name = QFontMetrics(theme.ui_font(theme.BODY, QFont.Weight.DemiBold)).elidedText(
            self._choice.name, Qt.TextElideMode.ElideMiddle, NAME_WIDTH
        )
        tail = precision(self._choice)
        if self._choice.card is not None:
            tail += f" · {self._choice.card.fingerprint[:8]}"
        return self.role, name, tail

    def _fonts(self) -> tuple[QFont, QFont, QFont]:
        return theme.ui_font(), theme.ui_font(theme.BODY, QFont.Weight.DemiBold), theme.mono_font(11)

    def sizeHint(self) -> QSize:
        widths = [
            QFontMetrics(font).horizontalAdvance(part) for font, part in zip(self._fonts(), self._parts(), strict=True)
        ]
        return QSize(int(24 + sum(widths) + 8 * sum(w > 0 for w in widths) + 8), 28)

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setBrush(t.color("sunken" if self.underMouse() else "surface"))
        painter.setPen(QPen(t.color("accent" if self.hasFocus() else "hairline"), 1))
        painter.drawRoundedRect(box, 14, 14)
        colour = t.color(self.role)
        painter.setPen(QPen(colour, 1.5))
        painter.setBrush(colour if self._choice else Qt.BrushStyle.NoBrush)
        painter.drawEllipse(QRectF(10, self.height() / 2 - 4, 8, 8))
        x = 26
        colours = ("text" if self._choice else "muted", "text", "muted")
        for font, part, name in zip(self._fonts(), self._parts(), colours, strict=True):
            painter.setFont(font)
            painter.setPen(t.color(name))
            width = QFontMetrics(font).horizontalAdvance(part)
            painter.drawText(
                QRectF(x, 0, width + 4, self.height()), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, part
            )
            x += width + 8 if part else 0

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_paths(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        event.acceptProposedAction()
        self.dropped.emit(dropped_paths(event))
