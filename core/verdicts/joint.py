"""The primary rows once more, at a level that holds for all of them together (Bonferroni). Pure.

A row's own interval misses in 5 % of audits; among twelve rows some interval misses in nearly every second one. At
1 − .05 / rows for each, the teacher's intervals of all rows hold together in at least 95 %, whatever depends on what,
and so do the student's and the differences'. A trigger's row is not among them: its p is corrected over the candidates
of its own scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from core.stats import Interval, cluster_bootstrap
from core.types import TransferVerdict
from core.verdicts.table import judge

ALPHA = 0.05
Row = Mapping[str, Any]


class AtOnce(NamedTuple):
    """A row's intervals at ``level`` and the verdict that they give."""

    level: float
    rows: int
    teacher: Interval
    student: Interval
    difference: Interval
    verdict: TransferVerdict


def at_once(
    teacher: Sequence[Row],
    student: Sequence[Row],
    verdict: TransferVerdict,
    *,
    margin: float,
    bounds: tuple[float, float],
    rows: int,
) -> AtOnce:
    """One of ``rows`` rows, which by itself says ``verdict``; what is undecided or in doubt by itself stays so."""
    level = 1 - ALPHA / rows
    other = {item["uid"]: item for item in student}
    shared = [(item, other[item["uid"]]) for item in teacher if item["uid"] in other]
    changes = [two["value"] - one["value"] for one, two in shared]
    span = bounds[1] - bounds[0]
    first, second = _mean(teacher, bounds, level), _mean(student, bounds, level)
    difference = cluster_bootstrap(
        changes, [str(one["cluster"]) for one, _ in shared], bounds=(-span, span), level=level
    )
    said = verdict if verdict == "inconclusive" else judge(first, second, difference, margin)
    return AtOnce(level, rows, first, second, difference, said)


def _mean(items: Sequence[Row], bounds: tuple[float, float], level: float) -> Interval:
    return cluster_bootstrap(
        [item["value"] for item in items], [str(item["cluster"]) for item in items], bounds=bounds, level=level
    )
