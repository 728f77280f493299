"""One item of a suite in full: what is compared, and what teacher and student made of it, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QVBoxLayout, QWidget

from app import theme
from app.tables.suite_items import Item
from app.widgets.basic import heading, label
from app.widgets.interval_strip import signed

_ROLES: Final = ("teacher", "student")


class SuiteItemDetail(QScrollArea):
    """Empty until an item is chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setAccessibleName("The chosen item")
        self.show_item(None)

    def show_item(self, item: Item | None) -> None:
        inner = QWidget()
        inner.setObjectName("page")
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(6)
        if item is None:
            hint = label("Choose an item to read it in full.", muted=True, wrap=True)
            hint.setAlignment(Qt.AlignmentFlag.AlignTop)
            column.addWidget(hint)
        else:
            self._fill(column, item)
        column.addStretch(1)
        self.setWidget(inner)

    def _fill(self, column: QVBoxLayout, item: Item) -> None:
        for title, text in (("More in the risk direction", item.more), ("Less", item.less)):
            if text:
                column.addWidget(heading(title))
                said = label(text, wrap=True)
                said.setFont(theme.mono_font(theme.SMALL))
                said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
                column.addWidget(said)
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(2)
        roles = [role for role in _ROLES if role in item.values]
        for at, role in enumerate(roles, 1):
            grid.addWidget(label(role, muted=True, size=theme.SMALL), 0, at, Qt.AlignmentFlag.AlignRight)
        facts = {"value": {role: signed(item.values[role]) for role in roles}} | facts_of(item.measured)
        for line, (name, by_role) in enumerate(facts.items(), 1):
            grid.addWidget(label(name, muted=True, size=theme.SMALL, wrap=True), line, 0)
            for at, role in enumerate(roles, 1):
                cell = label(by_role.get(role, "–"), size=theme.SMALL, wrap=True)
                grid.addWidget(cell, line, at, Qt.AlignmentFlag.AlignRight)
        grid.setColumnStretch(0, 1)
        column.addLayout(grid)
        column.addWidget(label(f"cluster {item.cluster} · {item.uid}", muted=True, size=theme.SMALL, wrap=True))


def facts_of(measured: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Name → role → text of what was measured; tables one level deep are laid open, and lists counted."""
    facts: dict[str, dict[str, str]] = {}
    for role, row in measured.items():
        for name, value in row.items():
            inner = value.items() if isinstance(value, Mapping) else ((None, value),)
            for part, entry in inner:
                words = name if part is None else f"{name} {part}"
                facts.setdefault(words.replace("_", " "), {})[role] = _text(entry)
    return facts


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return signed(value) if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) if len(value) <= 6 else f"{len(value)} values"
    return str(value)
