"""Two measurements of one effect, before and after → whether it changed beyond noise. Pure."""

from __future__ import annotations

import math
from typing import Literal

from core.stats import Interval

Change = Literal["changed", "same within δ", "identical", "cannot tell"]


def unpaired_difference(before: Interval, after: Interval) -> Interval:
    """After minus before from two intervals alone (MOVER: Zou & Donner 2008, doi:10.1002/sim.3095, eq. 2).

    It takes the two for independent. Where the same items were asked twice they are not, and it is then too wide.
    """
    value = after.value - before.value
    low = value - math.hypot(after.value - after.low, before.high - before.value)
    high = value + math.hypot(after.high - after.value, before.value - before.low)
    return Interval(value, low, high, min(before.n, after.n), min(before.clusters, after.clusters))


def change(difference: Interval, margin: float) -> Change:
    """``changed`` where the interval excludes 0, ``same within δ`` where it holds 0 and lies inside ±δ.

    A change beyond noise may still be smaller than δ: :func:`against_margin` says which.
    """
    if difference.low > 0 or difference.high < 0:
        return "changed"
    return "same within δ" if -margin < difference.low and difference.high < margin else "cannot tell"


def against_margin(difference: Interval, margin: float) -> str:
    """A change against δ, in words."""
    if difference.low > margin or difference.high < -margin:
        return "by more than δ"
    return "by less than δ" if -margin < difference.low and difference.high < margin else "by more or less than δ"
