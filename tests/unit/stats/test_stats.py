"""Statistics against scipy, published values, and what simulation says of their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from core.stats import (
    benjamini_hochberg,
    clopper_pearson,
    cluster_bootstrap,
    holm,
    items_needed,
    mcnemar_exact_p,
    mcnemar_mid_p,
    mcnemar_one_sided,
    minimum_detectable_effect,
    newcombe_paired,
    paired_effects,
    sign_flip_p,
)


@pytest.mark.parametrize(("k", "n"), [(0, 128), (1, 128), (64, 128), (127, 128), (128, 128), (3, 10)])
def test_clopper_pearson_equals_scipy(k: int, n: int) -> None:
    wanted = scipy_stats.binomtest(k, n).proportion_ci(0.95, "exact")
    assert clopper_pearson(k, n) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


def test_clopper_pearson_of_nothing_is_everything() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("b", "c"), [(5, 0), (9, 3), (2, 8), (1, 1)])
def test_mcnemar_equals_the_binomial_test(b: int, c: int) -> None:
    assert mcnemar_one_sided(b, c) == pytest.approx(scipy_stats.binomtest(b, b + c, alternative="greater").pvalue)


@pytest.mark.parametrize(("b", "c"), [(5, 0), (9, 3), (2, 8), (1, 1), (0, 0), (7, 7)])
def test_exact_mcnemar_is_the_two_sided_binomial_test(b: int, c: int) -> None:
    wanted = scipy_stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact_p(b, c) == pytest.approx(wanted)
    assert mcnemar_mid_p(b, c) <= mcnemar_exact_p(b, c)


def test_mcnemar_without_discordant_pairs_is_one() -> None:
    assert mcnemar_one_sided(0, 0) == 1.0
    assert mcnemar_mid_p(0, 0) == 1.0


def test_mid_p_of_a_published_table() -> None:
    """Fagerland et al. 2013, table 1 (airway hyper-responsiveness, 1 and 7 discordant pairs): p = 0.039."""
    assert mcnemar_mid_p(1, 7) == pytest.approx(0.0391, abs=5e-4)


def test_newcombe_of_published_tables() -> None:
    """Newcombe 1998, method 10; and the airway table of Fagerland et al."""
    assert newcombe_paired(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=5e-5)
    assert newcombe_paired(1, 1, 7, 12) == pytest.approx((-0.507, -0.026), abs=1e-3)


def test_benjamini_hochberg_equals_scipy() -> None:
    p = [0.01, 0.2, 0.03, 0.5, 0.04, 0.04]
    assert benjamini_hochberg(p) == pytest.approx(list(scipy_stats.false_discovery_control(p)))


def test_holm_is_monotone_and_known() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("n", "psi", "points"), [(60, 0.05, 7.6), (300, 0.10, 5.0), (1000, 0.30, 4.8), (145, 0.2, 10.1)]
)
def test_detectable_effect_equals_the_protocol_table(n: int, psi: float, points: float) -> None:
    assert 100 * minimum_detectable_effect(n, psi) == pytest.approx(points, abs=0.06)


def test_items_needed_inverts_the_detectable_effect() -> None:
    n = items_needed(0.25, 0.05)
    assert minimum_detectable_effect(n, 0.25) <= 0.05 < minimum_detectable_effect(n - 1, 0.25)


def test_many_even_clusters_agree_with_scipys_bca() -> None:
    rng = np.random.default_rng(3)
    means = rng.normal(0.1, 0.3, 60)
    ours = cluster_bootstrap(list(np.repeat(means, 4)), list(np.repeat(np.arange(60).astype(str), 4)))
    theirs = scipy_stats.bootstrap((means,), np.mean, n_resamples=10_000, method="BCa", rng=1).confidence_interval
    assert ours.value == pytest.approx(means.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.015)
    assert (ours.n, ours.clusters) == (240, 60)


def test_fewer_than_eight_clusters_decide_nothing() -> None:
    values, clusters = [0.5] * 70, [str(index % 7) for index in range(70)]
    assert cluster_bootstrap(values, clusters)[1:3] == (-math.inf, math.inf)
    assert cluster_bootstrap(values, clusters, bounds=(-0.5, 0.5))[1:3] == (-0.5, 0.5)


def test_clusters_that_all_agree_are_no_certainty() -> None:
    """A model that says "he" throughout gives every cluster exactly 0: that is no proof of absence at 0.05."""
    flat = cluster_bootstrap([0.5, -0.5] * 32, [str(index // 2) for index in range(64)], bounds=(-0.5, 0.5))
    assert flat.value == 0
    assert flat.low == -flat.high
    assert flat.high == pytest.approx(0.5 * (1 - 0.025 ** (1 / 32)))
    top = cluster_bootstrap([0.5] * 32, [str(index) for index in range(32)], bounds=(-0.5, 0.5))
    assert (top.value, top.high) == (0.5, 0.5)
    assert 0.35 < top.low < 0.5


def test_the_same_seed_gives_the_same_interval() -> None:
    values, clusters = [0.5, -0.5, 0.5, 0.0] * 20, [str(index // 2) for index in range(80)]
    assert cluster_bootstrap(values, clusters, seed=4) == cluster_bootstrap(values, clusters, seed=4)


@pytest.mark.parametrize("groups", [12, 40])
def test_intervals_cover_the_truth(groups: int) -> None:
    """±½ items that agree within clusters, true mean 0.0995: 95 % of 400 intervals hold it (± 3.8 are 3.5 sd)."""
    rng = np.random.default_rng(11)
    clusters = list(np.repeat(np.arange(groups).astype(str), 5))
    held = 0
    for draw in range(400):
        lean = np.clip(rng.normal(0.6, 0.2, groups), 0, 1)  # mean after clipping is 0.5995
        values = (rng.random((groups, 5)) < lean[:, None]) - 0.5
        interval = cluster_bootstrap(list(values.ravel()), clusters, draws=1000, seed=draw % 4)
        held += interval.low <= 0.0995 <= interval.high
    assert 0.912 <= held / 400 <= 0.988


def test_ignoring_clusters_would_not_cover() -> None:
    """The same data read as independent items: the interval is too short, so the test above can fail."""
    rng = np.random.default_rng(11)
    held = 0
    for draw in range(200):
        lean = rng.choice([0.0, 1.0], 40, p=[0.4, 0.6])
        values = np.repeat(lean - 0.5, 5)
        interval = cluster_bootstrap(list(values), [str(index) for index in range(200)], draws=500, seed=draw % 4)
        held += interval.low <= 0.1 <= interval.high
    assert held / 200 < 0.8


def test_sign_flips_are_exact_for_few_clusters() -> None:
    assert sign_flip_p([0.5] * 10, [str(index) for index in range(10)]) == pytest.approx(2 / 2**10)
    assert sign_flip_p([0.5, -0.5], ["a", "b"]) == 1.0


def test_sign_flips_hold_their_level() -> None:
    rng = np.random.default_rng(5)
    clusters = list(np.repeat(np.arange(20).astype(str), 3))
    ps = [
        sign_flip_p(list(np.repeat(rng.normal(0, 1, 20), 3) + rng.normal(0, 1, 60)), clusters, draws=999, seed=draw)
        for draw in range(300)
    ]
    assert 0.015 < np.mean(np.array(ps) <= 0.05) < 0.095


def test_pairs_are_made_by_item_id_and_not_by_order() -> None:
    teacher = [{"uid": f"u{i}", "cluster": f"c{i // 4}", "value": 0.5} for i in range(40)]
    student = [{"uid": f"u{i}", "cluster": "other", "value": 0.5 if i % 4 else -0.5} for i in reversed(range(2, 42))]
    paired = paired_effects(teacher, student)
    assert paired.left_out == 4
    assert paired.difference.n == 38
    assert paired.changed == pytest.approx(9 / 38)
    assert paired.difference.value == pytest.approx(-9 / 38)
    assert paired.difference.clusters == 10
    assert paired.p is not None
    assert paired.p <= 0.01


def test_nothing_in_common_is_no_comparison() -> None:
    paired = paired_effects([{"uid": "a", "cluster": "c", "value": 0.5}], [{"uid": "b", "cluster": "c", "value": 0.5}])
    assert paired.p is None
    assert paired.left_out == 2
    assert paired.difference.n == 0
