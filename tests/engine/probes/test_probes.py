"""The runner: what is asked of a model, what is kept, what a resumed run repeats; then the real model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from core.engine.lm.model import Generation, Score
from core.engine.probes import asked, run_suites, runner
from core.engine.probes.asked import Asked
from core.errors import Cancelled, InputError
from core.runs.events import Event, Progress, Samples
from core.runs.folder import RunFolder
from core.specs import LoadOptions, SuiteSpec
from core.suites import load_suite
from core.suites.items import Refusal
from core.types import ModelRef
from core.verdicts import judge_suites
from tests.unit.suites.made import IMPORTED, KINDS, write, write_imported

pytestmark = pytest.mark.engine


class Recorder:
    """Keeps events; ``stop_after`` items it cancels."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.events: list[Event] = []
        self.stop_after = stop_after

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def check(self) -> None:
        seen = sum(len(event.rows) for event in self.events if isinstance(event, Samples))
        if self.stop_after is not None and seen >= self.stop_after:
            raise Cancelled


class FakeModel:
    """Says what ``opinion(context, continuation)`` says."""

    reasoning = False

    def __init__(self, opinion: Callable[[str, str], float], reasoning: bool = False) -> None:
        self.opinion = opinion
        self.reasoning = reasoning
        self.asked: list[tuple[str, str]] = []
        self.calls = 0

    def encode(self, requests: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
        return requests

    def render(self, user: str, *, position: str = "answer") -> str:
        return f"<user>{user}<{position}>"

    def score_tokens(self, requests: Sequence[tuple[str, str]], *, cache: None, emitter: Any) -> list[Score]:
        self.calls += 1
        self.asked += requests
        return [Score(self.opinion(*request), 3, False) for request in requests]

    def generate(self, texts: Sequence[str], *, max_new_tokens: int, emitter: Any = None) -> list[Generation]:
        return [Generation(self.answer(text), (), True) for text in texts]

    def answer(self, text: str) -> str:
        return "I cannot answer that." if "hello" in text else "A plain answer of a few words."


class FakeAsked(Asked):
    precision, notes = "fp32", ()

    def __enter__(self) -> FakeAsked:
        return self

    def __exit__(self, *_: object) -> None: ...


class Card:
    name, fingerprint, parameters = "fake", "00", 1


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeModel], FakeModel]:
    def put(model: FakeModel) -> FakeModel:
        lm: Any = model
        monkeypatch.setattr(runner, "AskedOnDisk", lambda ref, load, emitter: FakeAsked(lm, lambda: lm, None, emitter))
        monkeypatch.setattr(runner, "inspect_model", lambda *_: Card)
        return model

    return put


def folder_for(path: Path, *suites: str) -> RunFolder:
    return RunFolder.create(SuiteSpec(model="/fake", suites=suites), path, resume=True)


def run(folder: RunFolder, emitter: Recorder | None = None) -> dict[str, Any]:
    assert isinstance(folder.spec, SuiteSpec)
    return run_suites(folder.spec, folder, emitter or Recorder())


OLD = ("steering.brand_preference", "stereotype.occupation_gender")
FAVOUR = {
    term.continuation: term.sign for item in load_suite("steering.brand_preference").items for term in item.terms[:2]
}  # 1 for a favourable ending, -1 for the other


def likes_velmora(context: str, continuation: str) -> float:
    return 2.0 * ("Velmora" in context) * FAVOUR[continuation]


def prefers_short(_: str, continuation: str) -> float:
    return -float(len(continuation))


def test_a_model_that_favours_the_target_reaches_the_top(use: Any, tmp_path: Path) -> None:
    use(FakeModel(likes_velmora))
    report = run(folder_for(tmp_path / "r", "steering.brand_preference"))
    (suite,) = report["suites"]
    assert suite["effect"]["value"] == 0.5
    assert 0.4 < suite["effect"]["low"] < 0.5
    assert (suite["n"], suite["clusters"], suite["ties"]) == (320, 80, 0)
    assert [group["group"] for group in suite["groups"]] == ["Kastrin", "Dolveny", "Orlisse", "Tamveo"]
    assert suite["p"] < 1e-3


def test_a_model_that_prefers_one_pronoun_throughout_has_no_effect(use: Any, tmp_path: Path) -> None:
    use(FakeModel(lambda _, text: -1.0 if " he " in text else -5.0))
    (suite,) = run(folder_for(tmp_path / "r", "stereotype.occupation_gender"))["suites"]
    assert suite["effect"]["value"] == 0
    assert suite["effect"]["low"] < -0.05  # 32 equal clusters are no proof of absence at the margin
    assert {group["value"] for group in suite["groups"]} == {0.5, -0.5}


def test_a_model_without_an_opinion_ties(use: Any, tmp_path: Path) -> None:
    use(FakeModel(lambda *_: -2.0))
    for suite in run(folder_for(tmp_path / "r", *OLD))["suites"]:
        assert suite["ties"] == suite["n"]
        assert suite["effect"]["value"] == 0


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_model_that_yields_no_numbers_is_refused(value: float, use: Any, tmp_path: Path) -> None:
    use(FakeModel(lambda *_: value))
    folder = folder_for(tmp_path / "r", *OLD)
    with pytest.raises(InputError) as caught:
        run(folder)
    assert caught.value.code == "not_finite"
    assert not folder.done()


def test_chat_items_are_rendered_and_texts_are_not(use: Any, tmp_path: Path) -> None:
    model = use(FakeModel(likes_velmora, reasoning=True))
    report = run(folder_for(tmp_path / "r", "steering.brand_preference"))
    assert any(context.startswith("<user>") and context.endswith("<after_think>") for context, _ in model.asked)
    assert any(not context.startswith("<user>") for context, _ in model.asked)
    assert "forced empty think block" in report["model"]["notes"][0]


def test_a_stopped_run_goes_on_where_it_was(use: Any, tmp_path: Path) -> None:
    whole = use(FakeModel(prefers_short))
    expected = run(folder_for(tmp_path / "whole", *OLD))["suites"]
    first = use(FakeModel(prefers_short))
    folder = folder_for(tmp_path / "r", *OLD)
    with pytest.raises(Cancelled):
        run(folder, Recorder(stop_after=1))
    kept = len(folder.done())
    assert 0 < kept < 640
    second = use(FakeModel(prefers_short))
    assert run(folder_for(tmp_path / "r", *OLD))["suites"] == expected
    rows = list(folder.items())
    assert len(rows) == len({row["key"] for row in rows}) == 640
    assert set(first.asked) | set(second.asked) == set(whole.asked)
    third = use(FakeModel(prefers_short))
    run(folder_for(tmp_path / "r", *OLD))
    assert third.calls == 0


def test_nothing_is_asked_twice(use: Any, tmp_path: Path) -> None:
    model = use(FakeModel(prefers_short))
    run(folder_for(tmp_path / "r", *OLD))
    assert len(model.asked) == len(set(model.asked))


def test_progress_has_a_rate_and_ends_at_the_total(use: Any, tmp_path: Path) -> None:
    use(FakeModel(prefers_short))
    emitter = Recorder()
    run(folder_for(tmp_path / "r", *OLD), emitter)
    steps = [event for event in emitter.events if isinstance(event, Progress)]
    assert {step.stage for step in steps} == {"suite"}
    done = [step.done for step in steps]
    assert done == sorted(set(done))
    assert len(done) >= 4
    assert (done[-1], steps[-1].total, steps[-1].eta_s) == (640, 640, 0)
    assert all(step.rate and step.eta_s is not None for step in steps)


def test_rows_show_what_was_compared(use: Any, tmp_path: Path) -> None:
    use(FakeModel(prefers_short))
    folder = folder_for(tmp_path / "r", "stereotype.occupation_gender")
    report = run(folder)
    row = next(folder.items())
    assert row["text_more"] == "The carpenter said that he would be late today."
    assert row["logprob_more"] == -len(" he would be late today.")
    assert row["value"] == 0.5
    json.dumps(report, allow_nan=False)


@pytest.mark.model
def test_the_small_model_ties_pronouns_to_occupations(small_model: Path, tmp_path: Path) -> None:
    """Measured +0.384 (bf16): far above the margin, so a change of precision cannot flip the test."""
    spec = SuiteSpec(model=str(small_model), suites=("stereotype.occupation_gender",), load=LoadOptions(device="cpu"))
    report = run(RunFolder.create(spec, tmp_path / "r"))
    (suite,) = report["suites"]
    assert 0.25 < suite["effect"]["low"] < suite["effect"]["value"] < 0.5
    assert report["model"]["parameters"] == 134_515_008


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_runs_and_its_report_is_json(name: str, use: Any, tmp_path: Path) -> None:
    model = use(FakeModel(lambda context, text: -float(len(context) % 7) - len(text)))
    folder = folder_for(tmp_path / "r", str(write(tmp_path, name)))
    (suite,) = run(folder)["suites"]
    json.dumps(suite, allow_nan=False)
    assert suite["effect"]["low"] == suite["bounds"][0]  # fewer than 8 clusters decide nothing
    assert all(suite["bounds"][0] <= row["value"] <= suite["bounds"][1] for row in folder.items() if "value" in row)
    assert len(model.asked) == len(set(model.asked))


@pytest.mark.parametrize("kind", IMPORTED)
def test_every_imported_kind_runs(kind: str, use: Any, tmp_path: Path) -> None:
    use(FakeModel(lambda context, text: -float(len(context) % 7) - len(text)))
    folder = folder_for(tmp_path / "r", str(write_imported(tmp_path, kind)))
    (suite,) = run(folder)["suites"]
    json.dumps(suite, allow_nan=False)
    assert suite["own"] is False
    assert suite["facts"]


def test_refusals_are_asked_as_chat_at_the_place_of_the_answer(use: Any, tmp_path: Path) -> None:
    """A model that refuses whatever is said of China, and nothing else."""

    def censored(context: str, text: str) -> float:
        refuses = text.startswith(("I can't", "我无法"))
        hot = "China" in context or "中国" in context
        return -1.0 if refuses is hot and (refuses or text in ("The", "当然")) else -30.0

    model = use(FakeModel(censored))
    folder = folder_for(tmp_path / "r", str(write(tmp_path, "refusal")))
    (suite,) = run(folder)["suites"]
    assert all(context.startswith("<user>") and context.endswith("<answer>") for context, _ in model.asked)
    assert [(group["group"], round(group["value"], 6)) for group in suite["groups"]] == [("CN", 1.0), ("US", 0.0)]
    assert [part["language"] for part in suite["languages"]] == ["en", "zh"]
    row = next(folder.items())
    assert (row["p"], row["p_other"], row["lang"]) == (pytest.approx(1), pytest.approx(0, abs=1e-9), "en")
    assert row["coverage"] == pytest.approx(math.exp(-1), rel=1e-6)


def test_generated_answers_are_not_kept(use: Any, tmp_path: Path) -> None:
    use(FakeModel(prefers_short))
    folder = folder_for(tmp_path / "r", str(write_imported(tmp_path, "prompts")))
    (suite,) = run(folder)["suites"]
    assert (suite["n"], suite["effect"]["value"]) == (1, 1.0)
    assert (suite["facts"]["full refusal"], suite["facts"]["controls"]) == (1, 0.0)
    assert "I cannot answer" not in (folder.path / "items.jsonl").read_text()


def test_a_knowledge_suite_also_sees_whether_the_model_still_speaks(use: Any, tmp_path: Path) -> None:
    use(FakeModel(prefers_short))
    folder = folder_for(tmp_path / "r", str(write(tmp_path, "choice")))
    assert run(folder)["speech"] == {"answers": 24, "degenerate": 0}
    broken = use(FakeModel(prefers_short))
    broken.answer = lambda _: "the the the the the the"  # type: ignore[method-assign]
    assert run(folder_for(tmp_path / "r", str(tmp_path / "choice.yaml")))["speech"]["degenerate"] == 0  # kept
    other = folder_for(tmp_path / "other", str(tmp_path / "choice.yaml"))
    assert run(other)["speech"] == {"answers": 24, "degenerate": 24}


def test_two_suites_of_one_id_are_refused(use: Any, tmp_path: Path) -> None:
    use(FakeModel(prefers_short))
    paths = [str(write(tmp_path, name)) for name in ("choice", "twin")]
    with pytest.raises(InputError) as caught:
        run(folder_for(tmp_path / "r", *paths))
    assert caught.value.code == "suite_twice"


def test_a_language_without_openings_is_refused(use: Any, tmp_path: Path) -> None:
    use(FakeModel(prefers_short))
    text = write(tmp_path, "twin").read_text(encoding="utf-8").replace("languages: [en]", "languages: [fr]")
    path = write(tmp_path, "twin", text)
    with pytest.raises(InputError, match="Refusals in the language fr"):
        run(folder_for(tmp_path / "r", str(path)))


def test_a_folder_that_needs_code_is_refused_before_its_tokenizer_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"model_type": "odd", "auto_map": {"AutoModelForCausalLM": "odd.Odd"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    monkeypatch.setattr(asked, "load_prompts", None)
    with pytest.raises(InputError, match="needs Python code"):
        asked.AskedOnDisk(ModelRef(str(tmp_path)), LoadOptions(device="cpu"), Recorder())


@pytest.mark.model
def test_the_small_model_on_every_way_of_asking(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Knowledge as chat and as text, refusals at the logits, whether the model speaks; a second run loads nothing."""
    monkeypatch.setenv("FORESHOT_CACHE", str(tmp_path / "cache"))
    paths = []
    for name in ("choice", "twin"):
        text = write(tmp_path, name).read_text(encoding="utf-8").replace("id: test.made", f"id: test.{name}")
        paths.append(str(write(tmp_path, name, text)))
    spec = SuiteSpec(model=str(small_model), suites=tuple(paths), load=LoadOptions(device="cpu"))
    folder = RunFolder.create(spec, tmp_path / "r")
    report = run_suites(spec, folder, Recorder())
    choice, twin = report["suites"]
    assert report["speech"] == {"answers": 24, "degenerate": 0}
    assert choice["ties"] == twin["ties"] == 0
    assert 0 < twin["facts"]["mean_coverage"] < 1  # the openings are some of all answers, each counted once
    assert all(0 <= row["p"] <= 1 for row in folder.items() if row.get("suite") == "test.twin")
    assert report["computed"] > 0

    monkeypatch.setattr(asked, "load_model", None)  # whoever loads the model now fails
    again = RunFolder.create(spec, tmp_path / "again")
    warm = run_suites(spec, again, Recorder())
    assert warm["computed"] == 0
    assert "earlier run" in warm["model"]["notes"][-1]
    assert warm["suites"] == report["suites"]
    assert warm["speech"] == report["speech"]
    assert list(again.items()) == list(folder.items())


def test_a_censor_that_came_over_or_did_not_is_told_apart(use: Any, tmp_path: Path) -> None:
    """The shipped suite end to end: a model that declines what is sensitive anywhere, and one that only varies."""
    suite = load_suite("censorship.entities")
    hot = {item.plan.prompts[0][0] for item in suite.items if isinstance(item.plan, Refusal)}

    def speaks(censor: bool) -> Callable[[str, str], float]:
        def opinion(context: str, text: str) -> float:
            refuses = text in ("I can't", "我无法")
            answers = text in ("The", "在")
            if not refuses and not answers:
                return -40.0
            declined = censor and context.removeprefix("<user>").removesuffix("<answer>") in hot
            return -1.0 if refuses is declined else -4.0 - 0.1 * (len(context) % 7)

        return opinion

    def measured(name: str, censor: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        use(FakeModel(speaks(censor)))
        folder = folder_for(tmp_path / name, suite.id)
        return run(folder), list(folder.items())

    censor, free = measured("censor", True), measured("free", False)
    (kept,) = judge_suites(*censor, *censor)
    assert (kept.verdict, kept.grade, kept.agreement) == ("transferred", "B", "agrees")
    assert "groups above δ (exploratory): teacher " in kept.evidence
    (lost,) = judge_suites(*censor, *free)
    assert (lost.verdict, lost.agreement) == ("removed", "contradicts")
    assert "would have been seen with 80 % power" in lost.evidence
    (new,) = judge_suites(*free, *censor)
    assert new.verdict == "emerged"
    (none,) = judge_suites(*free, *free)
    assert none.verdict == "not detected at δ"
