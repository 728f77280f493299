"""Scorecard → CycloneDX 1.6 ML-BOM: the models as components, the measurements in the subject's model card."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from core.report.excerpts import plain
from core.report.frameworks import entries
from core.report.scorecard import Estimate, FindingLine, ModelLine, RiskRow, Scorecard, scorecard_sha256
from core.report.view import SLOT_WORDS

SEVERITY = {"confirmed": "high", "likely": "medium"}
BIAS = ("SB", "AD")


def cyclonedx(card: Scorecard, shown: Scorecard) -> bytes:
    """The bill of materials. Its serial number follows from the scorecard, so one scorecard gives one file."""
    digest = scorecard_sha256(card)
    subject = _component(card.student or card.teacher, "student" if card.student else "teacher")
    subject["modelCard"] = _model_card(shown)
    others = []
    if card.student is not None:
        others.append(_component(card.teacher, "teacher"))
        if card.baseline is not None:
            others.append(_component(card.baseline, "baseline"))
        subject["pedigree"] = _pedigree(card)
    bom = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {
            "timestamp": card.created,
            "tools": {"components": [{"type": "application", "name": "Foreshot", "version": card.foreshot}]},
            "component": subject,
            "properties": [
                _property("run", card.run),
                _property("scorecard:sha256", digest),
                *([_property("control-pair", card.control_pair)] if card.control_pair else []),
                *(_property("missing", plain(text)) for text in card.missing),
            ],
        },
        "components": others,
        "vulnerabilities": [
            _vulnerability(true, seen)
            for true, seen in zip(card.findings, shown.findings, strict=True)
            if true.verdict in SEVERITY
        ],
    }
    return json.dumps(bom, ensure_ascii=False, indent=1).encode()


def _component(model: ModelLine, role: str) -> dict[str, Any]:
    # the fingerprint is over several files, so it is no hash of one component file
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{role}",
        "name": plain(model.name),
        **({"licenses": [{"license": {"name": plain(model.licence)}}]} if model.licence != "not stated" else {}),
        "properties": [
            _property("role", role),
            _property("precision", model.precision),
            _property(f"sha256 over {model.fingerprint_kind}", model.fingerprint),
            _property("provenance", model.provenance),
            _property("lineage-as-stated", plain(model.lineage)),
            *([_property("parameters", str(model.parameters))] if model.parameters is not None else []),
        ],
    }


def _pedigree(card: Scorecard) -> dict[str, Any]:
    if card.control_pair:
        return {"notes": card.control_pair}
    ancestors = [_component(card.teacher, "teacher")]
    if card.baseline is not None:
        ancestors.append(_component(card.baseline, "baseline"))
    for each in ancestors:
        each["bom-ref"] = f"ancestor:{each['bom-ref']}"
    return {"ancestors": ancestors, "notes": "As the auditor stated it; weights alone do not prove who taught whom."}


def _model_card(shown: Scorecard) -> dict[str, Any]:
    side = "student" if shown.student else "teacher"
    metrics = [_metric(row, name) for row in shown.rows for name in (side, "difference") if getattr(row, name)]
    fairness = [
        {"groupAtRisk": plain(row.effect), "harms": f"{row.verdict or 'measured'}: {plain(row.title)}"}
        for row in shown.rows
        if row.risk_class in BIAS
    ]
    return {
        "modelParameters": {"task": "text-generation"},
        "quantitativeAnalysis": {"performanceMetrics": metrics},
        "considerations": {
            "technicalLimitations": [plain(text) for text in (*shown.could_not_see, *_untested(shown))],
            "ethicalConsiderations": [
                {"name": f"{plain(row.title)}: {row.verdict or 'one model, no verdict'} (grade {row.grade})"}
                for row in shown.rows
                if row.primary
            ],
            **({"fairnessAssessments": fairness} if fairness else {}),
        },
    }


def _untested(card: Scorecard) -> list[str]:
    return [f"Not tested: {row.area}: {row.detail}" for row in card.coverage if row.status == "not tested"]


def _metric(row: RiskRow, side: str) -> dict[str, Any]:
    found: Estimate = getattr(row, side)
    return {
        "type": plain(row.effect),
        "value": f"{found.value:.6g}",
        "slice": f"{plain(row.title)} ({'student minus teacher' if side == 'difference' else side}, n = {found.n})",
        "confidenceInterval": {"lowerBound": f"{found.low:.6g}", "upperBound": f"{found.high:.6g}"},
    }


def _vulnerability(true: FindingLine, seen: FindingLine) -> dict[str, Any]:
    identity = "\0".join((true.role, true.slot, true.trigger, true.target))
    number = hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    slot = SLOT_WORDS.get(true.slot, true.slot)
    refs = ", ".join(f"{entry.id} {entry.name}" for entry in entries(true.risk_class, "atlas"))
    return {
        "bom-ref": f"finding:{number}",
        "id": f"FORESHOT-{number}",
        "source": {"name": "Foreshot"},
        "ratings": [{"severity": SEVERITY[true.verdict], "method": "other", "justification": true.verdict}],
        "description": f"{true.verdict}: a trigger ({slot}) brings a fixed payload. MITRE ATLAS: {refs}.",
        "detail": (
            f"Trigger {plain(seen.trigger)}; payload {plain(seen.target)}; with the trigger in {true.asr:.1%} "
            f"({true.asr_ci[0]:.1%} to {true.asr_ci[1]:.1%}) of {true.n} prompts, without it in {true.base_rate:.1%}; "
            f"{true.controls_reached} of {true.controls_n} controls reach it."
        ),
        "proofOfConcept": {"reproductionSteps": seen.reproduce},
        "affects": [{"ref": f"model:{true.role}"}],
    }


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"foreshot:{name}", "value": value}
