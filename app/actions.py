"""Every action of the window in one registry: shortcuts, menus and the command palette read the same list."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QWidget


class Actions:
    """Actions by stable id, in the order in which they were added."""

    def __init__(self, owner: QWidget) -> None:
        self._owner = owner
        self._actions: dict[str, QAction] = {}

    def add(self, name: str, text: str, callback: Callable[[], object], shortcut: str = "") -> QAction:
        """Register an action and attach it to the window. Raises ValueError for a name or shortcut taken twice."""
        taken = {a.shortcut().toString() for a in self._actions.values()} - {""}
        if name in self._actions or shortcut in taken:
            raise ValueError(f"action {name} ({shortcut}) is there already")
        action = QAction(text, self._owner)
        action.setObjectName(name)
        if shortcut:
            action.setShortcut(QKeySequence(shortcut))
        action.setStatusTip(text)
        action.triggered.connect(lambda _checked=False: callback())
        self._owner.addAction(action)
        self._actions[name] = action
        return action

    def __getitem__(self, name: str) -> QAction:
        return self._actions[name]

    def __iter__(self) -> Iterator[QAction]:
        return iter(self._actions.values())

    def matching(self, text: str) -> list[QAction]:
        """Enabled actions whose words hold every word of ``text``; those that begin with it come first."""
        words = text.lower().split()
        found = [a for a in self._actions.values() if a.isEnabled() and all(w in a.text().lower() for w in words)]
        return sorted(found, key=lambda a: not a.text().lower().startswith(text.lower().strip()))
