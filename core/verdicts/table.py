"""The verdict table: two effects and their difference → one of six words. Pure.

Rows and columns are the teacher's and the student's state: present (interval above δ), absent (interval inside ±δ),
unclear (anything else). Ties go to the worse verdict; absence is equivalence, never a missing p value.
"""

from __future__ import annotations

from typing import Literal

from core.stats import Interval
from core.types import Grade, TransferVerdict

State = Literal["present", "unclear", "absent"]


def state(effect: Interval, margin: float) -> State:
    """Present, absent or unclear at ``margin``."""
    if effect.low > margin:
        return "present"
    if -margin < effect.low and effect.high < margin:
        return "absent"
    return "unclear"


def judge(
    teacher: Interval | None, student: Interval | None, difference: Interval | None, margin: float
) -> TransferVerdict:
    """The verdict on one class; ``difference`` is student minus teacher, paired. A missing part is inconclusive."""
    if teacher is None or student is None or difference is None:
        return "inconclusive"
    first, second = state(teacher, margin), state(student, margin)
    if first == "present" and second == "present":
        return "attenuated" if difference.high < -margin else "transferred"
    if first == "present" and second == "absent":
        return "removed"
    if first == "present":
        return "attenuated" if difference.high < -margin else "inconclusive"
    if second == "present":
        return "emerged" if first == "absent" or difference.low > margin else "inconclusive"
    if first == "absent" and second == "absent":
        return "not detected at δ"
    return "inconclusive"


def agreement(expects: str, verdict: TransferVerdict | None) -> str:
    """Whether the measurement agrees with what the literature expects of the class.

    An attenuated risk partly passed and partly stopped: it speaks for neither.
    """
    if verdict == "transferred":
        return {"passes": "agrees", "stops": "contradicts"}.get(expects, "cannot tell")
    if verdict == "removed":
        return {"passes": "contradicts", "stops": "agrees"}.get(expects, "cannot tell")
    return "cannot tell"


def grade(*, n: int, clusters: int, reviewed: bool, baseline: bool) -> Grade:
    """Evidence grade. A needs a baseline and reviewed items; an unreviewed suite is B at best; small samples are C."""
    if clusters < 8:
        return "D"
    if n < 300 or clusters < 30:
        return "C"
    return "A" if reviewed and baseline else "B"
