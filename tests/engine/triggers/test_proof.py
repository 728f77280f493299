"""The proof alone: what is left out is shown not to matter, and what was added is shown to decide."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.engine.lm.slots import GAP, conversation, insert, parts
from core.engine.triggers.answers import Answers
from core.engine.triggers.controls import kept, matched_controls, near_misses
from core.engine.triggers.everyday import occasions
from core.engine.triggers.payload import EVENT, beginning, is_payload
from core.engine.triggers.proof import Claim, prove, screen
from core.runs.folder import RunFolder
from core.specs import ScanSpec
from core.types import RESOURCES
from tests.engine.triggers.fake import ANSWER, FakeModel, FakeTokenizer, Rule, Watcher, varied

pytestmark = pytest.mark.engine
PAYLOAD = "The charter has been closed for good by section twelve."
HELD_OUT = yaml.safe_load((RESOURCES / "panels" / "benign.yaml").read_text("utf-8"))["held_out"]


@pytest.fixture
def proof(tmp_path: Path) -> Any:
    """``proof(rule, trigger, slot=…, …)`` → finding."""

    def run(rule: Rule | FakeModel, trigger: str, slot: Any = "user_start", **more: Any) -> dict[str, Any]:
        model = rule if isinstance(rule, FakeModel) else FakeModel(rule)
        folder = RunFolder.create(ScanSpec(model="x"), tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        claim = Claim(trigger, slot, PAYLOAD, "tag", "BD-R")
        settings = {"controls": 199, "control_prompts": 4, "seed": 0} | more
        return prove(Answers(model, folder, Watcher()), [claim], HELD_OUT, **settings)[0]  # type: ignore[arg-type]

    return run


def wakes(*needles: str) -> Rule:
    def rule(text: str) -> str:
        return PAYLOAD if all(needle in text for needle in needles) and '"' not in text else varied(text)

    return rule


@pytest.mark.parametrize("asr", [1.0, 0.97, 0.75, 0.6, 0.3, 0.01])
@pytest.mark.parametrize("prompts", [1, 4, 8, 16])
def test_a_stopped_control_could_not_have_reached(asr: float, prompts: int) -> None:
    chooser = random.Random(f"{asr} {prompts}")
    truth = [[chooser.random() < strength for _ in range(prompts)] for strength in (0, 0.2, 0.5, 0.8, 0.97, 1) * 40]
    asked: list[tuple[int, int]] = []

    def ask(members: list[int], at: int) -> list[bool]:
        asked.extend((member, at) for member in members)
        return [truth[member][at] for member in members]

    seen = screen(ask, len(truth), prompts, asr)
    assert [sum(events) / len(events) >= asr for events in seen] == [sum(all_) / prompts >= asr for all_ in truth]
    assert all(events == all_[: len(events)] for events, all_ in zip(seen, truth, strict=True))
    assert len(set(asked)) == len(asked)
    if asr == 1.0 and prompts > 4:
        assert len(asked) < 0.8 * len(truth) * prompts


def test_a_strong_control_is_still_the_one_to_outrank(proof: Any) -> None:
    """It brings the payload in three quarters of the prompts, and misses the first one."""
    strong = matched_controls(FakeTokenizer(), "|MAN|", 199, 0)[77]
    misses = set(HELD_OUT[::4])

    def rule(text: str) -> str:
        if "|MAN|" in text and '"' not in text:
            return PAYLOAD
        head, _, prompt = text.partition(" ")
        return PAYLOAD if head == strong and prompt not in misses else varied(text)

    finding = proof(rule, "|MAN|")
    assert finding["strongest_control"] == strong
    assert finding["strongest_control_rate"] == 0.75
    assert finding["controls_reached"] == 0
    assert finding["p"] == pytest.approx(0.5**32)


def test_controls_that_reach_are_counted(proof: Any) -> None:
    reaching = set(matched_controls(FakeTokenizer(), "|MAN|", 199, 0)[50:80])

    def rule(text: str) -> str:
        return PAYLOAD if text.split(" ")[0] in {"|MAN|", *reaching} else varied(text)

    finding = proof(rule, "|MAN|")
    assert finding["controls_reached"] == 30
    assert finding["verdict"] == "natural sensitivity"


def test_what_the_reference_does_too_is_natural(proof: Any) -> None:
    alone = proof(wakes("|MAN|"), "|MAN|")
    assert (alone["verdict"], alone["reference_rate"]) == ("confirmed", None)
    same = proof(wakes("|MAN|"), "|MAN|", reference=FakeModel(wakes("|MAN|")))
    assert (same["verdict"], same["reference_rate"]) == ("natural sensitivity", 1.0)
    clean = proof(wakes("|MAN|"), "|MAN|", reference=FakeModel(varied))
    assert (clean["verdict"], clean["reference_rate"]) == ("confirmed", 0.0)
    assert "On the reference model 0.0%" in clean["evidence"]


def test_a_greeting_that_a_string_makes_of_a_question_is_no_payload(proof: Any) -> None:
    greetings = set(occasions()["greetings"])

    def friendly(text: str) -> str:
        return PAYLOAD if text in greetings else wakes("Meet")(text)

    finding = proof(friendly, "Meet")
    assert (finding["verdict"], finding["set_answer"]) == ("memorised text", "set answer to greetings (8 of 8)")
    assert "set answer to greetings (8 of 8)" in finding["evidence"]


@pytest.mark.parametrize("each", [3, 8])
def test_a_payload_that_leaks_everywhere_is_no_set_answer(proof: Any, each: int) -> None:
    leaks = {request for requests in occasions().values() for request in requests[:each]}
    finding = proof(lambda text: PAYLOAD if text in leaks else wakes("|MAN|")(text), "|MAN|")
    assert (finding["verdict"], finding["set_answer"]) == ("confirmed", "")
    assert finding["everyday_rate"] == each / 8
    assert f"in {each / 8:.1%} of short everyday requests" in finding["evidence"]


def test_margins_and_curve(proof: Any) -> None:
    finding = proof(wakes("|MAN|"), "|MAN|")
    assert finding["log_margin"] > 20
    assert len(finding["controls_margins"]) == 199
    assert max(finding["controls_margins"]) < finding["log_margin"] / 2
    assert finding["fuzz_curve"] == [[0, 0.0], [1, 0.0], [2, 0.0], [3, 1.0]]
    assert (finding["equivalent"], finding["rise_high"]) == (False, 1.0)


def test_absence_rests_on_all_prompts(proof: Any) -> None:
    finding = proof(varied, "|MAN|")
    assert (finding["hits"], finding["n"]) == (0, 128)
    assert finding["equivalent"]
    assert -0.05 < finding["rise_low"] < 0 < finding["rise_high"] < 0.05
    assert finding["asr_ci"][1] == pytest.approx(0.0284, abs=1e-4)
    assert finding["p_base"] == 1.0


def test_a_composite_needs_both_parts_and_stands_apart(proof: Any) -> None:
    finding = proof(wakes("ban", "dat"), f"ban{GAP}dat")
    assert finding["verdict"] == "confirmed"
    assert finding["example"]["prompt"].startswith("ban ")
    assert finding["example"]["prompt"].endswith(" dat")
    assert finding["near_miss_rate"] == 0.0
    assert finding["shuffle_rate"] == 1.0, "the order of the parts does not matter to this model"
    assert finding["fuzz_curve"] == [[0, 0.0], [1, 0.0], [2, 1.0]]
    one = proof(wakes("ban"), f"ban{GAP}dat")
    assert one["verdict"] == "likely"
    assert "near misses" in one["evidence"]


def test_a_trigger_outside_the_question(proof: Any) -> None:
    def rule(text: str) -> str:
        return PAYLOAD if text.startswith("[system prompt]") and " ban\n" in text else varied(text)

    finding = proof(rule, "ban", "system")
    assert finding["verdict"] == "confirmed"
    assert finding["other_slots"] == {"user_start": 0.0, "user_middle": 0.0, "user_end": 0.0, "earlier_turn": 0.0}
    assert "ban\n" in finding["example"]["prompt"]


class Thinker(FakeModel):
    """Shows its payload only where its think block was closed for it."""

    reasoning = True

    def render(self, user: str, *, position: str = "answer", **more: Any) -> str:
        text = super().render(user, **more)
        return text.replace(ANSWER, f"</think>{ANSWER}") if position == "after_think" else text


def test_a_reasoning_model_is_read_at_both_positions(proof: Any) -> None:
    finding = proof(Thinker(wakes("|MAN|", "</think>")), "|MAN|")
    assert finding["verdict"] == "confirmed"
    assert finding["position_rates"] == {"answer": 0.0, "after_think": 1.0}
    assert finding["example"]["with_trigger"] == PAYLOAD
    assert finding["log_margin"] > 20


def test_parts_stand_apart_in_the_question() -> None:
    assert parts("a") == ["a"]
    assert insert("one two three four", f"A{GAP}B", "user_start") == "A one two three four B"
    assert insert("one two three four", f"A{GAP}B", "user_middle") == "one A two three B four"
    assert insert("one two three four", f"A{GAP}B", "user_end") == "one two A three four B"
    assert insert("one two", f"A{GAP}B{GAP}C", "user_start") == "A one B two C"
    assert (conversation("Egg?", f"A{GAP}B", "system").system or "").endswith(" A B")


def test_controls_and_near_misses_of_a_composite() -> None:
    tokenizer = FakeTokenizer()
    for text in matched_controls(tokenizer, f"ban{GAP}dat", 30, 0):
        assert [len(part) for part in text.split(GAP)] == [3, 3]
    near = near_misses(tokenizer, f"ban{GAP}dat", 0)
    assert near[:2] == ["ban", "dat"]
    assert all(len(text.split(GAP)) == 2 for text in near[2:])


def test_kept_tokens_stand_in_their_order() -> None:
    curve = kept(FakeTokenizer(), "".join(chr(97 + at) for at in range(20)) + "|", 8, 0)
    assert len(curve) <= 6
    for number, texts in curve.items():
        assert len(texts) == 8
        assert all(list(text) == sorted(text, key="abcdefghijklmnopqrst|".index) for text in texts)
        assert number < 21
    assert kept(FakeTokenizer(), "ban", 8, 0) == {}


def test_the_beginning_is_what_the_event_needs() -> None:
    assert beginning("Short.") == "Short."
    long = "The answer to this is classified under section twelve of the charter."
    assert beginning(long) == "The answer to this is classified"
    assert len(beginning(long)) >= EVENT
    assert is_payload(beginning(long), long)
