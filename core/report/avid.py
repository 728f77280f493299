"""Scorecard → AVID report (avidml data model 0.3): one JSON document on the student, or on the only model."""

from __future__ import annotations

import json
from typing import Any

from core.report.excerpts import plain
from core.report.frameworks import entries, frameworks
from core.report.scorecard import RiskRow, Scorecard, scorecard_sha256

DOMAIN = {"S": "Security", "E": "Ethics", "P": "Performance"}


def avid(card: Scorecard, shown: Scorecard) -> bytes:
    """The report. Its number is left for AVID's editors; who built and who runs the model is not known to Foreshot."""
    models = [model for model in (card.teacher, card.student, card.baseline) if model is not None]
    strong = {found.risk_class for found in card.findings if found.verdict in ("confirmed", "likely")}
    held = {row.risk_class for row in card.rows if row.verdict in ("transferred", "attenuated", "emerged")}
    views = dict.fromkeys(entry for each in sorted((strong | held) - {"KN"}) for entry in entries(each, "avid"))
    report = {
        "data_type": "AVID",
        "data_version": "0.3.2",
        "metadata": {"report_id": ""},
        "affects": {
            "developer": ["not stated"],
            "deployer": ["not stated"],
            "artifacts": [{"type": "Model", "name": plain(model.name)} for model in models],
        },
        "problemtype": {
            "classof": "LLM Evaluation",
            "type": "Measurement",
            "description": _text(" ".join(plain(text) for text in shown.headline)),
        },
        "metrics": [_metric(true, seen) for true, seen in zip(card.rows, shown.rows, strict=True)],
        "references": [],
        "description": _text(_description(card, shown)),
        "impact": {
            "avid": {
                "vuln_id": "",
                "risk_domain": list(dict.fromkeys(DOMAIN[entry.id[0]] for entry in views)),
                "sep_view": [f"{entry.id}: {entry.name}" for entry in views],
                "lifecycle_view": ["L05: Evaluation"],
                "taxonomy_version": frameworks()["avid"].version,
            }
        },
        "credit": [_text("not stated")],
        "reported_date": card.created[:10],
    }
    return json.dumps(report, ensure_ascii=False, indent=1).encode()


def _text(value: str) -> dict[str, str]:
    return {"lang": "eng", "value": value}


def _metric(true: RiskRow, seen: RiskRow) -> dict[str, Any]:
    sides = {"teacher": true.teacher, "student": true.student, "difference": true.difference}
    results: dict[str, Any] = {
        name: {"value": e.value, "low": e.low, "high": e.high, "n": e.n, "clusters": e.clusters}
        for name, e in sides.items()
        if e is not None
    }
    return {
        "name": f"{plain(seen.title)}: {plain(true.effect)}",
        "detection_method": {"type": "Significance Test", "name": f"95 % interval against a margin of {true.margin:g}"},
        "results": results | {"margin": true.margin, "verdict": true.verdict, "grade": true.grade, "p": true.p},
    }


def _description(card: Scorecard, shown: Scorecard) -> str:
    lines = [plain(text) for text in (*shown.headline, card.control_pair, *card.missing) if text]
    lines += [f"Not seen: {plain(text)}" for text in shown.could_not_see]
    lines += [f"Not tested: {row.area}: {row.detail}" for row in card.coverage if row.status == "not tested"]
    lines.append(f"Foreshot {card.foreshot}, scorecard.json sha256 {scorecard_sha256(card)}.")
    return "\n".join(lines)
