"""Numbers as they stand on a page: a true minus, a dash for what is not a number."""

from __future__ import annotations

import math

from core.report.scorecard import Estimate

MINUS = "\u2212"


def number(value: float | None, digits: int = 2, sign: bool = True) -> str:
    """``+0.48``; a true minus; a dash for what is not a number. Zero has no sign."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def percent(value: float | None) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def percent_interval(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f"[{100 * pair[0]:.1f}, {100 * pair[1]:.1f}]"


def p_value(p: float | None) -> str:
    if p is None or not math.isfinite(p):
        return "–"
    if p < 1e-4:
        mantissa, exponent = f"{p:.0e}".split("e") if p > 0 else ("0", "0")
        raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa} × 10{raised}" if p > 0 else "0"
    return f"{p:.4f}" if p < 0.1 else f"{p:.2f}"


def interval(e: Estimate | None) -> str:
    return "" if e is None else f"[{number(e.low)}, {number(e.high)}]"
