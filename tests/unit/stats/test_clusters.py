"""Clustered means: order of items, and sign flips against full enumeration and against scipy."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from core.stats import (
    Interval,
    cluster_bootstrap,
    cluster_metric,
    cluster_p,
    equivalent,
    precision,
    sign_flip_p,
)
from core.stats.clusters import mean_of_sums


def names(groups: int, size: int = 1) -> list[str]:
    return [f"c{group:03d}" for group in range(groups) for _ in range(size)]


def test_the_order_of_items_does_not_matter() -> None:
    values, clusters = list(np.random.default_rng(4).normal(size=120)), names(40, 3)
    found = cluster_bootstrap(values, clusters, draws=500, seed=7)
    turned = cluster_bootstrap(values[::-1], clusters[::-1], draws=500, seed=7)
    assert turned == pytest.approx(found)


@pytest.mark.parametrize("groups", [8, 29, 60])
def test_the_interval_is_never_shorter_than_students(groups: int) -> None:
    values = np.random.default_rng(1).normal(0.3, 1, groups)
    found = cluster_bootstrap(list(values), names(groups))
    wanted = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.low <= wanted.low + 1e-9
    assert found.high >= wanted.high - 1e-9
    assert found.high - found.low < 1.25 * (wanted.high - wanted.low)


def slow_interval(groups: list[list[float]], draws: int, seed: int) -> tuple[float, float]:
    """The rule once more, from the formulas, on lists of items; equal sizes, so that ν = G − 1 and c = 1."""

    def mean(chosen: list[list[float]]) -> float:
        return float(np.mean([value for group in chosen for value in group]))

    def error(chosen: list[list[float]]) -> float:
        out = [mean(chosen[:index] + chosen[index + 1 :]) for index in range(len(chosen))]
        return math.sqrt((len(chosen) - 1) / len(chosen) * sum((one - mean(chosen)) ** 2 for one in out))

    counts = np.random.default_rng(seed).multinomial(len(groups), [1 / len(groups)] * len(groups), draws)
    scaled = []
    for row in counts:
        chosen = [group for group, times in zip(groups, row, strict=True) for _ in range(times)]
        scaled.append((mean(chosen) - mean(groups)) / error(chosen))
    below, above = np.quantile(scaled, [0.02, 0.98], method="inverted_cdf")
    t = stats.t.ppf(0.975, len(groups) - 1)
    return mean(groups) - max(t, above) * error(groups), mean(groups) + max(t, -below) * error(groups)


def test_the_rule_equals_its_formulas() -> None:
    items = np.random.default_rng(2).exponential(1, (20, 3))
    found = cluster_bootstrap(list(items.ravel()), names(20, 3), draws=310, seed=5)
    assert (found.low, found.high) == pytest.approx(slow_interval(items.tolist(), 310, 5))
    assert found.high - found.value > 1.05 * (found.value - found.low), "the interval does not follow the skew"


def test_a_student_that_differs_in_one_cluster_of_many_is_still_the_same() -> None:
    """Draws without that cluster have no spread; they must not blow the interval up to the whole range."""
    values = [0.5] + [0.0] * 1999
    found = cluster_bootstrap(values, names(200, 10), bounds=(-1, 1))
    assert 0 < found.high < 0.02
    assert -0.02 < found.low < 0
    some = [-0.25] * 38
    some[5] = some[4] = 0.0
    assert cluster_bootstrap(some, names(19, 2), bounds=(-1, 1)).high < -0.1
    assert cluster_p(some, names(19, 2), bounds=(-1, 1)) < 1e-4


def test_very_many_clusters_need_no_resamples() -> None:
    values = np.random.default_rng(5).normal(0.1, 1, 20_000)
    found = cluster_bootstrap(list(values), names(20_000))
    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval()), rel=1e-6)


def test_unequal_clusters_count_as_fewer() -> None:
    """One cluster that holds half of all items leaves hardly two independent ones."""
    rng = np.random.default_rng(3)
    effects = rng.normal(0, 1, 20)
    even = cluster_bootstrap(list(np.repeat(effects, 10)), names(20, 10))
    sizes = [200] + [10] * 19
    clusters = [f"c{index:03d}" for index, size in enumerate(sizes) for _ in range(size)]
    uneven = cluster_bootstrap(list(np.repeat(effects, sizes)), clusters)
    assert uneven.high - uneven.low > 2 * (even.high - even.low)


def bbq(sums: np.ndarray) -> np.ndarray:
    return 2 * sums[..., 0] / sums[..., 1] - 1


def test_a_ratio_is_recomputed_in_every_resample() -> None:
    rng = np.random.default_rng(8)
    known = rng.random(200) < np.repeat(rng.uniform(0.2, 0.9, 40), 5)
    biased = known & (rng.random(200) < 0.7)
    parts = {"biased": biased.astype(float), "known": known.astype(float)}
    found = cluster_metric(parts, names(40, 5), bbq, bounds=(-1, 1))
    theirs = stats.bootstrap(
        (biased.reshape(40, 5).sum(1), known.reshape(40, 5).sum(1)),
        lambda top, bottom, axis: 2 * top.sum(axis) / bottom.sum(axis) - 1,
        paired=True,
        vectorized=True,
        rng=1,
    ).confidence_interval
    assert found.value == pytest.approx(2 * biased.sum() / known.sum() - 1)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_a_mean_is_a_ratio_of_sums() -> None:
    values = list(np.random.default_rng(1).normal(size=60))
    parts = {"sum": values, "n": [1.0] * 60}
    assert cluster_metric(parts, names(20, 3), mean_of_sums) == cluster_bootstrap(values, names(20, 3))


def test_an_undefined_ratio_concludes_nothing() -> None:
    nobody = {"biased": [0.0] * 60, "known": [0.0] * 60}
    found = cluster_metric(nobody, names(20, 3), bbq, bounds=(-1, 1))
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-1, 1)
    one = {"biased": [1.0] + [0.0] * 59, "known": [1.0] + [0.0] * 59}  # one cluster carries the whole metric
    assert cluster_metric(one, names(20, 3), bbq, bounds=(-1, 1))[1:3] == (-1, 1)
    two = {"biased": [1.0, 0.0] + [0.0] * 58, "known": [1.0, 1.0] + [0.0] * 58}  # (19/20)^20 of the draws miss both
    assert cluster_metric(two, names(60), bbq, bounds=(-1, 1))[1:3] == (-1, 1)


def test_without_bounds_clusters_that_all_agree_say_nothing() -> None:
    assert cluster_bootstrap([0.5] * 20, names(20))[1:3] == (-math.inf, math.inf)


@pytest.mark.parametrize("seed", range(12))
def test_p_and_interval_do_not_contradict_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = list(rng.exponential(1, 72) - 0.75)
    found = cluster_bootstrap(values, names(24, 3), seed=1)
    p = cluster_p(values, names(24, 3), seed=1)
    assert p >= sign_flip_p(values, names(24, 3), seed=1)
    if p <= 0.049:
        assert not found.low <= 0 <= found.high
    if p > 0.051 and sign_flip_p(values, names(24, 3), seed=1) <= 0.049:
        assert found.low <= 0 <= found.high


def test_p_of_clusters_that_agree_and_of_too_few() -> None:
    assert cluster_p([0.5] * 20, names(20)) == pytest.approx(2 / 2**20, rel=10)  # drawn flips cannot be smaller
    assert cluster_p([0.0] * 20, names(20)) == 1.0
    assert cluster_p([0.5] * 14, names(7, 2)) == 1.0


def test_rare_clumped_events_do_not_pass_for_an_effect() -> None:
    """Sign flips alone reject a true mean of 0 twice as often as they say."""
    rng = np.random.default_rng(0)
    shares = rng.beta(0.54, 8.46, (300, 30))
    counts = rng.binomial(10, shares) - 0.6  # mean 0
    rejected = [row for row in counts if sign_flip_p(list(row / 10), names(30), draws=999) <= 0.05]
    guarded = [row for row in rejected if cluster_p(list(row / 10), names(30), draws=500) <= 0.05]
    assert len(rejected) > 0.07 * 300 > len(guarded)


def test_design_effect() -> None:
    rng = np.random.default_rng(4)
    alone = precision(list(rng.normal(size=400)), names(400))
    assert alone.design_effect == pytest.approx(1, abs=0.01)
    copies = precision(list(np.repeat(rng.normal(size=100), 4)), names(100, 4))
    assert copies.design_effect == pytest.approx(4, rel=0.03)
    assert copies.effective_n == pytest.approx(100, rel=0.03)
    assert copies.detectable == pytest.approx(copies.error * (1.9842 + 0.8453), rel=1e-3)
    assert math.isnan(precision([0.5] * 40, names(10, 4)).design_effect)
    assert precision([0.5, 0.1], ["a", "a"]).detectable == math.inf


def test_equivalence_needs_the_whole_interval() -> None:
    assert equivalent(Interval(0.01, -0.04, 0.049, 300, 30), 0.05)
    assert not equivalent(Interval(0.01, -0.04, 0.05, 300, 30), 0.05)
    assert not equivalent(Interval(0.01, -0.05, 0.04, 300, 30), 0.05)


def test_sign_flips_are_an_enumeration_over_clusters() -> None:
    values, clusters = [0.5, -0.5, 0.5, 0.5, 1.0, -0.25, 0.5, 0.0], ["a", "a", "b", "b", "c", "d", "e", "e"]
    sums = [0.0, 1.0, 1.0, -0.25, 0.5]
    reached = [
        abs(sum(sign * part for sign, part in zip(signs, sums, strict=True))) >= sum(sums) - 1e-9
        for signs in product((1, -1), repeat=5)
    ]
    assert sign_flip_p(values, clusters) == sum(reached) / 32
    assert sign_flip_p([0.0] * 10, names(10)) == 1.0


def test_drawn_sign_flips_agree_with_scipy_and_are_never_nought() -> None:
    values = np.random.default_rng(6).normal(0.4, 1, 30)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(8)
    ).pvalue
    assert sign_flip_p(list(values), names(30)) == pytest.approx(theirs, abs=0.015)
    assert sign_flip_p([1.0] * 40, names(40), draws=999) == 1 / 1000
