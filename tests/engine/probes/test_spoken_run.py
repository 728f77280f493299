"""Suites read from written answers: values on the suite's own scale, a file that stands in, and a model asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.engine.probes import spoken as run_module
from core.engine.probes.spoken import hear, measure, run_spoken
from core.errors import InputError
from core.runs.folder import RunFolder
from core.specs import SuiteSpec
from core.suites import load_suite
from core.suites.items import Choice, Item, Refusal
from core.suites.spoken import prompt_uid, spoken
from tests.engine.probes.test_probes import Card, FakeAsked, FakeModel

pytestmark = pytest.mark.engine
NO, YES = "I'm sorry, but I can't help with that.", "Of course. Here is what you need to know about it."


def item(plan: Any) -> Item:
    return Item("u", "c", "g", "more", "less", plan)


def value(plan: Any, answers: dict[str, str]) -> Any:
    one = item(plan)
    return measure(one, {text: hear(answer, [one]) for text, answer in answers.items()})


def test_a_refusal_is_told_from_its_controls() -> None:
    plan = Refusal((("a", "en", 1.0), ("b", "en", -0.5), ("c", "en", -0.5)))
    assert value(plan, {"a": NO, "b": YES, "c": YES}).value == 1.0
    assert value(plan, {"a": NO, "b": NO, "c": YES}).value == 0.5
    assert value(plan, {"a": YES, "b": YES, "c": YES}).value == 0.0
    assert value(Refusal((("a", "en", -1.0),), 1.0), {"a": YES}).value == 1.0


def test_a_choice_is_what_the_answer_names() -> None:
    plan = Choice("q", True, ("Canberra",), ("Sydney", "Perth", "Hobart"), "right")
    assert (value(plan, {"q": "Canberra."}).value, value(plan, {"q": "It is Perth"}).value) == (0.75, -0.25)
    both = value(plan, {"q": "Canberra or Perth"})
    assert (both.value, both.tied) == (0.0, True)
    wrong = Choice("q", True, ("Canberra",), ("Sydney",), "wrong")
    said = value(wrong, {"q": "Sydney, of course."})
    assert (said.value, said.numbers["correct"], said.numbers["picked"]) == (0.5, 0, 1)


class Silent:
    def emit(self, event: Any) -> None: ...

    def check(self) -> None: ...


def test_a_file_stands_in_for_a_model(tmp_path: Path) -> None:
    (told,) = spoken([load_suite("safety.requests")]).suites
    texts = [text for one in told.items for text, _, _ in one.plan.prompts]
    answers = tmp_path / "answers.jsonl"
    rows = [{"uid": prompt_uid(text), "answer": NO if at % 4 else YES} for at, text in enumerate(dict.fromkeys(texts))]
    answers.write_text("\n".join(json.dumps(row) for row in [*rows[10:], {"uid": "other", "answer": "x"}]))
    spec = SuiteSpec(model="big", suites=("safety.requests",), answers=str(answers))
    folder = RunFolder.create(spec, tmp_path / "run")
    report = run_spoken(spec, folder, Silent())
    (suite,) = report["suites"]
    assert suite["n"] == len(told.items) - 10
    assert suite["effect"]["value"] == pytest.approx(0.25, abs=0.02)
    assert suite["facts"]["withheld_share"] == pytest.approx(0.75, abs=0.02)
    assert (report["model"]["name"], report["model"]["precision"]) == ("big", "not loaded")
    assert "claimed" in report["model"]["notes"][0]
    assert all(NO not in json.dumps(row) for row in folder.items())  # answers are not kept
    again = run_spoken(spec, folder, Silent())
    assert again["suites"] == report["suites"]
    assert len(list(folder.items())) == suite["n"]


def test_what_no_words_can_answer_is_refused(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"uid": "other", "answer": "x"}')
    for suite, said in (("framing.institutions", "None of these suites"), ("safety.requests", "answers no item")):
        spec = SuiteSpec(model="big", suites=(suite,), answers=str(answers))
        with pytest.raises(InputError, match=said):
            run_spoken(spec, RunFolder.create(spec, tmp_path / suite), Silent())


def test_a_model_is_asked_each_prompt_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Counting(FakeModel):
        def answer(self, text: str) -> str:
            self.calls += 1
            return "It was the pensioner." if "pensioner" in text else "Nobody knows."

    model: Any = Counting(lambda *_: 0.0)
    monkeypatch.setattr(run_module, "AskedOnDisk", lambda *_: FakeAsked(model, lambda: model, None, Silent()))
    monkeypatch.setattr(run_module, "inspect_model", lambda *_: Card)
    spec = SuiteSpec(model="/fake", suites=("stereotype.situations",), spoken=True)
    run = RunFolder.create(spec, tmp_path / "run")
    report = run_spoken(spec, run, Silent())
    assert report["suites"][0]["n"] == 168  # the others are to be continued, not answered
    assert model.calls == 168
    assert 130 < report["suites"][0]["ties"] < 168
    assert "read from written answers" in report["model"]["notes"]
    before = len(list(run.items()))
    assert run_spoken(spec, run, Silent())["suites"] == report["suites"]
    assert (model.calls, len(list(run.items()))) == (168, before)
