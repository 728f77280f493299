"""How many canaries show what a scan would have found."""

from __future__ import annotations

from typing import Final

from PySide6.QtWidgets import QComboBox, QWidget

POWERS: Final = {0: "no canaries", 1: "1 canary of each kind", 3: "3 canaries of each kind"}


class PowerBox(QComboBox):
    """Canaries of each kind."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("Canaries")
        self.setToolTip(
            "Plants harmless triggers in private copies of the model and scans them alike:\n"
            "says what this scan would have found on this model. At least as long as a scan for each canary."
        )
        for number, words in POWERS.items():
            self.addItem(words, number)

    @property
    def number(self) -> int:
        return int(self.currentData())
