"""Suites by risk class, each with a tick; the user's own below the shipped ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QFrame, QTreeWidget, QTreeWidgetItem, QWidget

_KEY: Final = Qt.ItemDataRole.UserRole
_ROW: Final = 26


class SuiteTree(QTreeWidget):
    """Two levels: classes, which tick all of theirs, and suites.

    Signals:
        suite_chosen(key): another suite is the current one; "" on a class.
        ticks_changed: what would run is another set.
    """

    suite_chosen = Signal(str)
    ticks_changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setHeaderHidden(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setIndentation(16)
        self.setUniformRowHeights(True)
        self.setAccessibleName("Suites to run")
        self.currentItemChanged.connect(lambda item, _before: self.suite_chosen.emit(self._key(item)))
        self.itemChanged.connect(lambda _item, _column: self.ticks_changed.emit())

    def set_suites(self, groups: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> None:
        """Fill from (class title, [(key, suite title)]); keeps the ticks of suites that were there."""
        off = {key for key in self.keys() if key not in self.ticked()}
        self.blockSignals(True)
        self.clear()
        for title, suites in groups:
            parent = QTreeWidgetItem(self, [title])
            parent.setFlags(parent.flags() | Qt.ItemFlag.ItemIsAutoTristate | Qt.ItemFlag.ItemIsUserCheckable)
            parent.setSizeHint(0, QSize(0, _ROW))
            for key, name in suites:
                child = QTreeWidgetItem(parent, [name])
                child.setData(0, _KEY, key)
                child.setToolTip(0, name)
                child.setSizeHint(0, QSize(0, _ROW))
                child.setCheckState(0, Qt.CheckState.Unchecked if key in off else Qt.CheckState.Checked)
            parent.setExpanded(True)
        self.blockSignals(False)
        first = next(self._suites(), None)
        if first is not None:
            self.setCurrentItem(first)
        self.ticks_changed.emit()

    def keys(self) -> tuple[str, ...]:
        return tuple(self._key(item) for item in self._suites())

    def ticked(self) -> tuple[str, ...]:
        checked = Qt.CheckState.Checked
        return tuple(self._key(item) for item in self._suites() if item.checkState(0) == checked)

    def tick(self, key: str, on: bool) -> None:
        for item in self._suites():
            if self._key(item) == key:
                item.setCheckState(0, Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    def choose(self, key: str) -> None:
        for item in self._suites():
            if self._key(item) == key:
                self.setCurrentItem(item)

    def chosen(self) -> str:
        return self._key(self.currentItem())

    def _suites(self) -> Iterator[QTreeWidgetItem]:
        for at in range(self.topLevelItemCount()):
            parent = self.topLevelItem(at)
            children = (parent.child(index) for index in range(parent.childCount())) if parent is not None else ()
            yield from (child for child in children if child is not None)

    @staticmethod
    def _key(item: QTreeWidgetItem | None) -> str:
        return str(item.data(0, _KEY) or "") if item is not None else ""
