"""Rates: every count of a panel against scipy, the whole table of the protocol, symmetry."""

from __future__ import annotations

import pytest
from scipy import stats

from core.stats import clopper_pearson, holm, items_needed, minimum_detectable_effect, newcombe_paired


def test_clopper_pearson_of_every_count() -> None:
    assert clopper_pearson(5, 10) == pytest.approx((0.1871, 0.8129), abs=5e-5)
    for k in range(129):
        for level in (0.9, 0.95):
            exact = stats.binomtest(k, 128).proportion_ci(level, "exact")
            assert clopper_pearson(k, 128, level) == pytest.approx((exact.low, exact.high), abs=1e-9)


@pytest.mark.parametrize("table", [(5, 3, 9, 4), (53, 0, 1, 0), (0, 128, 0, 0), (0, 0, 0, 54), (2, 9, 8, 1)])
def test_newcombe_mirrors_and_stays_in_range(table: tuple[int, int, int, int]) -> None:
    both, first, second, neither = table
    low, high = newcombe_paired(*table)
    assert -1 <= low <= (first - second) / sum(table) <= high <= 1
    assert newcombe_paired(both, second, first, neither) == pytest.approx((-high, -low))


def test_holm_stops_at_one() -> None:
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    ("n", "percent"),
    [
        (60, (7.6, 10.8, 15.2, 18.6)),
        (145, (5.1, 7.2, 10.1, 12.4)),
        (300, (3.6, 5.0, 7.1, 8.7)),
        (500, (2.8, 3.9, 5.6, 6.8)),
        (1000, (2.0, 2.8, 3.9, 4.8)),
        (1508, (1.6, 2.3, 3.2, 3.9)),
    ],
)
def test_the_whole_table_of_the_protocol(n: int, percent: tuple[float, ...]) -> None:
    found = [100 * minimum_detectable_effect(n, share) for share in (0.05, 0.1, 0.2, 0.3)]
    assert found == pytest.approx(percent, abs=0.0501)


def test_one_item_fewer_does_not_suffice() -> None:
    for share, margin in ((0.1, 0.05), (0.25, 0.05), (0.3, 0.1)):
        n = items_needed(share, margin)
        assert minimum_detectable_effect(n, share) <= margin < minimum_detectable_effect(n - 1, share)
    assert items_needed(0.001, 0.4) == 1
