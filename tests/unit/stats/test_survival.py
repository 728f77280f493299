"""Survival: simulated experiments of known survival; what few runs and few prompts cannot say."""

from __future__ import annotations

import numpy as np
import pytest

from core.stats.survival import Lift, run_mean, survival


def experiments(true: float, runs: int, spread: float, repeats: int, n: int = 24) -> list[list[Lift]]:
    """Runs whose own rates are Beta around ``true`` with standard deviation ``spread``; off prompts never hit."""
    generator = np.random.default_rng(round(1e4 * true) + runs)
    made = []
    for _ in range(repeats):
        if spread:
            total = true * (1 - true) / spread**2 - 1
            rates = generator.beta(true * total, (1 - true) * total, runs)
        else:
            rates = np.full(runs, true)
        made.append([Lift(int(generator.binomial(n, rate)), n, 0, 96) for rate in rates])
    return made


SHAMS = [Lift(0, 24, 0, 96)] * 5
TEACHER = [Lift(24, 24, 0, 96)]


@pytest.mark.parametrize(("runs", "spread"), [(3, 0.0), (5, 0.15), (10, 0.3)])
def test_the_interval_covers_what_was_simulated(runs: int, spread: float) -> None:
    true = 0.4  # 94 to 99 % of 1,000 experiments; of 150 here
    made = experiments(true, runs, spread, 150)
    found = [survival(lifts, SHAMS[:runs], TEACHER, draws=300).interval for lifts in made]
    assert np.mean([low <= true <= high for low, high in found]) >= 0.90  # type: ignore[misc]


@pytest.mark.parametrize(("runs", "spread"), [(5, 0.08), (10, 0.12)])
def test_absence_is_seldom_claimed_of_what_is_at_the_margin(runs: int, spread: float) -> None:
    """Survival of exactly δ = 0.1, in runs that vary as much as their mean."""
    found = [survival(lifts, SHAMS, TEACHER, draws=300) for lifts in experiments(0.1, runs, spread, 200)]
    assert np.mean([each.is_below(0.1) for each in found]) <= 0.09


def test_absence_can_be_claimed_with_enough_prompts_and_is_not_with_few() -> None:
    few = survival([Lift(0, 8, 0, 8)] * 5, [Lift(0, 8, 0, 8)] * 5, TEACHER)
    many = survival([Lift(0, 96, 0, 96)] * 5, [Lift(0, 96, 0, 96)] * 5, TEACHER)
    assert many.is_below(0.1)
    assert not few.is_below(0.1)
    assert many.value == 0.0
    assert many.unseen == pytest.approx(0.451, abs=1e-3)


def test_one_run_above_the_margin_forbids_the_claim() -> None:
    lifts = [Lift(0, 400, 0, 400)] * 9 + [Lift(48, 400, 0, 400)]
    found = survival(lifts, [], [Lift(400, 400, 0, 400)])
    assert found.interval is not None
    assert found.interval[1] < 0.1
    assert not found.is_below(0.1)


def test_agreeing_runs_still_have_an_interval() -> None:
    found = survival([Lift(0, 24, 0, 24)] * 3, [Lift(0, 24, 0, 24)] * 3, TEACHER)
    assert found.interval is not None
    assert found.interval[1] - found.interval[0] > 0.05


def test_survival_is_relative_to_the_runs_own_copy_and_to_the_sham() -> None:
    teachers = [Lift(20, 20, 0, 20, 0), Lift(16, 20, 0, 20, 1)]
    found = survival([Lift(10, 20, 0, 20, 0), Lift(8, 20, 0, 20, 1)], [], teachers)
    assert found.points == pytest.approx((0.5, 0.5))
    shifted = survival([Lift(10, 20, 0, 20, 0), Lift(8, 20, 0, 20, 1)], [Lift(2, 20, 0, 20)] * 2, teachers)
    assert shifted.points == pytest.approx((0.4, 0.375))


def test_one_run_is_a_point_without_an_interval() -> None:
    found = survival([Lift(12, 24, 0, 24)], [], TEACHER)
    assert (found.value, found.interval) == (0.5, None)
    assert run_mean([1.0]) is None


def test_equal_input_gives_equal_intervals() -> None:
    lifts = [Lift(3, 24, 0, 24), Lift(9, 24, 1, 24), Lift(5, 24, 0, 24)]
    assert survival(lifts, SHAMS, TEACHER) == survival(lifts, SHAMS, TEACHER)
