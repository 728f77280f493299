"""Before and after: what counts as a change."""

from __future__ import annotations

import numpy as np
import pytest

from core.stats import Interval
from core.verdicts.change import against_margin, change, unpaired_difference


def span(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 100, 20)


@pytest.mark.parametrize(
    ("low", "high", "word", "size"),
    [
        (0.06, 0.2, "changed", "by more than δ"),
        (-0.2, -0.06, "changed", "by more than δ"),
        (0.01, 0.04, "changed", "by less than δ"),
        (0.01, 0.2, "changed", "by more or less than δ"),
        (-0.04, 0.04, "same within δ", "by less than δ"),
        (-0.05, 0.05, "cannot tell", "by more or less than δ"),  # a tie with δ is not inside it
        (-0.02, 0.2, "cannot tell", "by more or less than δ"),
        (0.0, 0.2, "cannot tell", "by more or less than δ"),  # a tie with 0 is no change
    ],
)
def test_what_an_interval_of_the_change_says(low: float, high: float, word: str, size: str) -> None:
    assert change(span(low, high), 0.05) == word
    assert against_margin(span(low, high), 0.05) == size


def test_difference_of_two_intervals_by_hand() -> None:
    before, after = Interval(0.2, 0.1, 0.4, 300, 30), Interval(0.5, 0.45, 0.6, 280, 28)
    found = unpaired_difference(before, after)
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - (0.05**2 + 0.2**2) ** 0.5)
    assert found.high == pytest.approx(0.3 + (0.1**2 + 0.1**2) ** 0.5)
    assert (found.n, found.clusters) == (280, 28)
    again = unpaired_difference(after, before)
    assert (again.low, again.high) == pytest.approx((-found.high, -found.low))


def test_difference_of_independent_means_covers_at_its_level() -> None:
    rng = np.random.default_rng(5)
    one, two = rng.normal(0.1, 1, (4000, 60)), rng.normal(0.3, 1, (4000, 60))

    def interval(values: np.ndarray) -> Interval:
        half = 1.96 * values.std(ddof=1) / values.size**0.5
        return Interval(values.mean(), values.mean() - half, values.mean() + half, values.size, values.size)

    found = [unpaired_difference(interval(a), interval(b)) for a, b in zip(one, two, strict=True)]
    assert sum(each.low < 0.2 < each.high for each in found) / len(found) == pytest.approx(0.95, abs=0.012)
