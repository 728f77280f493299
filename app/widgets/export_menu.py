"""A button that opens the list of forms in which a scorecard can be saved."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QMenu, QPushButton, QWidget

from core.report.forms import FORMS


class ExportButton(QPushButton):
    """Signals: ``chosen(str, bool)``, a form's name and whether triggers and payloads stay whole."""

    chosen = Signal(str, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Export", parent)
        self.setAccessibleName("Export the scorecard")
        self.setToolTip("Save the scorecard for other programs")
        menu = QMenu(self)
        self.forms = {}
        for name, form in FORMS.items():
            if name == "pdf":  # has a button of its own
                continue
            self.forms[name] = menu.addAction(f"{form.words}…")
            self.forms[name].triggered.connect(lambda _checked=False, name=name: self._choose(name))
        menu.addSeparator()
        self.whole = menu.addAction("Keep triggers and payloads whole")
        self.whole.setCheckable(True)
        self.whole.setToolTip("Otherwise they are cut short, with length and hash. JSON always holds everything.")
        menu.setToolTipsVisible(True)
        self.setMenu(menu)

    def _choose(self, name: str) -> None:
        self.chosen.emit(name, self.whole.isChecked())
