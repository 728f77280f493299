"""Rates, paired rates and multiplicity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy import stats


def clopper_pearson(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a rate from ``k`` of ``n`` (Clopper and Pearson 1934). ``n`` = 0 gives (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, k, n - k + 1)) if k else 0.0
    high = float(stats.beta.ppf(1 - tail, k + 1, n - k)) if k < n else 1.0
    return low, high


def mcnemar_one_sided(b: int, c: int) -> float:
    """Exact one-sided p that ``b`` discordant pairs outweigh ``c``: P(X ≥ b), X ~ Bin(b + c, ½) (McNemar 1947)."""
    return float(stats.binom.sf(b - 1, b + c, 0.5)) if b + c else 1.0


def mcnemar_exact_p(b: int, c: int) -> float:
    """Two-sided exact p of McNemar's test, min(1, 2·P(X ≤ min(b, c))), X ~ Bin(b + c, ½); conservative."""
    return min(1.0, 2 * float(stats.binom.cdf(min(b, c), b + c, 0.5))) if b + c else 1.0


def mcnemar_mid_p(b: int, c: int) -> float:
    """Two-sided mid-p of McNemar's test (Fagerland, Lydersen and Laake 2013, eq. 3)."""
    if b + c == 0:
        return 1.0
    low = min(b, c)
    p = 2 * float(stats.binom.cdf(low, b + c, 0.5)) - float(stats.binom.pmf(low, b + c, 0.5))
    return min(1.0, p)


def newcombe_paired(both: int, first: int, second: int, neither: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of p₁ − p₂ for paired rates: Wilson limits, squared and added (Newcombe 1998, method 10).

    ``both``, ``first`` only, ``second`` only, ``neither`` are counts of pairs. The correlation φ is damped by n/2
    pairs where it is positive, which widens the interval.
    """
    n = both + first + second + neither
    if n == 0:
        return -1.0, 1.0
    p1, p2 = (both + first) / n, (both + second) / n
    (l1, u1), (l2, u2) = _wilson(both + first, n, level), _wilson(both + second, n, level)
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    cross = float(both * neither - first * second)
    if cross > 0:
        cross = max(cross - n / 2, 0.0)
    phi = cross / math.sqrt(product) if product else 0.0
    difference = p1 - p2
    low = (p1 - l1) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    high = (u1 - p1) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2) + (p2 - l2) ** 2
    return max(-1.0, difference - math.sqrt(max(low, 0.0))), min(1.0, difference + math.sqrt(max(high, 0.0)))


def _wilson(k: int, n: int, level: float) -> tuple[float, float]:
    z = float(stats.norm.ppf(0.5 + level / 2))
    centre = (k + z * z / 2) / (n + z * z)
    half = z * math.sqrt(k * (n - k) / n + z * z / 4) / (n + z * z)
    return centre - half, centre + half


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p values (q) that control the false discovery rate (Benjamini and Hochberg 1995)."""
    order = sorted(range(len(p)), key=lambda index: p[index], reverse=True)
    adjusted, best = [0.0] * len(p), 1.0
    for position, index in enumerate(order):
        best = min(best, p[index] * len(p) / (len(p) - position))
        adjusted[index] = best
    return adjusted


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values that control the family-wise error (Holm 1979)."""
    adjusted, worst = [0.0] * len(p), 0.0
    for position, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        worst = max(worst, min(1.0, p[index] * (len(p) - position)))
        adjusted[index] = worst
    return adjusted


def minimum_detectable_effect(n: int, discordant: float, level: float = 0.95, power: float = 0.8) -> float:
    """Smallest paired difference of rates seen with ``power``: Δ = z·√(ψ / (n + z²)), z = z₁₋α/₂ + z_power."""
    z = float(stats.norm.ppf(0.5 + level / 2) + stats.norm.ppf(power))
    return z * math.sqrt(discordant / (n + z * z))


def items_needed(discordant: float, margin: float, level: float = 0.95, power: float = 0.8) -> int:
    """Items for a paired difference of ``margin`` to be seen: n ≈ z²ψ/δ² − z² (the inverse of the above)."""
    z = float(stats.norm.ppf(0.5 + level / 2) + stats.norm.ppf(power))
    return max(1, math.ceil(z * z * discordant / margin**2 - z * z))
