"""Printed pages on the screen, and the thread that sets them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QPixmap, QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QScrollArea, QVBoxLayout, QWidget

from app import theme
from app.widgets.basic import clear

PAPER: Final = 860  # widest page on screen, in pixels


class Work(QObject):
    """Runs a function on one thread beside the window's and comes back with its result or its error.

    Signals:
        done(object, object, object): the key, the result, the error (one of the two is None).
    """

    done = Signal(object, object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="typst")

    def run(self, key: object, function: Callable[[], object]) -> None:
        def tell(future: Future[object]) -> None:
            error = future.exception()
            with contextlib.suppress(RuntimeError):  # the page went away meanwhile
                self.done.emit(key, None if error else future.result(), error)

        self._pool.submit(function).add_done_callback(tell)

    def wait(self) -> None:
        self._pool.shutdown(wait=True)


class PaperView(QScrollArea):
    """Pages one under the other, as wide as the place allows; paper is white in the dark scheme too."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName("The scorecard as it will print")
        self.pages: list[QPixmap] = []
        self.labels: list[QLabel] = []
        inner = QWidget()
        inner.setObjectName("page")
        self._column = QVBoxLayout(inner)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(16)
        self.setWidget(inner)

    def set_pages(self, images: list[bytes]) -> None:
        clear(self._column)
        self.pages, self.labels = [], []
        for number, image in enumerate(images, start=1):
            pixmap = QPixmap()
            pixmap.loadFromData(image)
            shown = QLabel()
            shown.setAccessibleName(f"Page {number} of {len(images)}")
            shown.setStyleSheet(f"border: 1px solid {theme.tokens().hairline};")
            self.pages.append(pixmap)
            self.labels.append(shown)
            self._column.addWidget(shown, 0, Qt.AlignmentFlag.AlignHCenter)
        self._column.addStretch(1)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        ratio = self.devicePixelRatioF()
        width = max(200, min(PAPER, self.viewport().width() - 8))
        for pixmap, shown in zip(self.pages, self.labels, strict=True):
            fitted = pixmap.scaledToWidth(round(width * ratio), Qt.TransformationMode.SmoothTransformation)
            fitted.setDevicePixelRatio(ratio)
            shown.setPixmap(fitted)
