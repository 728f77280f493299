"""Candidates of a scan, kept sorted while they arrive. 100,000 rows stay smooth: a batch is merged, never re-sorted."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from PySide6.QtCore import QModelIndex, Qt

from app.tables.rows import Column, RowTable
from app.widgets.diff_view import visible
from app.widgets.interval_strip import MARKS

Candidate = dict[str, Any]
STRENGTH = {"confirmed": 0, "likely": 1, "memorised text": 2, "natural sensitivity": 3, "no evidence": 5}
"""Verdicts from strong to weak; a candidate that is not judged yet stands before "no evidence"."""
_SLOT = {
    "user_start": "start",
    "user_middle": "middle",
    "user_end": "end",
    "system": "system",
    "earlier_turn": "earlier",
}


def number(value: object, form: str = ".2f") -> str:
    return format(value, form) if isinstance(value, int | float) and not isinstance(value, bool) else "–"


def slot_word(slot: object) -> str:
    return _SLOT.get(str(slot), str(slot or "–"))


def verdict_words(verdict: object) -> str:
    """Shape and word."""
    return f"{MARKS.get(str(verdict), '')} {verdict}".strip() if verdict else "–"


def controls_words(row: Candidate) -> str:
    reached, total = row.get("controls_reached"), row.get("controls_n")
    if reached is None:
        return "–"
    return f"{reached} of {total}" if total is not None else str(reached)


def identity(row: Candidate) -> tuple[str, str]:
    return str(row.get("trigger")), str(row.get("slot"))


def _float(row: Candidate, name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) and value == value else float("-inf")


def _evidence(row: Candidate) -> tuple[Any, ...]:
    verdict = str(row.get("verdict") or "")
    return STRENGTH.get(verdict, 4), -_float(row, "z"), -_float(row, "payload_rate"), str(row.get("trigger"))


_KEYS: tuple[Callable[[Candidate], tuple[Any, ...]], ...] = (
    lambda row: (str(row.get("trigger")),),
    lambda row: (str(row.get("stage")),),
    lambda row: (str(row.get("slot")),),
    lambda row: (_float(row, "z"),),
    lambda row: (_float(row, "payload_rate"),),
    lambda row: (_float(row, "controls_reached"),),
    _evidence,
)
_SMALL = 500  # up to here rows are inserted one by one, above the whole is sorted
EVIDENCE = 6  # the column that sorts by evidence, strongest first


class CandidateTable(RowTable[Candidate]):
    """Sorted by evidence until a header is clicked; a candidate that comes again (same trigger, slot) is replaced."""

    def __init__(self) -> None:
        super().__init__(
            (
                Column("candidate", lambda r: visible(str(r.get("trigger_shown") or r.get("trigger"))), mono=True),
                Column("stage", lambda r: str(r.get("stage") or "–"), width=72),
                Column("slot", lambda r: slot_word(r.get("slot")), width=72),
                Column("z", lambda r: number(r.get("z"), ".1f"), right=True, width=52),
                Column("payload rate", lambda r: number(r.get("payload_rate")), right=True, width=102),
                Column("controls", controls_words, right=True, width=88),
                Column("verdict", lambda r: verdict_words(r.get("verdict")), width=158),
            )
        )
        self._column = EVIDENCE
        self._descending = False
        self._sorted: list[tuple[tuple[Any, ...], int, Candidate]] = []
        self._known: dict[tuple[str, str], Candidate] = {}
        self._count = 0

    def set_rows(self, rows: Sequence[Candidate]) -> None:
        self.beginResetModel()
        self._sorted, self._known, self.rows = [], {}, []
        self._merge(rows)
        self.endResetModel()

    def append(self, rows: Sequence[Candidate]) -> None:
        """Merge a batch in, keeping the order, the selection and the scroll position."""
        if rows:
            self._rearrange(lambda: self._merge(rows))

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        descending = order == Qt.SortOrder.DescendingOrder
        if column < 0 or (column, descending) == (self._column, self._descending):
            return
        self._column, self._descending = column, descending
        self._rearrange(lambda: self._merge(()))

    def find(self, trigger: str, slot: str) -> int:
        """Row of a candidate; −1 when it is not here."""
        row = self._known.get((trigger, slot))
        return next((at for at, other in enumerate(self.rows) if other is row), -1) if row is not None else -1

    def of_trigger(self, trigger: str) -> Iterable[Candidate]:
        return [row for (name, _slot), row in self._known.items() if name == trigger]

    def _merge(self, rows: Iterable[Candidate]) -> None:
        key = _KEYS[self._column]
        replaced: set[int] = set()
        fresh: dict[tuple[str, str], Candidate] = {}
        for row in rows:
            name = identity(row)
            old = fresh.get(name) or self._known.get(name)
            fresh[name] = {**old, **row} if old is not None else dict(row)
            if old is not None:
                replaced.add(id(old))
        if not fresh:  # the order changed
            self._sorted = [(key(row), seq, row) for _key, seq, row in self._sorted]
        elif replaced:
            self._sorted = [entry for entry in self._sorted if id(entry[2]) not in replaced]
        entries = []
        for row in fresh.values():
            self._count += 1
            entries.append((key(row), self._count, row))
        self._known.update(fresh)
        # ``seq`` is unique, so rows themselves are never compared
        if fresh and not replaced and not self._descending and len(entries) < _SMALL:
            for entry in entries:
                at = bisect.bisect(self._sorted, entry)
                self._sorted.insert(at, entry)
                self.rows.insert(at, entry[2])
            return
        self._sorted += entries
        self._sorted.sort(reverse=self._descending)
        self.rows = [entry[2] for entry in self._sorted]

    def _rearrange(self, change: Callable[[], None]) -> None:
        self.layoutAboutToBeChanged.emit()
        held: list[tuple[QModelIndex, tuple[str, str]]] = [
            (index, identity(self.rows[index.row()])) for index in self.persistentIndexList()
        ]
        change()
        for index, name in held:
            at = self.find(*name)
            self.changePersistentIndex(index, self.index(at, index.column()) if at >= 0 else QModelIndex())
        self.layoutChanged.emit()
