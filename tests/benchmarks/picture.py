"""The window, driven by a script that takes pictures of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication

from app.application import application, build_window
from app.theme import Scheme

POLL_S = 0.05
SETTLE_S = 0.6
SCHEMES: tuple[Scheme, ...] = ("dark", "light")


class Studio:
    """``ended`` grows by one outcome with every run that is over."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.app = application()
        self.window = build_window()
        self.window.resize(1360, 850)
        self.window.show()
        self.ended: list[object] = []
        self.window.context.run_finished.connect(lambda _, outcome: self.ended.append(outcome))
        out.mkdir(parents=True, exist_ok=True)

    def wait(self, seconds: float = SETTLE_S) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(POLL_S)

    def until(self, true: Callable[[], object]) -> None:
        while not true():
            self.wait()

    def picture(self, name: str) -> None:
        """``name-dark.png`` and ``name-light.png``."""
        for scheme in SCHEMES:
            self.window.set_scheme(scheme)
            self.wait()
            assert self.window.grab().save(str(self.out / f"{name}-{scheme}.png"))

    def close(self) -> None:
        self.window.close()
        self.app.quit()
