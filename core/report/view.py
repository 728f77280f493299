"""Scorecard → what the page needs: every number formatted, every text in runs, every mark placed. No typst in here."""

from __future__ import annotations

import json
import math
from typing import Any

from core.report.figures import interval, number, p_value, percent, percent_interval
from core.report.scope import lineage, mapping, matrix, places
from core.report.scorecard import Estimate, FindingLine, ModelLine, RiskRow, Scorecard, scorecard_sha256
from core.report.text import Run, runs, unusual

SLOT_WORDS = {
    **{f"user_{place}": f"{place} of the prompt" for place in ("start", "middle", "end")},
    "system": "system prompt",
    "earlier_turn": "earlier turn",
}
EXCERPT = 240  # characters shown of a prompt or an answer; scorecard.json holds all
FULL_FORM = 12  # findings printed in full; the rest go into a table


def page_view(card: Scorecard) -> dict[str, Any]:
    """The values that ``scorecard.typ`` draws, in the order in which it draws them."""
    pair = card.student is not None
    title = card.title if pair or "one model" in card.title else f"{card.title}: one model"
    strong = [f for f in card.findings if f.verdict in ("confirmed", "likely")]
    full = strong[:FULL_FORM]
    brief = [f for f in card.findings if f not in full]
    scale = _Scale.shared(card.rows)
    digest = scorecard_sha256(card)
    return {
        "title": title,
        "document_title": f"{title}: " + " → ".join(m.name for m in (card.teacher, card.student) if m is not None),
        "pair": pair,
        "run": runs(card.run, limit=48),
        "run_full": runs(card.run),
        "created": runs(card.created.replace("T", " ", 1).replace("+00:00", " UTC")),
        "foreshot": runs(card.foreshot),
        "seed": str(card.seed),
        "sha256": digest,
        "sha8": digest[:8],
        "headline": [runs(s) for s in card.headline],
        "control_pair": runs(card.control_pair),
        "models": [_model("Teacher" if pair else "Model", "teacher", card.teacher)]
        + ([_model("Student", "student", card.student)] if card.student is not None else [])
        + ([_model("Baseline", "baseline", card.baseline)] if card.baseline is not None else []),
        "coverage": [
            {
                "area": runs(c.area),
                "short": len(c.area) < 40,
                "status": c.status if c.status in ("tested", "partly") else "not tested",
                "detail": runs(c.detail),
            }
            for c in sorted(card.coverage, key=lambda c: {"tested": 0, "partly": 1}.get(c.status, 2))
        ],
        "missing": [runs(s) for s in card.missing],
        "rows": [_row(row, scale, pair) for row in card.rows],
        "map": [_row(row, scale, pair) for row in _by_change(card.rows)] if pair else [],
        "ticks": scale.ticks(),
        "matrix": matrix(card),
        "lineage": lineage(card),
        "mapping": mapping(card),
        "could_not_see": [runs(s) for s in card.could_not_see],
        "controls": [runs(s) for s in card.controls],
        "findings": [_finding(f"F{i}", f, pair) for i, f in enumerate(full, 1)],
        "brief": [_brief(f"F{i}", f) for i, f in enumerate(brief, len(full) + 1)],
        "files": [
            {"role": f.role, "id": runs(f.id), "severity": f.severity, "file": runs(f.file), "message": runs(f.message)}
            for f in card.file_findings
        ],
        "methods": [runs(s, lines=True) for s in card.methods],
        "environment": [[runs(str(key)), runs(_plain(value))] for key, value in card.environment.items()],
        "reproduce": runs(card.reproduce, verbatim=True, lines=True),
    }


def _by_change(rows: tuple[RiskRow, ...]) -> list[RiskRow]:
    """Rows of the transfer map: the largest change first, then what was measured without one."""
    measured = [row for row in rows if row.teacher or row.student]
    return sorted(measured, key=lambda row: -abs(row.difference.value) if row.difference else 0.0)


class _Scale:
    """One axis for all rows whose effects lie in [−1, 1]; a row outside (log-odds, say) gets its own."""

    def __init__(self, low: float, high: float) -> None:
        pad = 0.03 * (high - low)
        self.low, self.high = low - pad, high + pad

    @classmethod
    def shared(cls, rows: tuple[RiskRow, ...]) -> _Scale:
        values = [v for row in rows for v in _extent(row) if -1 <= v <= 1]
        return cls(min([-0.1, *values]), max([0.5, *values]))

    def own(self, row: RiskRow) -> _Scale:
        values = _extent(row)
        if all(self.low <= v <= self.high for v in values):
            return self
        return _Scale(min(values), max(values))

    def at(self, value: float) -> float:
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self) -> list[list[Any]]:
        span = self.high - self.low
        step = 0.25 if span < 1.3 else 0.5
        first = math.ceil(self.low / step)
        return [[self.at(i * step), number(i * step)] for i in range(first, math.floor(self.high / step) + 1)]


def _extent(row: RiskRow) -> list[float]:
    values = [-row.margin, 0.0, row.margin]
    for e in (row.teacher, row.student):
        if e is not None:
            values += [e.low, e.value, e.high]
    return [v for v in values if math.isfinite(v)]


def _mark(scale: _Scale, e: Estimate | None) -> list[float] | None:
    if e is None or not all(map(math.isfinite, (e.low, e.value, e.high))):
        return None
    return [scale.at(e.low), scale.at(e.value), scale.at(e.high)]


def _row(row: RiskRow, shared: _Scale, pair: bool) -> dict[str, Any]:
    scale = shared.own(row)
    who = [("teacher" if pair else "model", row.teacher), *([("student", row.student)] if pair else [])]
    spoken = "; ".join(
        f"{role} {number(e.value)}, 95 % interval {number(e.low)} to {number(e.high)}" if e else f"{role} not measured"
        for role, e in who
    )
    needed = f"about {row.items_needed:,} items needed" if row.verdict == "inconclusive" and row.items_needed else ""
    sizes = [f"{role} {e.n:,} items" + (f" in {e.clusters:,} clusters" if e.clusters else "") for role, e in who if e]
    return {
        "id": runs(row.risk_class),
        "title": runs(row.title),
        "effect": runs(row.effect),
        "margin": number(row.margin, 3 if row.margin < 0.01 else 2, sign=False),
        "own_scale": scale is not shared,
        "band": [scale.at(-row.margin), scale.at(row.margin)],
        "zero": scale.at(0),
        "teacher": _mark(scale, row.teacher),
        "student": _mark(scale, row.student) if pair else None,
        "numbers": [[number(e.value), interval(e)] if e else ["not measured", ""] for _, e in who],
        "alt": f"{row.title}: {spoken}; margin {row.margin:g}.",
        "verdict": row.verdict or "",
        "needed": needed,
        "grade": row.grade,
        "expectation": runs(row.expectation),
        "expectation_grade": row.expectation_grade,
        "agreement": row.agreement if pair and row.expectation else "",
        "difference": f"{number(row.difference.value)} {interval(row.difference)}" if row.difference else "",
        "sizes": "; ".join(sizes) or "not measured",
        "p": "" if row.p is None else p_value(row.p),
        "baseline": f"{number(row.baseline.value)} {interval(row.baseline)}" if row.baseline else "",
        "gain": f"{number(row.gain.value)} {interval(row.gain)}" if row.gain else "",
        "origin": row.origin or "",
        "origin_note": runs(row.origin_note),
        "joint": _joint(row),
        "primary": row.primary,
        "suite": runs(row.suite),
        "suite_sha256": row.suite_sha256[:12],
        "places": places(row.risk_class),
        "evidence": runs(row.evidence),
        "limits": runs(row.limits),
    }


def _joint(row: RiskRow) -> str:
    """The row at the level that holds for all primary rows together."""
    if row.joint is None:
        return ""
    changed = f"{number(row.joint.difference.value)} {interval(row.joint.difference)}"
    return f"{row.joint.verdict}, change {changed}, at {100 * row.joint.level:.2f} % over {row.joint.rows} rows"


def _model(heading: str, role: str, model: ModelLine) -> dict[str, Any]:
    size = "parameters not stated" if model.parameters is None else f"{_count(model.parameters)} parameters"
    return {
        "heading": heading,
        "role": role,
        "name": runs(model.name, limit=160),
        "size": size,
        "precision": runs(model.precision),
        "fingerprint": runs(model.fingerprint[:12]),
        "fingerprint_full": runs(model.fingerprint),
        "fingerprint_kind": runs(model.fingerprint_kind),
        "licence": runs(model.licence, limit=120),
        "lineage": runs(model.lineage, limit=240),
        "notes": [runs(note) for note in model.notes],
    }


def _count(n: int) -> str:
    for size, word in ((10**9, "B"), (10**6, "M")):
        if n >= size:
            return f"{n / size:.3g} {word}" if n < 1000 * size else f"{n / size:,.0f} {word}"
    return f"{n:,}"


def _finding(label: str, f: FindingLine, pair: bool) -> dict[str, Any]:
    other = "student" if f.role == "teacher" else "teacher"
    rate = f"{percent(f.asr)} {percent_interval(f.asr_ci)}"
    controls = f"{f.controls_reached:,} of {f.controls_n:,}" if f.controls_n else "none were run"
    elsewhere = "" if f.asr_other is None else f"{percent(f.asr_other)} {percent_interval(f.asr_other_ci)}".strip()
    spoken = f"With the trigger {rate}, without it {percent(f.base_rate)}"
    if f.asr_other is not None:
        spoken += f", {other} with the trigger {elsewhere}"
    return {
        "label": label,
        "role": f.role,
        "other": other,
        "verdict": f.verdict,
        "trigger": runs(f.trigger, verbatim=True, limit=400),
        "unusual": runs(unusual(f.trigger)),
        "slot": runs(SLOT_WORDS.get(f.slot, f.slot)),
        "target": runs(f.target, verbatim=True, limit=400),
        "asr": percent(f.asr),
        "asr_ci": percent_interval(f.asr_ci),
        "base": percent(f.base_rate),
        "n": f"{f.n:,}",
        "p": p_value(f.p),
        "controls": controls,
        "found_by": runs(f.found_by),
        "other_rate": elsewhere,
        "other_missing": pair and f.asr_other is None,
        "baseline_rate": ""
        if f.asr_baseline is None
        else f"{percent(f.asr_baseline)} {percent_interval(f.asr_baseline_ci)}".strip(),
        "places": places(f.risk_class),
        "marks": {
            "own": _shares(f.asr_ci[0], f.asr, f.asr_ci[1]),
            "base": _shares(f.base_rate),
            "other": None if f.asr_other is None else _shares(*_around(f.asr_other, f.asr_other_ci)),
        },
        "alt": spoken + ".",
        "example": _example(f.example),
        "reproduce": runs(f.reproduce, verbatim=True, lines=True),
    }


def _shares(*values: float) -> list[float] | None:
    """Places on an axis from 0 to 1; None, so no mark at all, for what is not a number."""
    return [min(max(v, 0.0), 1.0) for v in values] if all(map(math.isfinite, values)) else None


def _example(example: dict[str, str]) -> dict[str, list[Run]] | None:
    parts = ("prompt", "without", "with_trigger")
    return {key: runs(example.get(key, ""), lines=True, limit=EXCERPT) for key in parts} if example else None


def _around(value: float, ci: tuple[float, float] | None) -> tuple[float, float, float]:
    return (ci[0], value, ci[1]) if ci else (value, value, value)


def _brief(label: str, f: FindingLine) -> dict[str, Any]:
    return {
        "label": label,
        "role": f.role,
        "verdict": f.verdict,
        "trigger": runs(f.trigger, verbatim=True, limit=120),
        "slot": runs(SLOT_WORDS.get(f.slot, f.slot)),
        "rate": f"{percent(f.asr)} {percent_interval(f.asr_ci)}",
        "base": percent(f.base_rate),
        "controls": f"{f.controls_reached:,} of {f.controls_n:,}",
    }


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10_000 else f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return json.dumps(value, ensure_ascii=False)
