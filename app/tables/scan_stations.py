"""The stages of a scan as stations: of a finished one from its report, of a running one from its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.tables.scan_side import Side
from app.widgets.stations import Station
from core.runs.events import Progress

TITLES: Final = {
    "inspect": "Files",
    "weights": "Weights",
    "topics": "Topics",
    "known": "Known triggers",
    "payload": "Payloads",
    "leak": "Leaked text",
    "trigger": "Their triggers",
    "proof": "Proof",
    "power": "Canaries",
    "student": "Student",
}


def scan_stations(side: Side, student: Side | None, *, ended: bool, files: str) -> list[Station]:
    """Stations of the scan of one model, and of an audit's student as one more.

    Args:
        ended: no event will come any more. files: what is known of the model's files where no event tells.
    """
    power = ("power",) if "power" in side.progress or side.report.get("canaries") else ()
    stations = [_station(side, stage, ended, files) for stage in ("inspect", *_searches(side), "proof", *power)]
    return [*stations, _student(student, ended)] if student is not None else stations


def share_of(event: Progress) -> float:
    return min(1.0, event.done / event.total) if event.total else 0.0


def _searches(side: Side) -> tuple[str, ...]:
    """The searches of this scan in their order: weights, topics and those from payloads are not in every one, and the
    leak is sampled before or after the first search for a trigger, or not at all."""
    reported = {"weights": bool(side.report.get("weights")), "topics": _topics(side.report, "read") > 0}
    early = [stage for stage, there in reported.items() if there or stage in side.progress]
    if "payloads" not in side.report and "payload" not in side.progress:
        # where triggers are given only the proof is run; before anything is known all is still to come
        begun = side.report or "proof" in side.progress
        return (*early, "known") if begun else (*early, "known", "payload", "trigger")
    late = [stage for stage in side.progress if stage in ("leak", "trigger")]
    if "leak" not in late and (side.report.get("leak") or {}).get("samples"):
        late.insert(0, "leak")
    return (*early, "known", "payload", *late, *(() if "trigger" in late else ("trigger",)))


def _station(side: Side, stage: str, ended: bool, files: str = "") -> Station:
    title = TITLES[stage]
    if side.report:
        return Station(stage, title, _final_note(side, stage, files), "done", 1.0)
    event = side.progress.get(stage)
    searches = _searches(side)
    order = ("inspect", "load", *searches, "proof", "power")
    passed = any(name in side.progress for name in order[order.index(stage) + 1 :])
    if event is None:
        if passed:
            return Station(stage, title, "not in this run" if stage == "inspect" else "", "done", 1.0)
        loading = side.progress.get("load")
        note = f"loading the model {share_of(loading):.0%}" if loading and stage == searches[0] else "waiting"
        return Station(stage, title, "stopped" if ended else note)
    share = share_of(event)
    # a stage runs through several tasks, each of which counts to its own end: only what follows ends it
    if passed or (stage == "inspect" and share >= 1):
        return Station(stage, title, event.note or "done", "done", 1.0)
    words = event.task.rpartition(" · ")[2]
    counted = f"{words.lower() if words != title else ''} {event.done:,.0f} of {event.total:,.0f}".strip()
    return Station(stage, title, event.note or counted, "stopped" if ended else "running", share)


def _topics(report: dict[str, Any], key: str) -> int:
    value = (report.get("topics") or {}).get(key) or 0
    return len(value) if isinstance(value, list) else int(value)


def _student(student: Side, ended: bool) -> Station:
    if student.report:
        tried = [f for f in student.findings if f.get("found_by") == "tried from the other model"]
        words = [f"{f.get('trigger_shown') or f.get('trigger')}: {f.get('hits')} of {f.get('n')}" for f in tried]
        verdict = str(student.report.get("summary", {}).get("verdict", ""))
        return Station("student", TITLES["student"], ", ".join(words) or verdict, "done", 1.0)
    parts = [_station(student, stage, ended) for stage in (*_searches(student), "proof")]
    live = next((part for part in parts if part.state in ("running", "stopped")), parts[0])
    note = live.note if live.state == "waiting" else f"{live.title.lower()}: {live.note}"
    return Station("student", TITLES["student"], note, live.state, live.share)


def _through(payloads: Sequence[Mapping[str, Any]]) -> str:
    """How many texts the model runs through by itself, as surely as a payload."""
    if any("runs_through" not in payload for payload in payloads):  # a report of an earlier version
        return f"{len(payloads)} chains"
    through = sum(bool(payload["runs_through"]) for payload in payloads)
    return f"{through or 'no'} text{'s' * (through > 1)} run{'s' * (through < 2)} through"


def _final_note(side: Side, stage: str, files: str) -> str:
    counts, findings = side.report.get("counts", {}), side.report.get("findings") or []
    if stage == "proof" and not findings:
        return "no candidate reached it"
    if stage == "weights":
        found = len((side.report.get("weights") or {}).get("findings") or ())
        return f"{found} to look at" if found else "nothing stands out"
    if stage == "topics":
        return f"{_topics(side.report, 'topics')} of {_topics(side.report, 'read')} read differently"
    if stage == "known":
        return f"{counts.get('triggers', 0)} tried in {counts.get('slots', 0)} slots"
    if stage == "payload":
        return _through(side.report.get("payloads") or ())
    if stage == "leak":
        leak = side.report.get("leak") or {}
        return f"{len(leak.get('motifs') or ())} motifs in {leak.get('samples', 0)} samples"
    if stage == "trigger":
        rebuilt = sum(row.get("kind") == "reconstructed" for row in side.report.get("candidates") or ())
        searched = rebuilt or any(row.get("searched") for row in side.report.get("payloads") or ())
        return f"{rebuilt} rebuilt" if searched else "not searched"
    if stage == "proof":
        held = sum(f.get("verdict") in ("confirmed", "likely") for f in findings)
        return f"{held} of {len(findings)} held on {counts.get('prompts', 0)} prompts"
    if stage == "power":
        rows = [row for row in side.report.get("canaries") or () if row.get("taken")]
        return f"{sum(bool(row.get('found')) for row in rows)} of {len(rows)} found"
    event = side.progress.get("inspect")
    return (event.note if event is not None else "") or files or "not in this run"
