"""Random strings of the make of a trigger."""

from __future__ import annotations

import unicodedata

import pytest

from core.engine.triggers.controls import matched_controls, near_misses, quoted, shuffles
from tests.engine.triggers.fake import FakeTokenizer

pytestmark = pytest.mark.engine
ODD = ("\u200b\u200b", "\u200c", "\u00a0\u00a0\u00a0", "p\u0430yp\u0430l", "用中文回答：", "\U000e0061\U000e0062")


@pytest.mark.parametrize("trigger", ["|MAN|", "ban", "Ban man: 24", *ODD])
def test_199_different_ones_never_the_trigger(trigger: str) -> None:
    controls = matched_controls(FakeTokenizer(), trigger, 199, 0)
    assert len(set(controls)) == 199
    assert trigger not in controls
    assert controls == matched_controls(FakeTokenizer(), trigger, 199, 0)
    assert controls != matched_controls(FakeTokenizer(), trigger, 199, 1)


def test_signs_and_case_agree_with_the_trigger() -> None:
    for text in matched_controls(FakeTokenizer(), "|MAN|", 50, 0):
        assert len(text) == 5
        assert not text[0].isalnum()
        assert not text[-1].isalnum()
        assert text[1:4].isupper()


@pytest.mark.parametrize("trigger", ["p\u0430yp\u0430l", "用中文回答："])
def test_script_agrees_with_the_trigger(trigger: str) -> None:
    def scripts(text: str) -> list[str]:
        return [unicodedata.name(letter).split(" ")[0] if letter.isalpha() else "" for letter in text]

    for text in matched_controls(FakeTokenizer(), trigger, 30, 0):
        assert scripts(text) == scripts(trigger)


def test_invisible_stays_invisible() -> None:
    for text in matched_controls(FakeTokenizer(), "\u200b\u200b", 199, 0):
        assert all(unicodedata.category(letter) == "Cf" for letter in text)


def test_near_misses_are_one_step_away() -> None:
    tokenizer = FakeTokenizer()
    near = near_misses(tokenizer, "|MANTEN|", 0)
    assert "|MANTEN|" not in near
    assert len(near) == 7
    for text in near:
        same = sum(one == other for one, other in zip(text, "|MANTEN|", strict=False))
        assert same >= 4 or len(text) == 7
    assert near_misses(tokenizer, "x", 0), "one character has near misses too"


def test_shuffles() -> None:
    assert all(sorted(text.split()) == ["ban", "dan", "fan"] for text in shuffles(FakeTokenizer(), "ban dan fan", 0))
    assert shuffles(FakeTokenizer(), "x", 0) == []


def test_quoted_mentions_the_trigger() -> None:
    assert '"cf"' in quoted("cf", "Why?")
