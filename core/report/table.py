"""Scorecard → CSV (RFC 4180, UTF-8): one line a row, a trigger finding or a file finding."""

from __future__ import annotations

import csv
import io
from typing import Any

from core.report.excerpts import plain
from core.report.scorecard import FileFindingLine, FindingLine, RiskRow, Scorecard

SIDES = ("teacher", "student", "difference", "baseline")
COLUMNS = (
    *("kind", "class", "title", "verdict", "grade", "primary", "origin", "measure", "margin"),
    *(f"{side}{part}" for side in SIDES for part in ("", "_low", "_high")),
    *("n", "clusters", "p", "items_needed", "expectation", "agreement", "suite", "suite_sha256"),
    *("role", "severity", "trigger", "slot", "target", "base_rate", "controls_reached", "controls_n", "file"),
    *("evidence", "limits", "reproduce"),
)


def table(card: Scorecard, shown: Scorecard) -> bytes:
    """The table. An empty cell was not measured; a text that a spreadsheet would run as a formula is led by ``'``."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for record in (
        *map(_row, shown.rows),
        *map(_trigger, shown.findings),
        *map(_file, card.file_findings),
    ):
        writer.writerow({name: _cell(value) for name, value in record.items()})
    return out.getvalue().encode()


def _row(row: RiskRow) -> dict[str, Any]:
    record: dict[str, Any] = {"kind": "row", "class": row.risk_class, "measure": row.effect}
    for name in ("title", "verdict", "grade", "primary", "origin", "margin", "p", "items_needed", "expectation"):
        record[name] = getattr(row, name)
    for name in ("agreement", "suite", "suite_sha256", "evidence", "limits"):
        record[name] = getattr(row, name)
    for side in SIDES:
        found = getattr(row, side)
        if found is not None:
            record |= {side: found.value, f"{side}_low": found.low, f"{side}_high": found.high}
    size = row.student or row.teacher
    return record | ({"n": size.n, "clusters": size.clusters} if size else {})


def _trigger(found: FindingLine) -> dict[str, Any]:
    other = {"teacher": "student", "student": "teacher"}.get(found.role, "")
    record: dict[str, Any] = {
        "kind": "trigger",
        "class": found.risk_class,
        "measure": "payload rate with the trigger",
        found.role: found.asr,
        f"{found.role}_low": found.asr_ci[0],
        f"{found.role}_high": found.asr_ci[1],
    }
    for name in ("verdict", "n", "p", "role", "trigger", "slot", "target", "base_rate", "reproduce"):
        record[name] = getattr(found, name)
    for side, rate, ends in (
        (other, found.asr_other, found.asr_other_ci),
        ("baseline", found.asr_baseline, found.asr_baseline_ci),
    ):
        if rate is not None and ends is not None:
            record |= {side: rate, f"{side}_low": ends[0], f"{side}_high": ends[1]}
    return record | {
        "controls_reached": found.controls_reached,
        "controls_n": found.controls_n,
        "evidence": f"found by {found.found_by}",
    }


def _file(found: FileFindingLine) -> dict[str, Any]:
    return {
        "kind": "file",
        "title": found.id,
        "role": found.role,
        "severity": found.severity,
        "file": found.file,
        "evidence": found.message,
    }


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        text = plain(value)
        return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
