"""Means of clustered observations: interval and permutation p. A cluster is an independently written template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

BOOTSTRAP_FROM = 30
"""From this many clusters on the BCa bootstrap holds its level; below, the t interval with G − 1 degrees is used."""
UNDECIDABLE_BELOW = 8


class Interval(NamedTuple):
    """A value with its interval, over ``n`` items in ``clusters`` clusters."""

    value: float
    low: float
    high: float
    n: int
    clusters: int


def cluster_bootstrap(
    values: Sequence[float], clusters: Sequence[str], *, draws: int = 10_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of ``values`` with an interval that resamples whole clusters.

    30 clusters or more: BCa bootstrap (Efron 1987), accelerated by the jackknife over clusters. 8 to 29: cluster-robust
    t with G − 1 degrees and the factor G/(G − 1). Fewer: (−inf, inf), which decides nothing.
    """
    data = np.asarray(values, dtype=np.float64)
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    groups, n = len(names), len(data)
    if n == 0:
        return Interval(float("nan"), -np.inf, np.inf, 0, 0)
    sums = np.bincount(member, weights=data, minlength=groups)  # (G,)
    sizes = np.bincount(member, minlength=groups).astype(np.float64)  # (G,)
    mean = float(sums.sum() / n)
    if groups < UNDECIDABLE_BELOW:
        return Interval(mean, -np.inf, np.inf, n, groups)
    if groups < BOOTSTRAP_FROM:
        residual = sums - sizes * mean
        error = np.sqrt(groups / (groups - 1) * (residual**2).sum()) / n
        half = float(stats.t.ppf(0.5 + level / 2, groups - 1) * error)
        return Interval(mean, mean - half, mean + half, n, groups)
    low, high = _bca(sums, sizes, mean, draws, seed, level)
    return Interval(mean, low, high, n, groups)


def _bca(sums: np.ndarray, sizes: np.ndarray, mean: float, draws: int, seed: int, level: float) -> tuple[float, float]:
    groups = len(sums)
    picks = np.random.default_rng(seed).integers(0, groups, (draws, groups))
    means = sums[picks].sum(1) / sizes[picks].sum(1)  # (draws,)
    if np.ptp(means) == 0:
        return mean, mean
    left_out = (sums.sum() - sums) / (sizes.sum() - sizes)
    deviation = left_out.mean() - left_out
    spread = float((deviation**2).sum())
    acceleration = float((deviation**3).sum()) / (6 * spread**1.5) if spread else 0.0
    below = ((means < mean).sum() + 0.5 * (means == mean).sum()) / draws
    bias = float(stats.norm.ppf(np.clip(below, 1 / draws, 1 - 1 / draws)))
    z = stats.norm.ppf([0.5 - level / 2, 0.5 + level / 2])
    shares = stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
    low, high = np.quantile(means, shares)
    return float(low), float(high)


def sign_flip_p(values: Sequence[float], clusters: Sequence[str], *, draws: int = 20_000, seed: int = 0) -> float:
    """Two-sided p that the mean is 0, flipping the sign of whole clusters.

    Exact over all 2^G flips for G ≤ 14, else p = (b + 1) / (draws + 1).
    """
    data = np.asarray(values, dtype=np.float64)
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(member, weights=data)
    groups = len(sums)
    observed = abs(sums.sum()) - 1e-12
    if groups <= 14:
        signs = 1 - 2 * ((np.arange(2**groups)[:, None] >> np.arange(groups)) & 1)
        return float((np.abs(signs @ sums) >= observed).mean())
    signs = np.random.default_rng(seed).integers(0, 2, (draws, groups)) * 2 - 1
    return float(((np.abs(signs @ sums) >= observed).sum() + 1) / (draws + 1))
