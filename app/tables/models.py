"""Columns of the list of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.tables.rows import Column, RowTable
from app.widgets.basic import gigabytes
from core.errors import ForeshotError
from core.types import ModelRef

if TYPE_CHECKING:
    from core.catalog import ModelCard


@dataclass(frozen=True)
class ModelRow:
    """A model of the list. ``place`` is ``teacher``, ``student``, both or ""."""

    ref: ModelRef
    place: str
    card: ModelCard | None
    error: ForeshotError | None


def _size(row: ModelRow) -> str:
    return gigabytes(sum(f.bytes for f in row.card.files)) if row.card else ""


def _parameters(row: ModelRow) -> str:
    if row.card is None or row.card.parameters is None:
        return ""
    number = row.card.parameters
    return f"{number / 1e9:.1f} B" if number >= 1e9 else f"{number / 1e6:.0f} M"


def _findings(row: ModelRow) -> str:
    if row.error is not None:
        return "unreadable"
    if row.card is None:
        return "reading…"
    high = sum(f.severity in ("medium", "high") for f in row.card.findings)
    return f"▲ {high}" if high else "–"


def models_table() -> RowTable[ModelRow]:
    return RowTable[ModelRow](
        (
            Column("model", lambda r: r.ref.name),
            Column("place", lambda r: r.place, muted=True, width=72),
            Column("params", _parameters, right=True, width=68),
            Column("files", _size, right=True, width=78),
            Column("findings", _findings, right=True, width=96),
        )
    )
