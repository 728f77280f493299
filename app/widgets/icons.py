"""Line icons from ``resources/icons``, in the colour of the moment."""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QByteArray, QRectF
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from core.types import RESOURCES


@lru_cache(maxsize=128)
def _renderer(name: str, colour: str) -> QSvgRenderer:
    text = (RESOURCES / "icons" / f"{name}.svg").read_text().replace("currentColor", colour)
    return QSvgRenderer(QByteArray(text.encode()))


def paint_icon(painter: QPainter, name: str, rect: QRectF, colour: QColor) -> None:
    _renderer(name, colour.name()).render(painter, rect)


def icon(name: str, colour: QColor, size: int = 64) -> QIcon:
    pixmap = QPixmap(size, size)
    pixmap.fill(QColor(0, 0, 0, 0))
    painter = QPainter(pixmap)
    paint_icon(painter, name, QRectF(0, 0, size, size), colour)
    painter.end()
    return QIcon(pixmap)
