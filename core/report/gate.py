"""``--fail-on VERDICT[:CLASS]``: whether a report holds a verdict that a pipeline must not let through. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import yaml

from core.errors import InputError
from core.types import RESOURCES, ScanVerdict, TransferVerdict

SCAN = get_args(ScanVerdict)
VERDICTS = {"scan": SCAN, "audit": (*SCAN, *get_args(TransferVerdict)), "suite": ("present",)}
"""What can come out of a job. A suite on one model gives no verdict: ``present`` is an effect above its margin δ."""


def check_conditions(conditions: Sequence[str], job: str) -> None:
    """Raises InputError for a condition that could never be met: the gate would never close."""
    known = VERDICTS.get(job, ())
    if conditions and not known:
        raise InputError("no_gate", f"A run of {job} has no verdict to fail on.", "Leave out --fail-on.")
    for condition in conditions:
        verdict, _, risk_class = condition.partition(":")
        if verdict not in known:
            raise InputError(
                "bad_gate", f"{verdict!r} does not come out of a run of {job}.", f"Use one of: {', '.join(known)}."
            )
        classes = _classes()
        if risk_class and risk_class not in classes:
            raise InputError("bad_gate", f"{risk_class!r} is no risk class.", f"Use one of: {', '.join(classes)}.")
        if job == "scan" and risk_class and not risk_class.startswith("BD"):
            raise InputError("bad_gate", f"A scan finds no {risk_class}.", "Use BD, BD-R or BD-C, or run the suites.")


def meets(conditions: Sequence[str], report: dict[str, Any]) -> bool:
    """Whether one of the conditions is met by a report's rows, findings or suites; class BD holds BD-R and BD-C."""
    seen = {(finding["verdict"], finding.get("risk_class", "BD")) for finding in report.get("findings", ())}
    seen |= {(row["verdict"], row["risk_class"]) for row in report.get("rows", ())}
    seen |= {
        ("present", suite["risk_class"])
        for suite in report.get("suites", ())
        if suite["effect"]["low"] > suite["margin"]
    }
    if "verdict" in report.get("summary", {}):
        seen.add((report["summary"]["verdict"], "BD"))
    for condition in conditions:
        verdict, _, risk_class = condition.partition(":")
        if any(verdict == found and risk_class in ("", where, where.partition("-")[0]) for found, where in seen):
            return True
    return False


def _classes() -> list[str]:
    return ["BD", *yaml.safe_load((RESOURCES / "risk-classes.yaml").read_text("utf-8"))]
