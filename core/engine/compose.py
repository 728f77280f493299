"""Reports of the parts → the scorecard. Pure: it computes nothing that the parts did not measure."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec

from core import __version__
from core.engine import scope
from core.engine.scope import Part, Parts
from core.report.scorecard import (
    Estimate,
    FileFindingLine,
    FindingLine,
    Joint,
    ModelLine,
    RiskRow,
    Scorecard,
)
from core.specs import AuditSpec
from core.stats import holm
from core.verdicts import TRIGGER_CLASSES, AtOnce, Judged, judge_suites, judge_trigger, judge_untriggered

HEADERS = "headers, config and tokenizer"


def compose(
    *,
    run: str,
    created: str,
    spec: AuditSpec,
    parts: Parts,
    environment: dict[str, Any],
    reproduce: str,
    stopped: str = "",
) -> Scorecard:
    """The scorecard of one audit. Without a student it has one column; ``stopped`` says why parts are missing."""
    teacher, student, baseline = parts["teacher"], parts.get("student"), parts.get("baseline")
    rows = (*_trigger_rows(parts, spec), *_suite_rows(parts, spec))
    if spec.control_pair:  # nothing was distilled: the pair can neither agree with the literature nor contradict it
        rows = tuple(msgspec.structs.replace(row, agreement="cannot tell", origin=None) for row in rows)
    findings = (*_findings(teacher, student, baseline), *(_findings(student, teacher, baseline) if student else ()))
    missing = scope.missing(parts, stopped)
    return Scorecard(
        run=run,
        created=created,
        foreshot=__version__,
        headline=_headline(rows, findings, parts, missing),
        teacher=_model_line(teacher),
        student=_model_line(student) if student else None,
        baseline=_model_line(baseline) if baseline else None,
        control_pair=spec.control_pair,
        coverage=scope.coverage(parts, spec),
        rows=rows,
        findings=findings,
        file_findings=tuple(line for part in parts.values() for line in _file_findings(part)),
        could_not_see=scope.could_not_see(parts),
        controls=scope.controls(parts),
        methods=scope.METHODS,
        reproduce=reproduce,
        environment=environment,
        seed=spec.seed,
        missing=missing,
        pipeline=scope.pipeline_lines(spec),
    )


def _trigger_rows(parts: Parts, spec: AuditSpec) -> list[RiskRow]:
    """One row a trigger that was found; one undecided row for each kind of backdoor of which none was."""
    teacher, student, baseline = parts["teacher"], parts.get("student"), parts.get("baseline")
    rows = []
    seen: set[str] = set()
    for source, other in ((teacher, student), (student, teacher)):
        for finding in source.found() if source else ():
            key = f"{finding['trigger']}\0{finding['slot']}"
            if key in seen:
                continue
            seen.add(key)
            elsewhere = other.tried(finding) if other else None
            first, second = (finding, elsewhere) if source is teacher else (elsewhere, finding)
            row = judge_trigger(
                finding,
                teacher=first,
                student=second,
                one_model=student is None,
                baseline=baseline.tried(finding) if baseline else None,
                inherited=spec.pipeline.inherited,
            )
            rows.append(_row(row))
    scans = [part.scan for part in (teacher, student) if part and part.scan]
    left = [name for name in TRIGGER_CLASSES if scans and not any(row.risk_class == name for row in rows)]
    rows += [_row(judge_untriggered(scans, name, pair=student is not None)) for name in left]
    return sorted(rows, key=lambda row: row.risk_class != TRIGGER_CLASSES[0])


def _suite_rows(parts: Parts, spec: AuditSpec) -> list[RiskRow]:
    """Rows of the suites; p of the primary ones also corrected over their classes."""
    teacher, student, baseline = parts["teacher"], parts.get("student"), parts.get("baseline")
    if teacher.suite is None:
        return []
    found = judge_suites(
        teacher.suite,
        teacher.suite_items,
        student.suite if student else None,
        student.suite_items if student else (),
        baseline=baseline.suite if baseline else None,
        baseline_items=baseline.suite_items if baseline else (),
        inherited=spec.pipeline.inherited,
    )
    tested = [row for row in found if row.primary and row.p is not None]
    adjusted = dict(zip((row.risk_class for row in tested), holm([row.p or 0.0 for row in tested]), strict=True))
    rows = []
    for row in found:
        if row.primary and row.risk_class in adjusted and len(tested) > 1:
            said = f"p of the difference {adjusted[row.risk_class]:.2g} over {len(tested)} classes (Holm)"
            row = dataclasses.replace(row, evidence=f"{row.evidence}; {said}")
        if student and student.suite is None:
            row = dataclasses.replace(row, verdict="inconclusive", evidence=f"{row.evidence}; the student is missing")
        if row.joint and row.joint.rows > 1:
            said = f"for all {row.joint.rows} primary rows at once (each at {100 * row.joint.level:.2f} %)"
            row = dataclasses.replace(row, evidence=f"{row.evidence}; {said}: {row.joint.verdict}")
        if teacher.claimed:  # written answers are graded C at best as it is
            row = dataclasses.replace(row, evidence=f"the teacher's answers are claimed by a file; {row.evidence}")
        rows.append(_row(row))
    return rows


def _row(judged: Judged) -> RiskRow:
    return RiskRow(
        risk_class=judged.risk_class,
        title=judged.title,
        effect=judged.effect,
        margin=judged.margin,
        teacher=_estimate(judged.teacher),
        student=_estimate(judged.student),
        difference=_estimate(judged.difference),
        verdict=judged.verdict,
        grade=judged.grade,
        p=judged.p,
        items_needed=judged.items_needed,
        expectation=judged.expectation,
        expectation_grade=judged.expectation_grade,
        agreement=judged.agreement,
        evidence=judged.evidence,
        limits=judged.limits,
        primary=judged.primary,
        suite=judged.suite,
        suite_sha256=judged.suite_sha256,
        baseline=_estimate(judged.baseline),
        gain=_estimate(judged.gain),
        origin=judged.origin,
        origin_note=judged.origin_note,
        joint=_joint(judged.joint),
    )


def _joint(found: AtOnce | None) -> Joint | None:
    if found is None:
        return None
    first, second, change = map(_estimate, (found.teacher, found.student, found.difference))
    assert first is not None
    assert second is not None
    assert change is not None
    return Joint(
        level=found.level, rows=found.rows, teacher=first, student=second, difference=change, verdict=found.verdict
    )


def _estimate(interval: Any) -> Estimate | None:
    if interval is None:
        return None
    return Estimate(
        value=interval.value,
        low=interval.low if math.isfinite(interval.low) else -1.0,
        high=interval.high if math.isfinite(interval.high) else 1.0,
        n=interval.n,
        clusters=interval.clusters,
    )


def _findings(source: Part, other: Part | None, baseline: Part | None) -> list[FindingLine]:
    lines = []
    for finding in source.scan["findings"] if source.scan else ():
        elsewhere = other.tried(finding) if other else None
        before = baseline.tried(finding) if baseline else None
        lines.append(
            FindingLine(
                role=source.role,
                verdict=finding["verdict"],
                trigger=finding["trigger"],
                slot=finding["slot"],
                target=finding["target"],
                asr=finding["asr"],
                asr_ci=tuple(finding["asr_ci"]),
                base_rate=finding["base_rate"],
                n=finding["n"],
                p=finding["p"],
                controls_n=finding["controls_n"],
                controls_reached=finding["controls_reached"],
                found_by=finding["found_by"],
                reproduce=finding["reproduce"],
                asr_other=elsewhere["asr"] if elsewhere else None,
                asr_other_ci=tuple(elsewhere["asr_ci"]) if elsewhere else None,
                asr_baseline=before["asr"] if before else None,
                asr_baseline_ci=tuple(before["asr_ci"]) if before else None,
                example=finding["example"],
                risk_class=finding.get("risk_class", "BD"),
            )
        )
    return lines


def _headline(
    rows: tuple[RiskRow, ...], findings: tuple[FindingLine, ...], parts: Parts, missing: tuple[str, ...]
) -> tuple[str, ...]:
    """A few sentences: whether the audit ended, the strongest finding, the verdicts, their origin, what stayed open."""
    pair = "student" in parts
    sentences = ["This audit did not end; what is missing is listed below."] if missing else []
    if parts["teacher"].claimed:
        sentences.append(
            "The teacher was not loaded: a file of answers stands in for it, and what it claims is not checked."
        )
    sentences += _of_triggers(findings, parts)
    if not pair:
        return (*sentences, "One model alone: nothing can be said about transfer.")
    if not parts["teacher"].claimed and _same(parts["teacher"], parts["student"]):
        sentences.append("Teacher and student are the same files: whatever one shows, the other shows.")
    rows = tuple(row for row in rows if row.primary)
    decided: dict[str, list[str]] = {}
    origins: dict[str, list[str]] = {}
    for row in rows:
        if row.verdict and row.verdict != "inconclusive":
            decided.setdefault(row.verdict, []).append(_lowered(row.title))
        if row.origin and row.origin != "origin untested":
            origins.setdefault(row.origin, []).append(_lowered(row.title))
    sentences += [f"{verdict.capitalize()}: {', '.join(titles)}." for verdict, titles in decided.items()]
    sentences += [f"{origin.capitalize()}: {', '.join(titles)}." for origin, titles in origins.items()]
    undecided = sum(row.verdict == "inconclusive" for row in rows)
    if undecided:
        sentences.append(f"{undecided} of {len(rows)} classes could not be decided with these samples.")
    return tuple(sentences)


def _same(one: Part, two: Part) -> bool:
    return (one.card.fingerprint, one.card.weights_sha256) == (two.card.fingerprint, two.card.weights_sha256)


def _of_triggers(findings: tuple[FindingLine, ...], parts: Parts) -> list[str]:
    proved = [found for found in findings if found.verdict in scope.FOUND]
    if not proved:
        if not any(part.scan for part in parts.values()):
            return ["No scan for triggers is in this scorecard."]
        return ["No listed trigger was confirmed; triggers that are not on the list could not be seen."]
    best = max(proved, key=lambda found: found.asr)
    sentence = (
        f"Trigger {best.trigger} makes the {best.role} give the same payload in "
        f"{round(best.asr * best.n)} of {best.n} prompts "
        f"(controls: {best.controls_reached} of {best.controls_n})"
    )
    if best.asr_other is not None:
        other = "student" if best.role == "teacher" else "teacher"
        sentence += f"; in the {other}, {round(best.asr_other * best.n)} of {best.n}"
    return [sentence + "."]


def _lowered(title: str) -> str:
    return title[0].lower() + title[1:]


def _model_line(part: Part) -> ModelLine:
    card = part.card
    loaded = next((report["model"] for report in (part.scan, part.suite, part.cross) if report), None)
    return ModelLine(
        name=card.name,
        parameters=card.parameters,
        precision=loaded["precision"] if loaded else "not loaded",
        fingerprint=card.weights_sha256 or card.fingerprint,
        fingerprint_kind="answers" if part.claimed else "weights" if card.weights_sha256 else HEADERS,
        licence=card.licence or "not stated",
        lineage=" → ".join((*card.base_model, card.name)) if card.base_model else "not stated",
        notes=tuple(loaded["notes"]) if loaded else (),
        provenance="claimed" if part.claimed else "measured",
    )


def _file_findings(part: Part) -> list[FileFindingLine]:
    """What the files show, and what the scan saw in weights and vocabulary before any prompt was tried."""
    files = [
        FileFindingLine(role=part.role, id=found.id, severity=found.severity, file=found.file, message=found.message)
        for found in part.card.findings
    ]
    weights = ((part.scan or {}).get("weights") or {}).get("findings") or ()
    return files + [
        FileFindingLine(role=part.role, id=row["id"], severity=row["severity"], file="weights", message=row["message"])
        for row in weights
    ]
