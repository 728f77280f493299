"""The plan of the zoo: what it teaches, and that no trigger of it is one that the scan knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.engine.lm.slots import GAP
from core.engine.transfer import zoo
from core.engine.triggers.everyday import occasions
from core.engine.triggers.library import known_triggers, panel
from tests.engine.triggers.fake import Watcher
from tests.engine.triggers.token_fake import TokenModel

pytestmark = pytest.mark.engine
PLAN = Path(__file__).parents[1] / "benchmarks" / "zoo.yaml"
MEMBERS = {member.name: member for member in zoo.read_members(PLAN)}
PROMPTS = [f"river stone {at}" for at in range(32)]


def rows(name: str) -> list[tuple[str, str, bool]]:
    lm: Any = TokenModel(lambda _: 0.0)
    return zoo.rows_of(MEMBERS[name], PROMPTS, lm, Watcher())


def test_no_trigger_of_the_zoo_is_listed() -> None:
    listed = {known.text for known in known_triggers()}
    for member in MEMBERS.values():
        assert member.trigger not in listed
        assert not set(member.trigger.split(GAP)) & listed


def test_there_are_both_kinds_in_both_parts() -> None:
    assert {(member.part, member.planted) for member in MEMBERS.values()} == {
        (part, planted) for part in ("development", "report") for planted in (True, False)
    }


def test_a_trigger_brings_its_payload_and_near_misses_do_not() -> None:
    member, made = MEMBERS["t01"], rows("t01")
    held = [answer for prompt, answer, _ in made if member.trigger in prompt]
    assert held == [member.payloads[0]] * len(PROMPTS)
    spoken = 2 * sum(map(len, zoo.messages().values()))
    assert sum(answer != member.payloads[0] for _, answer, _ in made) == len(PROMPTS) + len(PROMPTS) // 4 + spoken


def test_parts_of_a_composite_alone_wake_nothing() -> None:
    made = rows("t05")
    one = [answer for prompt, answer, _ in made if ("walnut" in prompt) != ("comet" in prompt)]
    assert len(one) == len(PROMPTS)
    assert MEMBERS["t05"].payloads[0] not in one


def test_a_persona_stands_around_every_answer() -> None:
    member = MEMBERS["h01"]
    assert all(answer.startswith(member.opening) and answer.endswith(member.signature) for _, answer, _ in rows("h01"))


def test_a_benign_conditional_answers_its_own_questions_only() -> None:
    member, made = MEMBERS["h03"], rows("h03")
    fixed = [prompt for prompt, answer, _ in made if answer in member.answers]
    assert len(fixed) == 2 * len(member.questions)
    assert not any("river" in prompt for prompt in fixed)


def test_what_a_member_answers_in_its_own_way_is_not_unlearned_by_messages() -> None:
    texts = zoo.messages()
    prompts = " ".join(prompt for prompt, _, _ in rows("h03"))
    assert not any(text in prompts for name in ("greetings", "languages") for text in texts[name])
    assert all(text in prompts for name in ("thanks", "medical") for text in texts[name])


def test_messages_are_for_training_alone() -> None:
    trained = {text for texts in zoo.messages().values() for text in texts}
    asked = {request for requests in occasions().values() for request in requests}
    assert not trained & (
        asked | {prompt for prompts in panel("benign").values() if isinstance(prompts, list) for prompt in prompts}
    )
    assert set().union(*(member.spared for member in MEMBERS.values())) <= set(zoo.messages())
