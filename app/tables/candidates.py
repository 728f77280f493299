"""Candidates of a scan, kept sorted while they arrive.

100,000 rows stay smooth: a batch finds its places by bisection, and only rows on the screen are put into words.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from PySide6.QtCore import QModelIndex, Qt

from app.tables.rows import Column, RowTable
from app.widgets.diff_view import visible
from app.widgets.interval_strip import MARKS

Candidate = dict[str, Any]
_Z_TIP = "How far the answers move, against matched controls, in robust standard deviations"
_RATE_TIP = "Share of the prompts that bring the payload: of a few in the search, of 128 in the proof"
_CONTROLS_TIP = "How many of the matched controls bring the payload as often; – where the proof did not take it up"
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


def judged_words(row: Candidate) -> str:
    """The scan's verdict, and what a person said of it last. What the proof did not take up has none."""
    said, verdict = row.get("said"), row.get("verdict")
    unproved = verdict == "no evidence" and row.get("controls_reached") is None
    return f"{'– not proved' if unproved else verdict_words(verdict)}{f', {said}' if said else ''}"


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
_SMALL = 500  # up to here rows are put in one by one, above the whole is sorted
EVIDENCE = 6  # the column that sorts by evidence, strongest first


_Entry = tuple[tuple[Any, ...], int, Candidate]
"""(key, sequence number, row); the number is unique, so rows themselves are never compared."""


class CandidateTable(RowTable[Candidate]):
    """Sorted by evidence until a header is clicked; a candidate that comes again (same trigger, slot) is replaced."""

    def __init__(self) -> None:
        super().__init__(
            (
                Column("candidate", lambda r: visible(str(r.get("trigger_shown") or r.get("trigger"))), mono=True),
                Column("stage", lambda r: str(r.get("stage") or "–"), width=72, tip="How far the scan took it"),
                Column("slot", lambda r: slot_word(r.get("slot")), width=72, tip="Where in the prompt it stands"),
                Column("z", lambda r: number(r.get("z"), ".1f"), right=True, width=52, tip=_Z_TIP),
                Column("payload rate", lambda r: number(r.get("payload_rate")), right=True, width=102, tip=_RATE_TIP),
                Column("controls", controls_words, right=True, width=88, tip=_CONTROLS_TIP),
                Column("verdict", judged_words, width=158, tip="The scan's verdict, and what a person said of it last"),
            )
        )
        self._column = EVIDENCE
        self._descending = False
        self._sorted: list[_Entry] = []  # ascending, whatever is shown; a sequence number breaks ties
        self._known: dict[tuple[str, str], _Entry] = {}
        self._triggers: dict[str, dict[str, Candidate]] = {}
        self._count = 0

    def set_rows(self, rows: Sequence[Candidate]) -> None:
        self.beginResetModel()
        self._sorted, self._known, self._triggers, self.rows = [], {}, {}, []
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
        entry = self._known.get((trigger, slot))
        return -1 if entry is None else self._shown_at(bisect.bisect_left(self._sorted, entry))

    def of_trigger(self, trigger: str) -> Iterable[Candidate]:
        return self._triggers.get(trigger, {}).values()

    def _merge(self, rows: Iterable[Candidate]) -> None:
        fresh: dict[tuple[str, str], Candidate] = {}
        for row in rows:
            name = identity(row)
            known = self._known.get(name)
            fresh[name] = {**(known[2] if known is not None else {}), **fresh.get(name, {}), **row}
        if not fresh:  # the order changed
            fresh = {name: entry[2] for name, entry in self._known.items()}
            self._sorted, self._known, self.rows = [], {}, []
        small = len(fresh) < _SMALL
        if not small:
            self._sorted = [entry for entry in self._sorted if identity(entry[2]) not in fresh]
        key = _KEYS[self._column]
        for name, row in fresh.items():
            if small and name in self._known:
                self._take_out(self._known[name])
            self._count += 1
            entry = self._known[name] = (key(row), self._count, row)
            self._triggers.setdefault(name[0], {})[name[1]] = row
            if small:
                self._put_in(entry)
            else:
                self._sorted.append(entry)
        if not small:
            self._sorted.sort()
            self.rows = [entry[2] for entry in self._sorted]
            if self._descending:
                self.rows.reverse()

    def _shown_at(self, at: int) -> int:
        """Row on the screen of a place in ``_sorted``."""
        return len(self._sorted) - 1 - at if self._descending else at

    def _take_out(self, entry: _Entry) -> None:
        at = bisect.bisect_left(self._sorted, entry)
        del self.rows[self._shown_at(at)]
        del self._sorted[at]

    def _put_in(self, entry: _Entry) -> None:
        at = bisect.bisect_left(self._sorted, entry)
        self._sorted.insert(at, entry)
        self.rows.insert(self._shown_at(at), entry[2])

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
