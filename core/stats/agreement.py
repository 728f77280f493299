"""Agreement of two raters beyond chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """κ = (p_o − p_e) / (1 − p_e), p_e from each rater's own shares (Cohen 1960). None where it is undefined."""
    n = len(first)
    if n == 0:
        return None
    observed = sum(one == two for one, two in zip(first, second, strict=True)) / n
    one, two = Counter(first), Counter(second)
    expected = sum(one[kind] * two[kind] for kind in one) / n**2
    return (observed - expected) / (1 - expected) if expected < 1 else None
