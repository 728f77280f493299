"""Columns of the run history, long and short."""

from __future__ import annotations

import datetime

from app.tables.rows import Column, RowTable
from core.runs.index import RunRow

_MARK = {"done": "●", "failed": "✕", "interrupted": "◐", "running": "▸"}


def when(moment: datetime.datetime, now: datetime.datetime | None = None) -> str:
    """``14:05`` today, ``yesterday``, ``3 days ago``, then the date."""
    now = now or datetime.datetime.now().astimezone()
    days = (now.date() - moment.date()).days
    if days <= 0:
        return moment.strftime("%H:%M")
    if days == 1:
        return "yesterday"
    return f"{days} days ago" if days < 15 else moment.strftime("%Y-%m-%d")


def status(row: RunRow) -> str:
    """Shape and word: never colour alone."""
    return f"{_MARK[row.status]} {row.status}"


def _says(row: RunRow) -> str:
    if row.summary:
        return row.summary
    return {"interrupted": "can be resumed; what was finished is kept", "running": "in progress"}.get(row.status, "–")


def history_table() -> RowTable[RunRow]:
    return RowTable[RunRow](
        (
            Column("started", lambda r: r.created.strftime("%Y-%m-%d %H:%M"), width=156),
            Column("job", lambda r: r.job, width=72),
            Column("models", lambda r: r.models, mono=True, width=320),
            Column("status", status, width=124),
            Column("what it says", _says, muted=True),
        )
    )


def recent_table() -> RowTable[RunRow]:
    return RowTable[RunRow](
        (
            Column("models", lambda r: r.models, mono=True, width=330),
            Column("job", lambda r: r.job, muted=True, width=80),
            Column("what it says", _says, muted=True),
            Column("when", lambda r: when(r.created), right=True, width=104),
        )
    )
