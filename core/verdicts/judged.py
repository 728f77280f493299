"""A row of the scorecard before it is laid out, and what the literature says of its class."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from core.stats import Interval
from core.types import RESOURCES, Grade, Origin, TransferVerdict
from core.verdicts.joint import AtOnce
from core.verdicts.table import agreement


@dataclass(frozen=True)
class Judged:
    """One row. Effects point in the risk direction; neutral is 0. ``primary``: it stands for its class.

    ``gain`` is the student minus the baseline; ``origin`` is None where the student does not show the risk.
    """

    risk_class: str
    title: str
    effect: str
    margin: float
    teacher: Interval | None
    student: Interval | None
    difference: Interval | None
    verdict: TransferVerdict | None
    grade: Grade
    p: float | None
    items_needed: int | None
    expectation: str
    expectation_grade: str
    agreement: str
    evidence: str
    limits: str
    primary: bool = True
    suite: str = ""
    suite_sha256: str = ""
    baseline: Interval | None = None
    gain: Interval | None = None
    origin: Origin | None = None
    origin_note: str = ""
    joint: AtOnce | None = None


@cache
def classes() -> dict[str, dict[str, str]]:
    """Every risk class in the order of the scorecard."""
    found: dict[str, dict[str, str]] = yaml.safe_load((RESOURCES / "risk-classes.yaml").read_text("utf-8"))
    return found


def class_titles() -> dict[str, str]:
    """Title of every risk class, in the order of the scorecard."""
    return {name: facts["title"] for name, facts in classes().items()}


def class_facts(risk_class: str) -> dict[str, str]:
    return classes().get(risk_class, {"title": risk_class, "expectation": "none", "expects": "", "grade": "none"})


def judged(facts: dict[str, str], risk_class: str, **row: Any) -> Judged:
    return Judged(
        risk_class=risk_class,
        expectation=facts["expectation"],
        expectation_grade=facts["grade"],
        agreement=agreement(facts["expects"], row["verdict"]),
        **row,
    )
