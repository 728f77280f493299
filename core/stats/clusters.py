"""Means and ratios over clustered observations: interval, permutation p, effective n.

A cluster is an independently written template or topic; items of one cluster are not independent. The rule of the
interval was chosen by simulation (resources/help/statistics.md): BCa and the plain cluster-t interval are both too
short where clusters are few, unequal or skewed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

BOOTSTRAP_FROM = 20
"""Below, quantiles of a studentised bootstrap are too wild; the t interval alone is used."""
BOOTSTRAP_UP_TO = 2000
"""Above, the skew of a mean has worn off, and resamples would take gigabytes."""
BOOTSTRAP_TAIL = 0.8
"""Share of α that the bootstrap half may miss: at α itself it misses skewed effects on their heavy side in 3 % and not
2.5 %, and a miss there is a false "absent"."""
UNDECIDABLE_BELOW = 8
"""With fewer clusters no interval is given: whatever the items say, the row stays inconclusive."""
EXACT_UP_TO = 17
"""2^17 sign flips are enumerated; above, they are drawn."""
UNDEFINED_AT_MOST = 0.025
"""A ratio may be undefined (0/0) in this share of resamples; beyond, nothing is concluded from it."""
_CELLS = 1 << 20  # resamples × clusters worked on at once
_RESAMPLED = 1 << 22  # resamples × clusters kept

Statistic = Callable[[np.ndarray], np.ndarray]
"""(…, K) sums over items → (…) values of the metric; undefined is NaN."""


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
    """Mean of ``values`` with an interval that resamples whole clusters; see :func:`cluster_metric`.

    Args:
        values: one number an item. clusters: the cluster of each item.
        bounds: smallest and largest possible value of an item. The interval stays inside; and where all clusters agree
            exactly, so that nothing can be resampled, it has the width that the rule of three leaves: at most the share
            q = 1 − (α/2)^{1/G} of further clusters differs, each by no more than the way to the bound.
    """
    parts = {"sum": np.asarray(values, dtype=np.float64), "n": np.ones(len(values))}
    return cluster_metric(parts, clusters, mean_of_sums, bounds=bounds, draws=draws, seed=seed, level=level)


def cluster_metric(
    parts: Mapping[str, Sequence[float] | np.ndarray],
    clusters: Sequence[str],
    statistic: Statistic,
    *,
    bounds: tuple[float, float] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Any metric of sums over items, with an interval that resamples whole clusters and recomputes the metric.

    For the disambiguated BBQ score, say, ``parts`` are biased and non-unknown answers as 0/1 an item and
    ``statistic`` is ``lambda s: 2 * s[..., 0] / s[..., 1] - 1``.

    With θ the metric, θ₍g₎ the metric without cluster g and e² = (G−1)/G · Σ (θ₍g₎ − θ)² its jackknife variance over
    clusters (Efron and Stein 1981; for a mean this is CV3 of Bell and McCaffrey 2002), the interval is

    - G ≥ 8: θ ± t_ν · e. ν = (Σ v)²/Σ v² − 1 (Satterthwaite) counts unequal clusters as fewer: v_g = a·m_g + b·m_g² is
      the variance that a cluster of m_g items adds, a, b ≥ 0 fitted to the influences θ₍g₎ − θ. Equal sizes: ν = G − 1.
    - 20 ≤ G ≤ 2,000: the hull of that with the studentised bootstrap (θ − T₁₋κα/2 · e, θ − Tκα/2 · e) (Hall 1992,
      §3.3), which follows the skew of rare, clumped events; κ = 0.8. T are quantiles of (t_ν/t_{G−1}) · (θ* − θ)/e*,
      each draw with its own jackknife e*. Where few clusters differ, draws without spread make T infinite; so T·e is
      at most t_ν · e plus what the rule of three leaves to clusters not seen (q · way to the bound, see
      :func:`cluster_bootstrap`).
    - G < 8, or a metric that is undefined too often: the whole range, ``bounds`` or (−inf, inf), which decides nothing.
    """
    if not len(clusters):
        return Interval(float("nan"), *(bounds or (-np.inf, np.inf)), 0, 0)
    sums, sizes = _sums(parts, clusters)
    return interval_of_sums(sums, sizes, statistic, bounds=bounds, draws=draws, seed=seed, level=level)


def interval_of_sums(
    sums: np.ndarray,
    sizes: np.ndarray,
    statistic: Statistic,
    *,
    bounds: tuple[float, float] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The rule of :func:`cluster_metric` on ``sums`` (G, K) of clusters with ``sizes`` (G,) items."""
    groups, n = len(sums), int(sizes.sum())
    low, high = bounds or (-np.inf, np.inf)
    value = float(_quietly(statistic, sums.sum(0)))
    influence = _quietly(statistic, sums.sum(0) - sums) - value  # (G,); not finite: one cluster carries the metric
    if groups < UNDECIDABLE_BELOW or not np.isfinite(influence).all():
        return Interval(value, low, high, n, groups)
    if np.abs(influence).max() < 1e-12:
        unseen = _unseen(groups, level)
        return Interval(value, value - unseen * (value - low), value + unseen * (high - value), n, groups)
    error, degrees = _jackknife(influence), _degrees(influence, sizes)
    below = above = float(stats.t.ppf(0.5 + level / 2, degrees))
    if BOOTSTRAP_FROM <= groups <= BOOTSTRAP_UP_TO:
        scaled = _studentised(sums, statistic, value, error, degrees, (low, high), draws, seed)
        if scaled is None:
            return Interval(value, low, high, n, groups)
        tail = BOOTSTRAP_TAIL * (1 - level) / 2
        first, last = np.quantile(scaled, [tail, 1 - tail], method="inverted_cdf")
        below, above = max(below, -float(first)), max(above, float(last))
    return Interval(value, max(low, value - above * error), min(high, value + below * error), n, groups)


def cluster_p(
    values: Sequence[float],
    clusters: Sequence[str],
    *,
    bounds: tuple[float, float] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p that the mean is 0: the largest of the sign flips' and of both halves of the interval's rule.

    Sign flips are exact where values are symmetric about 0, and reject too often where they are rare and clumped; the
    interval's rule is made for that. So p ≤ 0.05 only where the 95 % interval excludes 0 as well. 1 below 8 clusters.
    """
    data = np.asarray(values, dtype=np.float64)
    if len(set(clusters)) < UNDECIDABLE_BELOW:
        return 1.0
    sums, sizes = _sums({"sum": data, "n": np.ones(len(data))}, clusters)
    return max(sign_flip_p(values, clusters, seed=seed), p_of_sums(sums, sizes, bounds=bounds, draws=draws, seed=seed))


def p_of_sums(
    sums: np.ndarray,
    sizes: np.ndarray,
    *,
    bounds: tuple[float, float] | None = None,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """Smallest α whose interval by :func:`interval_of_sums` excludes a mean of 0. Takes (G, 2) sums of values and n."""
    groups, value = len(sums), float(mean_of_sums(sums.sum(0)))
    influence = mean_of_sums(sums.sum(0) - sums) - value
    if np.abs(influence).max() < 1e-12:
        return 0.0 if value else 1.0  # all agree: the sign flips decide
    error, degrees = _jackknife(influence), _degrees(influence, sizes)
    reach = value / error
    p = 2 * float(stats.t.sf(abs(reach), degrees))
    if BOOTSTRAP_FROM <= groups <= BOOTSTRAP_UP_TO:
        scaled = _studentised(sums, mean_of_sums, value, error, degrees, bounds or (-np.inf, np.inf), draws, seed)
        assert scaled is not None  # a mean is always defined
        beyond = scaled >= reach if reach > 0 else scaled <= reach
        p = max(p, 2 / BOOTSTRAP_TAIL * (float(beyond.sum()) + 1) / (len(scaled) + 1))
    return min(1.0, p)


def mean_of_sums(sums: np.ndarray) -> np.ndarray:
    """Σ values / n of (…, 2) sums."""
    ratio: np.ndarray = sums[..., 0] / sums[..., 1]
    return ratio


def _sums(parts: Mapping[str, Sequence[float] | np.ndarray], clusters: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(G, K) sums and (G,) sizes, clusters by name."""
    _, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    columns = [np.bincount(member, np.asarray(part, dtype=np.float64)) for part in parts.values()]
    return np.stack(columns, axis=1), np.bincount(member)


def _quietly(statistic: Statistic, sums: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(statistic(sums), dtype=np.float64)


def _unseen(groups: int, level: float) -> float:
    """The share of further clusters that may differ although none of ``groups`` did (Clopper and Pearson, k = 0)."""
    return float(1 - ((1 - level) / 2) ** (1 / groups))


def _jackknife(influence: np.ndarray) -> float:
    groups = len(influence)
    return float(np.sqrt((groups - 1) / groups * (influence**2).sum()))


def _degrees(influence: np.ndarray, sizes: np.ndarray) -> float:
    """ν: non-negative least squares of influence²/m on (1, m), then Satterthwaite."""
    target, spread = influence**2 / sizes, sizes - sizes.mean()
    variance = float((spread**2).sum())
    slope = float((spread * target).sum()) / variance if variance else 0.0
    base = float(target.mean()) - slope * float(sizes.mean())
    if slope <= 0:
        base, slope = 1.0, 0.0
    elif base < 0:
        base, slope = 0.0, 1.0
    added = base * sizes + slope * sizes**2
    return max(1.0, float(added.sum() ** 2 / (added**2).sum()) - 1)


def _studentised(
    sums: np.ndarray,
    statistic: Statistic,
    value: float,
    error: float,
    degrees: float,
    bounds: tuple[float, float],
    draws: int,
    seed: int,
) -> np.ndarray | None:
    """T of ``draws`` resamples of clusters, widened and capped as said above; None if too many are undefined."""
    groups, columns = len(sums), sums.T[:, None, :]  # (K, 1, G)
    draws = min(draws, max(2000, _RESAMPLED // groups))
    scaled = np.empty(draws)
    counts = _resamples(groups, draws, seed)
    for start in range(0, draws, step := max(1, _CELLS // groups)):
        times = counts[start : start + step]  # (B, G): how often each cluster was drawn
        totals = times @ sums  # (B, K)
        change = _quietly(statistic, totals) - value  # (B,)
        # one draw of cluster g left out; components move last as a view, so that each lies contiguous
        influence = _quietly(statistic, np.moveaxis(totals.T[:, :, None] - columns, 0, -1))  # (B, G)
        with np.errstate(divide="ignore", invalid="ignore"):
            influence -= (change + value)[:, None]
            influence *= influence
            influence *= times
            if np.isnan(influence).any():
                influence[times == 0] = 0  # what was not drawn cannot be left out
            own = np.sqrt((groups - 1) / groups * influence.sum(1))
            # a resample without spread says that the error can be far too small: it lies beyond every quantile
            scaled[start : start + step] = np.where(np.abs(change) < 1e-12, 0.0, change / own)
    usable = scaled[~np.isnan(scaled)]
    if len(usable) < (1 - UNDEFINED_AT_MOST) * draws:
        return None
    t, unseen = float(stats.t.ppf(0.975, degrees)), _unseen(groups, 0.95)
    caps = (t + unseen * (value - bounds[0]) / error, t + unseen * (bounds[1] - value) / error)
    return np.clip(usable * t / float(stats.t.ppf(0.975, groups - 1)), -caps[1], caps[0])


@lru_cache(maxsize=4)
def _resamples(groups: int, draws: int, seed: int) -> np.ndarray:
    """(draws, G) counts; the same for teacher, student and difference, which also makes a second call cheap."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(groups, np.full(groups, 1 / groups), draws).astype(np.float64)


class Precision(NamedTuple):
    """What clustering costs.

    Attributes:
        error: standard error of the mean (jackknife over clusters).
        design_effect: error² over that of as many independent items; NaN where items do not vary.
        effective_n: n / design effect: so many independent items would say as much.
        detectable: smallest true mean that is told from 0 with 80 % power, (t₁₋α/2 + t_power) · error at G − 1 degrees.
    """

    error: float
    design_effect: float
    effective_n: float
    detectable: float


def precision(
    values: Sequence[float], clusters: Sequence[str], *, level: float = 0.95, power: float = 0.8
) -> Precision:
    """Standard error, design effect (Kish 1965, §8.2), effective n and detectable effect of a clustered mean."""
    data = np.asarray(values, dtype=np.float64)
    names, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    groups, n = len(names), len(data)
    if groups < 2:
        return Precision(float("inf"), float("nan"), float("nan"), float("inf"))
    sums, sizes = np.bincount(member, data), np.bincount(member)
    error = _jackknife((data.sum() - sums) / (n - sizes) - data.mean())
    independent = float(data.var(ddof=1)) / n
    effect = error**2 / independent if independent > 0 else float("nan")
    reach = float(stats.t.ppf(0.5 + level / 2, groups - 1) + stats.t.ppf(power, groups - 1))
    return Precision(error, effect, n / effect if effect > 0 else float("nan"), reach * error)


def sign_flip_p(values: Sequence[float], clusters: Sequence[str], *, draws: int = 100_000, seed: int = 0) -> float:
    """Two-sided p that the mean is 0, flipping the sign of whole clusters.

    Exact over all 2^G flips for G ≤ 17, else p = (b + 1) / (draws + 1) (Phipson and Smyth 2010).
    """
    data = np.asarray(values, dtype=np.float64)
    _, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.bincount(member, weights=data)
    sums = sums[sums != 0]  # a cluster that sums to 0 changes nothing under a flip
    groups = len(sums)
    observed = abs(sums.sum()) - 1e-12 * max(1.0, np.abs(sums).sum())
    if groups <= EXACT_UP_TO:
        reached = np.zeros(1)
        for part in sums:  # all signed sums, doubling cluster by cluster
            reached = np.concatenate([reached + part, reached - part])
        return float((np.abs(reached) >= observed).mean())
    generator, hits, step = np.random.default_rng(seed), 0, max(1, _CELLS // groups)
    for start in range(0, draws, step):
        signs = generator.integers(0, 2, (min(step, draws - start), groups), dtype=np.int8)
        hits += int((np.abs(2 * (signs @ sums) - sums.sum()) >= observed).sum())
    return (hits + 1) / (draws + 1)


def equivalent(effect: Interval, margin: float) -> bool:
    """Absence at δ: the whole 95 % interval lies inside ±δ (two one-sided tests at 2.5 %, Schuirmann 1987).

    2.5 % a side and not the usual 5 %, since the costly error here is false assurance.
    """
    return -margin < effect.low and effect.high < margin


class Paired(NamedTuple):
    """Student minus teacher over the items that both have.

    Attributes:
        difference: mean of d = s − t, with its interval.
        p: two-sided, see :func:`cluster_p`; None without pairs.
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
        p=cluster_p(changes, clusters, bounds=bounds, seed=seed) if changes else None,
        changed=sum(change != 0 for change in changes) / max(1, len(changes)),
        left_out=len(teacher) + len(student) - 2 * len(shared),
    )
