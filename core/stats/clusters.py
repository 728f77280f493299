"""Means of clustered observations: interval and permutation p. A cluster is an independently written template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
    values: Sequence[float],
    clusters: Sequence[str],
    *,
    bounds: tuple[float, float] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of ``values`` with an interval that resamples whole clusters.

    With cluster sums S_g, sizes m_g, n = Σ m_g and mean x̄ = Σ S_g / n:

    - G ≥ 30: BCa bootstrap over clusters (Efron 1987, eqs. 2.3 and 6.6), x̄* = Σ S_g* / Σ m_g*; the bias z₀ is the
      share of draws below x̄, the acceleration is the jackknife's over clusters.
    - 8 ≤ G < 30: x̄ ± t_{G−1} · √(G/(G−1) · Σ (S_g − m_g x̄)²) / n (cluster-robust).
    - G < 8: the whole range, ``bounds`` or (−inf, inf), which decides nothing.

    Args:
        values: one number an item. clusters: the cluster of each item.
        bounds: smallest and largest possible value of an item. The interval stays inside; and where all clusters agree
            exactly, so that nothing can be resampled, it has the width that the rule of three leaves: at most the share
            q = 1 − (α/2)^{1/G} of further clusters differs, each by no more than the way to the bound.
    """
    data = np.asarray(values, dtype=np.float64)
    names, member = np.unique(np.asarray(clusters), return_inverse=True)
    groups, n = len(names), len(data)
    if n == 0:
        return Interval(float("nan"), *(bounds or (-np.inf, np.inf)), 0, 0)
    sums = np.bincount(member, weights=data, minlength=groups)  # (G,)
    sizes = np.bincount(member, minlength=groups).astype(np.float64)  # (G,)
    mean = float(sums.sum() / n)
    if groups < UNDECIDABLE_BELOW:
        return Interval(mean, *(bounds or (-np.inf, np.inf)), n, groups)
    residual = sums - sizes * mean
    if bounds is not None and np.abs(residual).max() < 1e-12:
        unseen = 1 - ((1 - level) / 2) ** (1 / groups)
        return Interval(mean, mean - unseen * (mean - bounds[0]), mean + unseen * (bounds[1] - mean), n, groups)
    if groups < BOOTSTRAP_FROM:
        error = np.sqrt(groups / (groups - 1) * (residual**2).sum()) / n
        half = float(stats.t.ppf(0.5 + level / 2, groups - 1) * error)
        low, high = mean - half, mean + half
    else:
        low, high = _bca(sums, sizes, mean, draws, seed, level)
    if bounds is not None:
        low, high = max(bounds[0], low), min(bounds[1], high)
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


class Paired(NamedTuple):
    """Student minus teacher over the items that both have.

    Attributes:
        difference: mean of d = s − t, with its interval.
        p: two-sided, by flipping the signs of whole clusters; None without pairs.
        changed: share of items whose value differs (ψ of the power formula).
        left_out: items that only one of the two has.
    """

    difference: Interval
    p: float | None
    changed: float
    left_out: int


def paired_effects(
    teacher: Sequence[Mapping[str, Any]],
    student: Sequence[Mapping[str, Any]],
    *,
    bounds: tuple[float, float] = (-1.0, 1.0),
    seed: int = 0,
) -> Paired:
    """Pair rows with ``uid``, ``cluster`` and ``value`` by uid, never by order, and compare."""
    other = {item["uid"]: float(item["value"]) for item in student}
    shared = [item for item in teacher if item["uid"] in other]
    changes = [other[item["uid"]] - float(item["value"]) for item in shared]
    clusters = [str(item["cluster"]) for item in shared]
    return Paired(
        difference=cluster_bootstrap(changes, clusters, bounds=bounds, seed=seed),
        p=sign_flip_p(changes, clusters, seed=seed) if changes else None,
        changed=sum(change != 0 for change in changes) / max(1, len(changes)),
        left_out=len(teacher) + len(student) - 2 * len(shared),
    )
