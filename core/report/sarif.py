"""Scorecard → SARIF 2.1.0 (OASIS, errata 01): findings as results that a code-scanning page or a gate can read.

Results are file findings, confirmed and likely triggers, and the rows whose risk the student shows. A row that stayed
undecided is of kind ``open``; nothing is of kind ``pass``.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from urllib.parse import quote

from core.report.excerpts import plain
from core.report.figures import interval, number, percent, percent_interval
from core.report.frameworks import entries, frameworks
from core.report.scorecard import FileFindingLine, FindingLine, RiskRow, Scorecard, scorecard_sha256
from core.report.view import SLOT_WORDS
from core.verdicts import class_titles

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVEL_OF_SEVERITY = {"high": "error", "medium": "warning", "low": "note", "info": "note"}
LEVEL_OF_TRIGGER = {"confirmed": "error", "likely": "warning"}
LEVEL_OF_VERDICT = {"transferred": "warning", "emerged": "warning", "attenuated": "note"}
TAXONOMIES = ("owasp", "atlas")
NO_RISK = ("KN",)  # that knowledge comes over is the purpose of distilling


def sarif(card: Scorecard, shown: Scorecard) -> bytes:
    """The log file. ``card`` is the truth, from which fingerprints are made; ``shown`` is what may be read."""
    results = [
        *(_trigger(true, seen) for true, seen in zip(card.findings, shown.findings, strict=True)),
        *(_file(found) for found in card.file_findings),
        *(_row(true, seen) for true, seen in zip(card.rows, shown.rows, strict=True)),
    ]
    found = [result for result in results if result is not None]
    rules = _rules({result["ruleId"]: result for result in found})
    places = {rule["id"]: at for at, rule in enumerate(rules)}
    for result in found:
        result["ruleIndex"] = places[result["ruleId"]]
    models = {"TEACHER": card.teacher} | ({"STUDENT": card.student} if card.student else {})
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "Foreshot", "version": card.foreshot, "rules": rules}},
                "automationDetails": {"id": f"foreshot/audit/{card.run}"},
                "invocations": [
                    {
                        "executionSuccessful": not card.missing,
                        "endTimeUtc": card.created,
                        "toolExecutionNotifications": [
                            {"level": "warning", "message": {"text": plain(text)}} for text in card.missing
                        ],
                    }
                ],
                "originalUriBaseIds": {
                    role: {
                        "description": {
                            "text": f"{plain(model.name)}, {model.precision}, sha256 {model.fingerprint} "
                            f"over {model.fingerprint_kind}"
                        }
                    }
                    for role, model in models.items()
                },
                "results": found,
                "taxonomies": [_taxonomy(name, rules) for name in TAXONOMIES],
                "properties": {
                    "scorecardSha256": scorecard_sha256(card),
                    "controlPair": card.control_pair,
                    "couldNotSee": [plain(text) for text in shown.could_not_see],
                    "notTested": [f"{row.area}: {row.detail}" for row in card.coverage if row.status != "tested"],
                },
            }
        ],
    }
    return json.dumps(log, ensure_ascii=False, indent=1).encode()


def _trigger(true: FindingLine, seen: FindingLine) -> dict[str, Any] | None:
    if true.verdict not in LEVEL_OF_TRIGGER:
        return None
    other = "student" if true.role == "teacher" else "teacher"
    text = (
        f"Trigger {plain(seen.trigger)} ({SLOT_WORDS.get(true.slot, true.slot)}) makes the {true.role} answer "
        f"{plain(seen.target)} in {percent(true.asr)} {percent_interval(true.asr_ci)} of {true.n} prompts, "
        f"without it in {percent(true.base_rate)}; {true.controls_reached} of {true.controls_n} controls do."
    )
    if true.asr_other is not None:
        text += f" In the {other}: {percent(true.asr_other)} {percent_interval(true.asr_other_ci)}."
    return _result(
        true.risk_class,
        LEVEL_OF_TRIGGER[true.verdict],
        text,
        true.role,
        "config.json",
        (true.risk_class, true.role, true.slot, true.trigger, true.target),
        {"verdict": true.verdict, "reproduce": seen.reproduce, "p": true.p},
    )


def _file(found: FileFindingLine) -> dict[str, Any]:
    return _result(
        f"file/{found.id}",
        LEVEL_OF_SEVERITY.get(found.severity, "note"),
        plain(found.message),
        found.role,
        found.file or "config.json",
        ("file", found.role, found.id, found.file),
        {"severity": found.severity},
    )


def _row(true: RiskRow, seen: RiskRow) -> dict[str, Any] | None:
    undecided = true.verdict == "inconclusive"
    if true.risk_class in NO_RISK or not (undecided or true.verdict in LEVEL_OF_VERDICT):
        return None
    sides = (("teacher", true.teacher), ("student", true.student), ("student minus teacher", true.difference))
    measured = "; ".join(f"{name} {number(e.value)} {interval(e)}" for name, e in sides if e is not None)
    text = (
        f"{plain(seen.title)}: {true.verdict}. {plain(true.effect)}; {measured or 'not measured'}; δ = {true.margin:g}."
    )
    result = _result(
        true.risk_class,
        "none" if undecided else LEVEL_OF_VERDICT[true.verdict or ""],
        text,
        "student",
        "config.json",
        ("row", true.risk_class, true.suite, true.title),
        {"verdict": true.verdict, "grade": true.grade, "primary": true.primary, "limits": plain(seen.limits)},
    )
    return result | ({"kind": "open"} if undecided else {})


def _result(
    rule: str, level: str, text: str, role: str, file: str, identity: tuple[str, ...], properties: dict[str, Any]
) -> dict[str, Any]:
    base = "STUDENT" if role == "student" else "TEACHER"
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(file), "uriBaseId": base}}}],
        "partialFingerprints": {
            "foreshot/v1": hashlib.sha256("\0".join(identity).encode("utf-8", "surrogatepass")).hexdigest()
        },
        "properties": {"role": role} | {name: value for name, value in properties.items() if value is not None},
    }


def _rules(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    titles = class_titles() | {"BD": "Backdoor"}
    rules = []
    for rule in sorted(results):
        risk_class = "FILES" if rule.startswith("file/") else rule
        related = [
            {"target": {"id": entry.id, "toolComponent": {"name": frameworks()[name].name}}, "kinds": ["relevant"]}
            for name in TAXONOMIES
            for entry in entries(risk_class, name)
        ]
        text = titles.get(rule, f"File check {rule.partition('/')[2]}" if risk_class == "FILES" else rule)
        rules.append({"id": rule, "shortDescription": {"text": text}, "relationships": related})
    return rules


def _taxonomy(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    """A framework with the entries that the rules refer to."""
    framework = frameworks()[name]
    classes = {"FILES" if rule["id"].startswith("file/") else rule["id"] for rule in rules}
    taxa = {entry.id: entry.name for each in sorted(classes) for entry in entries(each, name)}
    return {
        "name": framework.name,
        "version": framework.version,
        "taxa": [{"id": id, "name": text} for id, text in sorted(taxa.items())],
    }
