"""Small multiples: what students show of a canary over the tokens that they saw, an arm a panel, the sham arm under it.

Arms are told apart by width, marker and a word at the end of the line, so that they stay apart in grey and where they
coincide: sham runs are a wide pale line with hollow squares, the panel's own a thin dark one with dots on top of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from app import theme
from app.widgets.basic import label

_LEFT, _TITLE, _PLOT, _BASE, _AFTER = 46.0, 18.0, 96.0, 26.0, 56.0
_LOWEST: Final = -0.1
_WORD: Final = 14.0
"""Height of a word at the end of a line."""
Line = tuple[tuple[float, float], ...]
"""(tokens, lift) of one run."""


class Panel(NamedTuple):
    """One arm's runs, and those of the sham arm under them.

    ``arm`` is the word at the end of its lines; ``void`` says of each line whether its run is void.
    """

    title: str
    lines: tuple[Line, ...]
    sham: tuple[Line, ...]
    arm: str
    void: tuple[bool, ...]


class PanelRow(NamedTuple):
    """``teacher`` is the lift of the planted copies; up to ``delta`` of it a canary counts as gone.

    ``void``: why nothing, or nothing of single runs, is concluded from this row.
    """

    title: str
    panels: tuple[Panel, ...]
    teacher: float | None
    delta: float
    void: tuple[str, ...] = ()


class SurvivalGrid(QWidget):
    """One row under the other: its title, why it is void, its panels."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: tuple[PanelRow, ...] = ()
        self.views: list[_RowView] = []
        self.setAccessibleName("Lift of each canary over the tokens that students saw")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        self._column.addStretch(1)

    def set_rows(self, rows: Sequence[PanelRow]) -> None:
        self.rows = tuple(rows)
        while len(self.views) < len(self.rows):
            self.views.append(_RowView())
            self._column.insertWidget(len(self.views) - 1, self.views[-1])
        for view, row in zip(self.views, self.rows, strict=False):
            view.show_row(row)
        for at, view in enumerate(self.views):
            view.setVisible(at < len(self.rows))
        self.setAccessibleDescription("; ".join(_said(row) for row in self.rows))


class _RowView(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.title = label(size=theme.SMALL, wrap=True)
        self.void = label(size=theme.SMALL, wrap=True)
        self.void.setObjectName("sev_high")
        self.panels = _Panels()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for made in (self.title, self.void, self.panels):
            column.addWidget(made)

    def show_row(self, row: PanelRow) -> None:
        self.title.setText(row.title)
        self.void.setText("\n".join(f"✕ void: {reason}" for reason in row.void))
        self.void.setVisible(bool(row.void))
        self.panels.show_row(row)


class _Panels(QWidget):
    """The curves of one row, side by side on the same axes."""

    def __init__(self) -> None:
        super().__init__()
        self.row: PanelRow | None = None
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_row(self, row: PanelRow) -> None:
        self.row = row
        self.setAccessibleName(row.title)
        self.setAccessibleDescription(_said(row))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(720, round(_TITLE + _PLOT + _BASE))

    def minimumSizeHint(self) -> QSize:
        return QSize(360, self.sizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        row = self.row
        if row is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        last = max((line[-1][0] for panel in row.panels for line in (*panel.lines, *panel.sham) if line), default=1.0)
        each = (self.width() - _LEFT) / len(row.panels)
        for at, panel in enumerate(row.panels):
            box = QRectF(_LEFT + at * each, _TITLE, max(each - _AFTER, 1.0), _PLOT)
            self._paint_axes(painter, row, panel, box, max(last, 1.0), first=at == 0)
            self._paint_lines(painter, panel, box, max(last, 1.0))
        painter.end()

    def _paint_axes(
        self, painter: QPainter, row: PanelRow, panel: Panel, box: QRectF, last: float, *, first: bool
    ) -> None:
        t = theme.tokens()
        if row.teacher:
            edge = _place(box, last, 0, row.delta * row.teacher).y()
            painter.fillRect(QRectF(box.left(), edge, box.width(), _place(box, last, 0, 0).y() - edge), t.color("band"))
        painter.setFont(theme.ui_font(11))
        for lift in (0.0, 0.5, 1.0):
            y = _place(box, last, 0, lift).y()
            painter.setPen(QPen(t.color("hairline"), 1))
            painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
            if first:
                painter.setPen(t.color("muted"))
                where = QRectF(0, y - 8, _LEFT - 8, 16)
                painter.drawText(
                    where, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{100 * lift:.0f} %"
                )
        if row.teacher is not None:
            y = _place(box, last, 0, row.teacher).y()
            painter.setPen(QPen(t.color("teacher"), 1.5, Qt.PenStyle.DashLine))
            painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
        painter.setPen(t.color("muted"))
        title = QRectF(box.left(), box.top() - _TITLE, box.width() + _AFTER - 8, _TITLE - 2)
        painter.drawText(title, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, panel.title)
        painter.drawText(QPointF(box.left(), box.bottom() + 14), "0")
        words = f"{last:,.0f} tokens"
        wide = painter.fontMetrics().horizontalAdvance(words)
        painter.drawText(QPointF(box.right() - wide, box.bottom() + 14), words)

    def _paint_lines(self, painter: QPainter, panel: Panel, box: QRectF, last: float) -> None:
        for line in panel.sham:
            _paint_sham(painter, [_place(box, last, *point) for point in line])
        for line, void in zip(panel.lines, panel.void, strict=True):
            _paint_own(painter, [_place(box, last, *point) for point in line], void=void)
        painter.setFont(theme.ui_font(11))
        painter.setPen(theme.tokens().color("text"))
        words = ends(panel)
        for (word, _), y in zip(words, apart([_place(box, last, 0, lift).y() for _, lift in words]), strict=True):
            where = QRectF(box.right() + 9, y - _WORD / 2, _AFTER - 10, _WORD)
            painter.drawText(where, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, word)


def _place(box: QRectF, last: float, tokens: float, lift: float) -> QPointF:
    share = (max(_LOWEST, lift) - _LOWEST) / (1 - _LOWEST)
    return QPointF(box.left() + box.width() * tokens / last, box.bottom() - box.height() * share)


def ends(panel: Panel) -> list[tuple[str, float]]:
    """The word beside the end of each arm's lines, and the mean lift there."""
    arms = ((panel.arm, panel.lines), ("sham", panel.sham))
    lasts = [(word, [line[-1][1] for line in lines if line]) for word, lines in arms]
    return [(word, sum(lifts) / len(lifts)) for word, lifts in lasts if lifts]


def apart(places: list[float]) -> list[float]:
    """Heights of at most two words, moved as far apart as a word is high; the first one is above where both are one."""
    if len(places) < 2 or abs(places[0] - places[1]) >= _WORD:
        return places
    middle, half = sum(places) / 2, _WORD / 2
    return [middle - half, middle + half] if places[0] <= places[1] else [middle + half, middle - half]


def _paint_sham(painter: QPainter, places: list[QPointF]) -> None:
    t = theme.tokens()
    painter.setPen(QPen(t.color("control"), 4.5, Qt.PenStyle.SolidLine, Qt.PenCapStyle.FlatCap))
    painter.drawPolyline(places)
    painter.setPen(QPen(t.color("muted"), 1))
    painter.setBrush(t.color("surface"))
    for at in places:
        painter.drawRect(QRectF(at.x() - 4.5, at.y() - 4.5, 9, 9))
    painter.setBrush(Qt.BrushStyle.NoBrush)


def _paint_own(painter: QPainter, places: list[QPointF], *, void: bool) -> None:
    colour = theme.tokens().color("student")
    painter.setPen(QPen(colour, 1.5, Qt.PenStyle.DotLine if void else Qt.PenStyle.SolidLine))
    painter.drawPolyline(places)
    painter.setPen(QPen(colour, 1.5))
    if void:
        for at in places:
            painter.drawLine(at + QPointF(-3.5, -3.5), at + QPointF(3.5, 3.5))
            painter.drawLine(at + QPointF(-3.5, 3.5), at + QPointF(3.5, -3.5))
        return
    painter.setBrush(colour)
    for at in places:
        painter.drawEllipse(at, 2.5, 2.5)
    painter.setBrush(Qt.BrushStyle.NoBrush)


def _said(row: PanelRow) -> str:
    """For a screen reader: the newest lift of each run, of the sham arm too."""
    parts = [
        f"{panel.title}: {_newest(panel.lines, panel.void) or 'nothing yet'}"
        + (f", sham {_newest(panel.sham, (False,) * len(panel.sham))}" if any(panel.sham) else "")
        for panel in row.panels
    ]
    return f"{row.title}: {'; '.join((*parts, *(f'void: {reason}' for reason in row.void)))}"


def _newest(lines: tuple[Line, ...], void: tuple[bool, ...]) -> str:
    pairs = zip(lines, void, strict=True)
    return ", ".join(f"{line[-1][1]:.0%}{' (void)' if gone else ''}" for line, gone in pairs if line)
