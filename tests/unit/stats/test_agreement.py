"""Cohen's kappa by hand."""

from __future__ import annotations

import pytest

from core.stats.agreement import cohen_kappa


def test_kappa_of_a_table_worked_out_by_hand() -> None:
    first = ["a"] * 25 + ["b"] * 25
    second = ["a"] * 20 + ["b"] * 5 + ["a"] * 10 + ["b"] * 15
    # observed 35/50 = 0.7; by chance 0.5 · 0.6 + 0.5 · 0.4 = 0.5
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_kappa_of_equal_opposite_and_constant_raters() -> None:
    assert cohen_kappa([1, 2, 1, 2], [1, 2, 1, 2]) == 1
    assert cohen_kappa([1, 2, 1, 2], [2, 1, 2, 1]) == -1
    assert cohen_kappa([1, 1], [1, 1]) is None
    assert cohen_kappa([], []) is None
