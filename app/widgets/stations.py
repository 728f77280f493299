"""The stages of a scan as stations on one line: what is done, what runs, what waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFont, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme

StationState = Literal["waiting", "running", "done", "stopped"]
_DOT = 8.0


@dataclass(frozen=True)
class Station:
    """One stage. ``share`` is the part of it that is done, in [0, 1]; ``note`` is the live line under the title."""

    key: str
    title: str
    note: str = ""
    state: StationState = "waiting"
    share: float = 0.0


class Stations(QWidget):
    """Draws the stations evenly spaced; the line is dark as far as the work has come."""

    def __init__(self, stations: Sequence[Station] = (), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.stations: tuple[Station, ...] = ()
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.set_stations(stations)

    def set_stations(self, stations: Sequence[Station]) -> None:
        self.stations = tuple(stations)
        self.setAccessibleName("Stages")
        self.setAccessibleDescription("; ".join(f"{s.title}: {s.state}, {s.note}".rstrip(", ") for s in self.stations))
        self.update()

    def sizeHint(self) -> QSize:
        return QSize(600, 64)

    def minimumSizeHint(self) -> QSize:
        return QSize(240, 64)

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.stations:
            return
        t = theme.tokens()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        step = self.width() / len(self.stations)
        y = _DOT + 3
        centres = [step * (number + 0.5) for number in range(len(self.stations))]
        for number in range(len(centres) - 1):
            here, after = self.stations[number], self.stations[number + 1]
            left, right = centres[number] + _DOT, centres[number + 1] - _DOT
            painter.setPen(QPen(t.color("hairline"), 2))
            painter.drawLine(QPointF(left, y), QPointF(right, y))
            share = 1.0 if after.state in ("running", "done", "stopped") else here.share * (here.state == "running")
            if share > 0:
                painter.setPen(QPen(t.color("text"), 2))
                painter.drawLine(QPointF(left, y), QPointF(left + (right - left) * min(1.0, share), y))
        for station, x in zip(self.stations, centres, strict=True):
            self._paint_station(painter, station, QPointF(x, y), step)
        painter.end()

    def _paint_station(self, painter: QPainter, station: Station, centre: QPointF, width: float) -> None:
        t = theme.tokens()
        waiting = station.state == "waiting"
        painter.setPen(QPen(t.color("hairline" if waiting else "text"), 2))
        painter.setBrush(t.color("text" if station.state == "done" else "surface"))
        painter.drawEllipse(centre, _DOT - 1, _DOT - 1)
        if station.state == "running":  # a ring that closes as the stage goes on
            painter.setPen(QPen(t.color("accent"), 2))
            box = QRectF(centre.x() - _DOT - 2, centre.y() - _DOT - 2, 2 * _DOT + 4, 2 * _DOT + 4)
            painter.drawArc(box, 90 * 16, -round(360 * 16 * station.share))
        elif station.state == "stopped":
            painter.drawLine(centre + QPointF(-3, 0), centre + QPointF(3, 0))
        top = centre.y() + _DOT + 6
        line = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        weight = QFont.Weight.DemiBold if station.state == "running" else QFont.Weight.Normal
        painter.setFont(theme.ui_font(theme.BODY, weight))
        painter.setPen(t.color("muted" if waiting else "text"))
        left = centre.x() - width / 2
        painter.drawText(QRectF(left, top, width, 18), line, station.title)
        painter.setFont(theme.ui_font(11))
        painter.setPen(t.color("muted"))
        note = painter.fontMetrics().elidedText(station.note, Qt.TextElideMode.ElideRight, round(width) - 8)
        painter.drawText(QRectF(left, top + 19, width, 16), line, note)
