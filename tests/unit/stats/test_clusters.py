"""Clustered means: order of items, and sign flips against full enumeration and against scipy."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from core.stats import cluster_bootstrap, sign_flip_p


def names(groups: int, size: int = 1) -> list[str]:
    return [f"c{group:03d}" for group in range(groups) for _ in range(size)]


def test_the_order_of_items_does_not_matter() -> None:
    values, clusters = list(np.random.default_rng(4).normal(size=120)), names(40, 3)
    found = cluster_bootstrap(values, clusters, draws=500, seed=7)
    turned = cluster_bootstrap(values[::-1], clusters[::-1], draws=500, seed=7)
    assert turned == pytest.approx(found)


@pytest.mark.parametrize("groups", [8, 29])
def test_fewer_than_thirty_clusters_use_t(groups: int) -> None:
    values = np.random.default_rng(1).normal(0.3, 1, groups)
    found = cluster_bootstrap(list(values), names(groups))
    assert (found.low, found.high) == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval()))


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
