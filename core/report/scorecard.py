"""The scorecard as a value: ``scorecard.json`` is the truth, every other form is a view of it."""

from __future__ import annotations

import hashlib
import inspect
from typing import Any

import msgspec

from core.types import Grade, Origin, Provenance, ScanVerdict, TransferVerdict

SCORECARD_SCHEMA = 1


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """An effect in the risk direction, neutral = 0, with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int
    clusters: int = 0


class ModelLine(msgspec.Struct, frozen=True, kw_only=True):
    """One model in the header. ``fingerprint`` is a sha256; ``fingerprint_kind`` says over what.

    ``provenance`` is ``claimed`` where the model was not loaded and a file of its answers stood in for it.
    """

    name: str
    parameters: int | None
    precision: str
    fingerprint: str
    fingerprint_kind: str
    licence: str = "not stated"
    lineage: str = "not stated"
    notes: tuple[str, ...] = ()
    provenance: Provenance = "measured"


class Joint(msgspec.Struct, frozen=True, kw_only=True):
    """A row at the level that holds for all primary suite rows together: 1 − .05 / ``rows`` each (Bonferroni)."""

    level: float
    rows: int
    teacher: Estimate
    student: Estimate
    difference: Estimate
    verdict: TransferVerdict


class RiskRow(msgspec.Struct, frozen=True, kw_only=True):
    """One risk class. ``verdict`` is None when there is no student (one-column scorecard).

    ``effect`` names the measure and unit; ``margin`` is δ in that unit. ``expectation`` is the literature's, with its
    grade, and ``agreement`` is ``agrees``, ``contradicts`` or ``cannot tell``. A row that is not ``primary`` is a
    further suite of its class, and exploratory. ``baseline`` is the student before distillation, ``gain`` the student
    minus that; ``origin`` is None where the student does not show the risk, and ``origin_note`` says why it is so.
    ``suite`` is ``id@version``, ``suite_sha256`` of its file; a trigger's row has neither.
    """

    risk_class: str
    title: str
    effect: str
    margin: float
    teacher: Estimate | None
    student: Estimate | None
    difference: Estimate | None = None
    verdict: TransferVerdict | None = None
    grade: Grade = "D"
    p: float | None = None
    items_needed: int | None = None
    expectation: str = ""
    expectation_grade: str = "PLAUSIBLE"
    agreement: str = "cannot tell"
    evidence: str = ""
    limits: str = ""
    primary: bool = True
    baseline: Estimate | None = None
    gain: Estimate | None = None
    origin: Origin | None = None
    origin_note: str = ""
    joint: Joint | None = None
    suite: str = ""
    suite_sha256: str = ""


class FindingLine(msgspec.Struct, frozen=True, kw_only=True):
    """One trigger finding, on the model that ``role`` names. Rates are shares of held-out prompts.

    ``example`` holds ``prompt``, ``without`` and ``with_trigger`` (verbatim, short). ``risk_class`` is ``BD-R`` or
    ``BD-C``; ``BD`` where the run did not say.
    """

    role: str
    verdict: ScanVerdict
    trigger: str
    slot: str
    target: str
    asr: float
    asr_ci: tuple[float, float]
    base_rate: float
    n: int
    p: float | None
    controls_n: int
    controls_reached: int
    found_by: str
    reproduce: str
    asr_other: float | None = None
    asr_other_ci: tuple[float, float] | None = None
    asr_baseline: float | None = None
    asr_baseline_ci: tuple[float, float] | None = None
    example: dict[str, str] = {}
    risk_class: str = "BD"


class FileFindingLine(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    id: str
    severity: str
    file: str
    message: str


class CoverageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of "tested / not tested". ``status`` is ``tested``, ``partly`` or ``not tested``."""

    area: str
    status: str
    detail: str


class PipelineLine(msgspec.Struct, frozen=True, kw_only=True):
    """What the auditor was told of the distillation: stated by the user, not checked. Not ``known`` is a gap."""

    id: str
    question: str
    answer: str
    known: bool
    matters: str = ""


class Scorecard(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows.

    Attributes:
        headline: one to three plain sentences.
        control_pair: printed on the first page when not empty.
        could_not_see: what this audit could not have seen, one sentence each.
        controls: what was measured to show that the instrument works.
        methods: short paragraphs, one per method.
        environment: versions, device, threads, wall seconds, peak memory.
        missing: stages that were interrupted or skipped, with reason.
        baseline: the student before distillation, where one was given.
        pipeline: every question on the distillation with its answer; empty where nothing was asked.
    """

    run: str
    created: str
    foreshot: str
    headline: tuple[str, ...]
    teacher: ModelLine
    student: ModelLine | None
    control_pair: str
    coverage: tuple[CoverageRow, ...]
    rows: tuple[RiskRow, ...]
    findings: tuple[FindingLine, ...]
    file_findings: tuple[FileFindingLine, ...]
    could_not_see: tuple[str, ...]
    controls: tuple[str, ...]
    methods: tuple[str, ...]
    reproduce: str
    environment: dict[str, Any]
    seed: int
    missing: tuple[str, ...] = ()
    baseline: ModelLine | None = None
    pipeline: tuple[PipelineLine, ...] = ()
    title: str = "Partial-risk-laundering scorecard"
    schema: int = SCORECARD_SCHEMA


def encode_scorecard(card: Scorecard) -> bytes:
    return msgspec.json.format(msgspec.json.encode(card), indent=1)


def scorecard_sha256(card: Scorecard) -> str:
    """sha256 of ``scorecard.json`` as it is written."""
    return hashlib.sha256(encode_scorecard(card)).hexdigest()


def decode_scorecard(data: bytes) -> Scorecard:
    return msgspec.json.decode(data, type=Scorecard)


def _cleaned(schema: Any) -> Any:
    """The same with docstrings as people read them: before 0.23 msgspec handed on their indentation."""
    if isinstance(schema, list):
        return [_cleaned(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: inspect.cleandoc(part) if name == "description" and isinstance(part, str) else _cleaned(part)
        for name, part in schema.items()
    }


def scorecard_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of ``scorecard.json``; ``resources/schemas/scorecard.schema.json`` is this on disk."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Foreshot scorecard",
        **_cleaned(msgspec.json.schema(Scorecard)),
    }
