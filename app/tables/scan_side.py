"""What is known of the scan of one model: from its run folder, or from its events so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.tables.candidates import CandidateTable, identity
from core.runs.events import Event, Progress, decode_event
from core.runs.folder import RunFolder


@dataclass
class Side:
    """What is known of the scan of one model."""

    table: CandidateTable = field(default_factory=CandidateTable)
    report: dict[str, Any] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    findings: list[dict[str, Any]] = field(default_factory=list)


def take_report(side: Side, report: dict[str, Any], cross: dict[str, Any] | None) -> None:
    """Put a finished scan into ``side``, and what was tried on it from the other model (``cross``)."""
    total = report.get("counts", {}).get("controls")
    rows = [
        {"controls_n": total, **row} if row.get("controls_reached") is not None else row
        for row in report.get("candidates") or ()
    ]
    side.report = report
    side.findings = list(report.get("findings") or ())
    have = {identity(found) for found in side.findings}
    side.findings += [f for f in (cross or {}).get("findings", ()) if identity(f) not in have]
    side.table.set_rows([*rows, *map(as_candidate, side.findings)])


def as_candidate(found: dict[str, Any]) -> dict[str, Any]:
    """A finding as a row of the table."""
    kept = ("trigger", "trigger_shown", "kind", "slot", "controls_reached", "controls_n", "verdict")
    return {**{name: found.get(name) for name in kept}, "stage": "proof", "payload_rate": found.get("asr")}


def read_report(folder: Path) -> dict[str, Any] | None:
    """``report.json`` of a run folder, None where the run did not reach it."""
    if not (folder / "spec.json").exists():
        return None
    report = RunFolder.open(folder).read_json("report.json")
    return report if isinstance(report, dict) else None


def read_events(folder: Path) -> list[Event]:
    """What the run's diary kept: finished stages."""
    try:
        lines = (folder / "events.jsonl").read_bytes().splitlines()
    except OSError:
        return []
    return [event for line in lines if (event := decode_event(line)) is not None]
