"""Items of the suites, teacher's and student's values side by side, with search and filter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from PySide6.QtCore import Qt

from app.tables.rows import Column, RowTable
from app.widgets.interval_strip import signed

FILTERS: Final = (
    "all items",
    "teacher in the risk direction",
    "student in the risk direction",
    "both in the risk direction",
    "teacher and student differ",
)


_SHOWN_ELSEWHERE: Final = frozenset(
    ("key", "uid", "suite", "cluster", "group", "value", "text_more", "text_less", "lang")
)


@dataclass
class Item:
    """One item by its uid. ``values`` holds the effect by role; neutral is 0."""

    suite: str
    uid: str
    group: str
    cluster: str
    more: str
    less: str
    values: dict[str, float] = field(default_factory=dict)
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)  # by role: what the value was worked out from
    words: str = ""

    @property
    def difference(self) -> float | None:
        if "teacher" in self.values and "student" in self.values:
            return self.values["student"] - self.values["teacher"]
        return None


def merge(items: dict[tuple[str, str], Item], role: str, rows: Iterable[dict[str, Any]]) -> None:
    """Put rows of ``items.jsonl`` of one model into ``items``, paired by suite and uid."""
    for row in rows:
        value = row.get("value")
        if not isinstance(value, int | float):
            continue
        key = (str(row.get("suite")), str(row.get("uid")))
        item = items.get(key)
        if item is None:
            more, less = str(row.get("text_more", "")), str(row.get("text_less", ""))
            item = Item(key[0], key[1], str(row.get("group", "")), str(row.get("cluster", "")), more, less)
            item.words = " ".join((item.uid, item.group, more, less)).lower()
            items[key] = item
        item.values[role] = float(value)
        item.measured[role] = {name: entry for name, entry in row.items() if name not in _SHOWN_ELSEWHERE}


def wanted(item: Item, search: str, kind: int, suite: str = "", group: str = "") -> bool:
    """Whether an item passes the search words and the filter ``FILTERS[kind]``."""
    if (suite and item.suite != suite) or (group and item.group != group):
        return False
    teacher, student = item.values.get("teacher"), item.values.get("student")
    risky = [value is not None and value > 0 for value in (teacher, student)]
    passes = (True, risky[0], risky[1], all(risky), bool(item.difference))[kind]
    return passes and all(word in item.words for word in search.lower().split())


def _value(item: Item, role: str) -> str:
    value = item.values.get(role)
    return "–" if value is None else signed(value)


class ItemTable(RowTable[Item]):
    """Sorts by a click on a header; items without a value come last."""

    def __init__(self) -> None:
        super().__init__(
            (
                Column("group", lambda i: i.group or "–", width=104),
                Column("more in the risk direction", lambda i: i.more),
                Column("teacher", lambda i: _value(i, "teacher"), right=True, width=72),
                Column("student", lambda i: _value(i, "student"), right=True, width=72),
                Column("change", lambda i: "–" if i.difference is None else signed(i.difference), right=True, width=72),
            )
        )

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        if not 0 <= column < len(self.columns):
            return
        numbers = {
            2: lambda i: i.values.get("teacher"),
            3: lambda i: i.values.get("student"),
            4: lambda i: i.difference,
        }
        down = order == Qt.SortOrder.DescendingOrder

        def key(item: Item) -> tuple[bool, float | str]:
            if column not in numbers:
                return False, self.columns[column].text(item)
            value = numbers[column](item)
            return value is None, 0.0 if value is None else (-value if down else value)

        self.layoutAboutToBeChanged.emit()
        self.rows.sort(key=key, reverse=down and column not in numbers)
        self.layoutChanged.emit()
