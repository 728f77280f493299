"""The large drop targets of the Start page, and the still between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent, QFont, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QSizePolicy, QVBoxLayout, QWidget

from app import theme
from app.context import ModelChoice
from app.widgets.basic import ElidedLabel, button, gigabytes, label
from app.widgets.chip import dropped_paths, precision
from core.errors import ForeshotError
from core.types import Role

_CENTRE = Qt.AlignmentFlag.AlignHCenter


class DropTarget(QFrame):
    """A place for one model: dashed while it is empty, solid when it is taken.

    Signals:
        dropped(list[Path]).
    """

    dropped = Signal(list)

    def __init__(self, role: Role, choose: Callable[[], object]) -> None:
        super().__init__()
        self.role = role
        self._choice: ModelChoice | None = None
        self._over = False
        self.setAcceptDrops(True)
        self.setAccessibleName(f"Drop the {role} here")
        self.setMinimumSize(300, 196)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.heading = label(role.capitalize(), size=theme.LEAD, bold=True)
        self.heading.setObjectName(role)
        self.name = ElidedLabel(font=theme.ui_font(theme.LEAD, QFont.Weight.DemiBold))
        self.line = label(muted=True, wrap=True)
        self.line.setAlignment(_CENTRE)
        self.state = label(size=theme.SMALL, muted=True, wrap=True)
        self.state.setAlignment(_CENTRE)
        self.open = button("Open folder…", choose)
        self.open.setAccessibleName(f"Open the {role}'s folder")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 20, 24, 20)
        layout.setSpacing(8)
        layout.addStretch(1)
        layout.addWidget(self.heading, 0, _CENTRE)
        layout.addWidget(self.name, 0, _CENTRE)
        layout.addWidget(self.line)
        layout.addWidget(self.open, 0, _CENTRE)
        layout.addWidget(self.state)
        layout.addStretch(1)
        self.show_choice(None, None)

    def show_choice(self, choice: ModelChoice | None, error: ForeshotError | None) -> None:
        self._choice = choice
        self.name.setVisible(choice is not None)
        self.state.setVisible(choice is not None)
        if choice is None:
            self.line.setText("Drop a model folder, a .gguf\nor an adapter")
            self.open.setText("Open folder…")
        else:
            self.name.setText(choice.name)
            self.open.setText("Change…")
            self.line.setText(self._facts(choice, error))
            self.state.setText(self._state(choice, error))
        self.update()

    def show_words(self, name: str, line: str, state: str) -> None:
        """Something that is no model stands here."""
        for shown, text in ((self.name, name), (self.line, line), (self.state, state)):
            shown.setText(text)
            shown.setVisible(True)

    @staticmethod
    def _facts(choice: ModelChoice, error: ForeshotError | None) -> str:
        card = choice.card
        if error is not None:
            return error.message
        if card is None:
            return "reading its files…"
        parts = [(card.architecture or card.model_type or "unknown architecture").removesuffix("ForCausalLM")]
        if card.parameters:
            parts.append(parameters(card.parameters))
        parts.append(gigabytes(sum(f.bytes for f in card.files)))
        return " · ".join(parts)

    @staticmethod
    def _state(choice: ModelChoice, error: ForeshotError | None) -> str:
        if error is not None:
            return error.hint
        if choice.card is None:
            return ""
        notable = [f for f in choice.card.findings if f.severity in ("medium", "high")]
        found = (
            f"{len(notable)} file finding{'s' if len(notable) != 1 else ''}" if notable else "no notable file finding"
        )
        return f"loads as {precision(choice)} · {found}"

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(t.color("muted" if self.role == "baseline" else self.role), 2 if self._over else 1)
        if self._choice is None:
            pen.setDashPattern([4, 3])
        painter.setPen(pen)
        painter.setBrush(t.color("sunken" if self._over else "surface"))
        painter.drawRoundedRect(QRectF(self.rect()).adjusted(1, 1, -1, -1), 10, 10)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        if dropped_paths(event):
            event.acceptProposedAction()
            self._over = True
            self.update()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        self._over = False
        self.update()

    def dropEvent(self, event: QDropEvent) -> None:
        self._over = False
        self.update()
        event.acceptProposedAction()
        paths: list[Path] = dropped_paths(event)
        self.dropped.emit(paths)


def parameters(number: int) -> str:
    """``135 M``, ``7.2 B`` parameters."""
    if number >= 1_000_000_000:
        return f"{number / 1e9:.1f} B parameters"
    return f"{number / 1e6:.0f} M parameters" if number >= 1_000_000 else f"{number:,} parameters"


class Still(QWidget):
    """A pot still, drawn as a line: what the teacher holds passes over, a drop falls for the student."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedSize(190, 160)
        self.setAccessibleName("Distilled into")

    def sizeHint(self) -> QSize:
        return QSize(190, 160)

    def paintEvent(self, event: QPaintEvent) -> None:
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        line = QPen(t.color("muted"), 2, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap, Qt.PenJoinStyle.RoundJoin)
        painter.setPen(line)
        painter.drawLine(QPointF(8, 88), QPointF(44, 88))
        pot = QPainterPath(QPointF(58, 122))
        pot.cubicTo(46, 112, 42, 100, 42, 86)
        pot.cubicTo(42, 70, 50, 62, 62, 56)
        pot.cubicTo(70, 52, 72, 44, 74, 32)  # the neck
        pot.cubicTo(76, 22, 90, 20, 96, 28)
        pot.lineTo(146, 84)  # the arm
        pot.lineTo(146, 104)
        painter.drawPath(pot)
        side = QPainterPath(QPointF(94, 122))
        side.cubicTo(106, 112, 110, 100, 110, 86)
        side.cubicTo(110, 70, 102, 62, 92, 56)
        side.cubicTo(87, 53, 86, 48, 86, 42)
        painter.drawPath(side)
        painter.drawLine(QPointF(54, 122), QPointF(98, 122))
        painter.setPen(QPen(t.color("teacher"), 2))
        level = QPainterPath(QPointF(44, 94))
        level.cubicTo(60, 98, 76, 90, 92, 94)
        level.cubicTo(98, 96, 104, 96, 109, 94)
        painter.drawPath(level)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(t.color("student"))
        drop = QPainterPath(QPointF(146, 112))
        drop.cubicTo(150, 119, 152, 121, 152, 124)
        drop.cubicTo(152, 128, 149, 130, 146, 130)
        drop.cubicTo(143, 130, 140, 128, 140, 124)
        drop.cubicTo(140, 121, 142, 119, 146, 112)
        painter.drawPath(drop)
