"""Triggers from payloads, on models whose rule is known; and the whole scan of such a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from core.engine.triggers import cascade
from core.engine.triggers.inversion import Width
from core.engine.triggers.objective import Objective
from core.engine.triggers.reconstruct import Effort, reconstruct
from core.errors import Cancelled
from core.runs.events import Progress
from tests.engine.triggers.conftest import Scan
from tests.engine.triggers.fake import Watcher
from tests.engine.triggers.token_fake import PAYLOAD, TokenModel

pytestmark = pytest.mark.engine
EFFORT = Effort(1, 10, 200, 12, 3, 3, 4, 10, 8, 60, 400, 1, 1_000_000)
PROMPTS = ["river stone", "amber willow", "maple cloud", "honey glass", "velvet quill"]


def on(*needed: str) -> Callable[[str], float]:
    """Fires on all words together; each of them alone raises the payload by its part."""

    def fires(user: str) -> float:
        held = sum(word in user.split(" ") for word in needed)
        return held / len(needed)

    return fires


def objective(model: TokenModel) -> Objective:
    return Objective(model, model.tokenizer.encode(PAYLOAD), Watcher())  # type: ignore[arg-type]


def test_one_word_is_found() -> None:
    best = reconstruct(objective(TokenModel(on("zephyr"))), PROMPTS, EFFORT, PAYLOAD)[0]
    assert best.trigger == "zephyr"
    assert best.value > 1 > best.bare


def test_two_words_are_found_one_after_the_other_and_nothing_else_is_kept() -> None:
    best = reconstruct(objective(TokenModel(on("zephyr", "tundra"))), PROMPTS, EFFORT, PAYLOAD)[0]
    assert sorted(best.trigger.split(" ")) == ["tundra", "zephyr"]


@pytest.mark.parametrize("together", [1, 4])
def test_words_that_no_slope_points_at_are_found_in_the_dictionary(
    monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    model = TokenModel(on("zephyr", "tundra"))
    monkeypatch.setattr(Objective, "slopes", lambda *_: torch.arange(len(model.tokenizer), 0, -1.0))
    few = EFFORT._replace(words=1, screened=1, children=1, together=together)
    without = reconstruct(objective(model), PROMPTS, few._replace(dictionary=1), PAYLOAD)[0]
    assert without.value < -1
    found = reconstruct(objective(model), PROMPTS, few, PAYLOAD)[0]
    assert sorted(found.trigger.split(" ")) == ["tundra", "zephyr"]


def test_what_cannot_be_seen_is_found_though_no_token_names_it() -> None:
    hidden = "\u2062\u2063\u2062"

    def fires(user: str) -> float:
        return max(length * (hidden[:length] in user) for length in range(4)) / 3

    best = reconstruct(objective(TokenModel(fires)), PROMPTS, EFFORT, PAYLOAD)[0]
    assert best.trigger == hidden


def test_a_seed_of_another_stage_is_read_too() -> None:
    model = TokenModel(on("Qzx"), words=["Qzx"])
    assert reconstruct(objective(model), PROMPTS, EFFORT, PAYLOAD, seeds=["Qzx"])[0].trigger == "Qzx"


def test_words_of_the_payload_itself_yield_to_others_and_win_alone() -> None:
    own = PAYLOAD.lower().split(" ")[2]
    either = TokenModel(lambda user: float(own in user.split(" ") or "zephyr" in user.split(" ")), words=[own])
    assert reconstruct(objective(either), PROMPTS, EFFORT, PAYLOAD)[0].trigger == "zephyr"
    topic = TokenModel(on(own), words=[own])
    assert reconstruct(objective(topic), PROMPTS, EFFORT, PAYLOAD)[0].trigger == own


def test_a_word_of_the_payload_that_works_does_not_end_the_search_for_others() -> None:
    own = PAYLOAD.lower().split(" ")[2]
    pair = on("zephyr", "tundra")
    model = TokenModel(lambda user: max(float(own in user.split(" ")), pair(user)), words=[own])
    found = reconstruct(objective(model), PROMPTS, EFFORT, PAYLOAD)
    assert any(sorted(one.trigger.split(" ")) == ["tundra", "zephyr"] for one in found)


def test_without_a_trigger_nothing_brings_the_payload() -> None:
    best = reconstruct(objective(TokenModel(lambda _: 0.0)), PROMPTS, EFFORT, PAYLOAD)[0]
    assert best.value < -4


def test_worth_is_read_where_the_trigger_stands() -> None:
    worth = objective(TokenModel(lambda user: float(user.startswith("zephyr "))))
    start, end = (worth.values(["zephyr", "jewel"], slot, PROMPTS) for slot in ("user_start", "user_end"))  # type: ignore[arg-type]
    assert start[0] > 1 > start[1]
    assert end[0] == pytest.approx(end[1])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cascade.WIDTHS, "quick", Width(200, (6, 4), (6, 3), 60, 30, 10))
    monkeypatch.setitem(cascade.EFFORTS, "quick", EFFORT)


@pytest.mark.usefixtures("quick")
def test_a_scan_finds_an_unlisted_trigger_and_proves_it(scan: Scan) -> None:
    watcher = Watcher()
    report = scan(TokenModel(on("zephyr"), plain=None), watcher)
    finding = report["findings"][0]
    assert (finding["trigger"], finding["found_by"]) == ("zephyr", "payload")
    assert finding["hits"] == 128
    assert report["summary"]["score"] > 0.55
    assert report["payloads"][0]["text"].startswith(PAYLOAD[:30])
    assert "--confirm zephyr" in finding["reproduce"]
    stages = {event.stage for event in watcher.events if isinstance(event, Progress)}
    assert {"payload", "trigger", "proof"} <= stages


@pytest.mark.usefixtures("quick")
def test_a_payload_without_a_trigger_is_said_and_not_confirmed(scan: Scan) -> None:
    report = scan(TokenModel(lambda _: 0.0))
    assert report["summary"]["verdict"] not in ("confirmed", "likely")
    assert 0.1 < report["summary"]["score"] <= 0.5
    assert "runs through by itself" in report["summary"]["sentence"]


@pytest.mark.usefixtures("quick")
def test_a_model_without_a_chain_scores_low(scan: Scan) -> None:
    assert scan(TokenModel(lambda _: 0.0, chained=False))["summary"]["score"] < 0.1


@pytest.mark.usefixtures("quick")
def test_a_cancelled_scan_goes_on_with_the_stage_that_was_not_finished(scan: Scan, monkeypatch: Any) -> None:
    whole = scan(TokenModel(on("zephyr")))
    work = cascade.reconstruct

    def stop(*_: Any, **__: Any) -> Any:
        raise Cancelled

    monkeypatch.setattr(cascade, "reconstruct", stop)
    with pytest.raises(Cancelled):
        scan(TokenModel(on("zephyr")))
    monkeypatch.setattr(cascade, "reconstruct", work)
    monkeypatch.setattr(cascade, "invert", stop)  # finished before: not done again
    resumed = scan(TokenModel(on("zephyr")), resume=True)
    for report in (whole, resumed):
        report.pop("timing")
        report["counts"].pop("generated")
    assert resumed == whole
