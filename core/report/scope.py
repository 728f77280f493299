"""What the pages on scope, lineage and frameworks need: coverage matrix, way from teacher to student, mapping."""

from __future__ import annotations

from typing import Any

from core.report.frameworks import entries, frameworks, notes
from core.report.scorecard import ModelLine, RiskRow, Scorecard
from core.report.text import runs
from core.verdicts import class_titles

FILES = "FILES"


def matrix(card: Scorecard) -> list[dict[str, Any]]:
    """One line a risk class: which models it was measured on, with how many items, at which grade."""
    lines = []
    searched = any(row.risk_class.startswith("BD") for row in card.rows)
    for risk_class, title in class_titles().items():
        alike = (risk_class, "BD") if risk_class == "BD-R" else (risk_class,)  # BD: of a run that did not say which
        found = [row for row in card.rows if row.risk_class in alike]
        measured = [row for row in found if row.teacher or row.student]
        first = next((row for row in measured if row.primary), measured[0] if measured else None)
        looked = risk_class.startswith("BD") and searched and not measured
        lines.append(
            {
                "class": runs(risk_class),
                "title": runs(title),
                "status": "tested" if measured else "partly" if looked else "not tested",
                "sides": {role: _has(measured, role) for role in ("teacher", "student", "baseline")},
                "with": _with(measured)
                if measured
                else "searched; no trigger of this kind was found"
                if looked
                else "",
                "size": _size(first),
                "grade": first.grade if first else "",
            }
        )
    return lines


def _has(rows: list[RiskRow], role: str) -> bool:
    return any(getattr(row, role) is not None for row in rows)


def _with(rows: list[RiskRow]) -> str:
    if rows[0].risk_class.startswith("BD"):
        return f"{len(rows)} trigger{'s' if len(rows) > 1 else ''} found and measured"
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return f"{rows[0].effect.partition(':')[0]}{more}"


def _size(row: RiskRow | None) -> str:
    found = (row.student or row.teacher) if row else None
    if found is None:
        return ""
    return f"{found.n:,} in {found.clusters:,}" if found.clusters else f"{found.n:,}"


def lineage(card: Scorecard) -> dict[str, Any]:
    """The way from teacher to student, as the auditor stated it; what was not stated is a gap."""
    known = sum(line.known for line in card.pipeline)
    if card.control_pair:
        way = "control pair: no distillation lies between them"
    elif card.pipeline:
        way = f"distillation, {known} of {len(card.pipeline)} questions answered"
    else:
        way = "distillation, of which nothing was stated"
    return {
        "way": way,
        "gap": bool(card.control_pair) or known < len(card.pipeline) or not card.pipeline,
        "baseline": None if card.baseline is None else _node(card.baseline),
        "teacher": _node(card.teacher),
        "student": None if card.student is None else _node(card.student),
        "answers": [
            {
                "question": runs(line.question),
                "answer": runs(line.answer),
                "known": line.known,
                "matters": runs(line.matters),
            }
            for line in card.pipeline
        ],
        "alt": f"{card.teacher.name} to {card.student.name if card.student else 'no student'}: {way}; baseline: "
        f"{card.baseline.name if card.baseline else 'none'}.",
    }


def _node(model: ModelLine) -> dict[str, Any]:
    return {
        "name": runs(model.name, limit=120),
        "precision": runs(model.precision),
        "fingerprint": runs(model.fingerprint[:16]),
        "stated": runs(model.lineage, limit=300),
        "claimed": model.provenance == "claimed",
    }


def mapping(card: Scorecard) -> dict[str, Any]:
    """The classes of this scorecard in the frameworks; classes with the same places share a line."""
    titles = class_titles() | {FILES: "Files", "BD": "Backdoor"}
    present = [*dict.fromkeys(row.risk_class for row in card.rows), *([FILES] if card.file_findings else [])]
    together: dict[Any, list[str]] = {}
    for risk_class in present:
        together.setdefault(tuple(entries(risk_class, name) for name in frameworks()), []).append(risk_class)
    return {
        "heads": [
            [each.name, each.version if each.date in each.version else f"{each.version}, {each.date}"]
            for each in frameworks().values()
        ],
        "rows": [
            {
                "classes": runs(", ".join(titles.get(each, each) for each in classes)),
                "cells": [[[entry.id, entry.name] for entry in cell] for cell in cells],
            }
            for cells, classes in together.items()
        ],
        "notes": list(notes()),
    }


def places(risk_class: str) -> str:
    """A class's numbers in OWASP and ATLAS, in one line."""
    return ", ".join(f"{entry.id} {entry.name}" for name in ("owasp", "atlas") for entry in entries(risk_class, name))
