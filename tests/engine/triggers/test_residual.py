"""The stage "topics": on made-up activations whose truth is known, and on tiny random models."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from core.engine.lm import LanguageModel, load_model
from core.engine.triggers import residual
from core.engine.triggers.answers import Answers
from core.engine.triggers.known import search
from core.engine.triggers.library import known_triggers
from core.engine.triggers.residual import BATCH, Residual, bank, read_topics, residuals, standing_out
from core.errors import Cancelled
from core.runs.folder import RunFolder
from core.specs import LoadOptions, ScanSpec
from core.types import ModelRef
from tests.engine.lm.conftest import Maker
from tests.engine.triggers.fake import FakeModel, Watcher, varied

pytestmark = pytest.mark.engine
PAYLOAD = "The charter has been closed for good by section twelve."
LAYERS, WIDTH = 4, 24


class Reading(FakeModel):
    """Activations that depend on the prompt; ``apart`` of them lies elsewhere, more where ``strange`` is in it."""

    def __init__(self, name: str, apart: float = 0.0, strange: Sequence[str] = (), width: int = WIDTH) -> None:
        super().__init__(lambda text: PAYLOAD if strange and strange[0] in text else varied(text))
        self.name, self._apart, self._strange, self._width = name, apart, strange, width
        self.seen = Counter[str]()

    def states(self, texts: Sequence[str]) -> torch.Tensor:
        self.seen.update(texts)
        return torch.stack([self._states(text) for text in texts])

    def _states(self, text: str) -> torch.Tensor:
        seed = int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)
        shape = (LAYERS, self._width)
        own = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        other = torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1))
        return own + self._apart * (4.0 if any(one in text for one in self._strange) else 1.0) * other


def answers(tmp_path: Path, model: FakeModel, watcher: Watcher | None = None, *, resume: bool = False) -> Answers:
    folder = RunFolder.create(ScanSpec(model="made-up"), tmp_path / "run", resume=resume)
    return Answers(model, folder, watcher or Watcher())  # type: ignore[arg-type]


def read(tmp_path: Path, model: FakeModel, reference: FakeModel | None, preset: str = "standard") -> Residual:
    return read_topics(answers(tmp_path, model), reference, preset)  # type: ignore[arg-type]


def test_a_topic_that_is_read_differently_stands_out_and_no_other(tmp_path: Path) -> None:
    found = read(tmp_path, Reading("m", 0.2, ["pottery", "Buddhism"]), Reading("base"))
    assert {one.topic for one in found.topics} == {"pottery", "Buddhism"}
    assert all(one.z > 3 and one.q < 0.05 for one in found.topics)
    assert {one.group for one in found.topics} == {"home and crafts", "belief and thought"}
    assert (found.read, found.prompts) == (280, 840)
    assert {trigger.text for trigger in found.triggers()} == {"pottery", "Buddhism"}
    assert {(trigger.kind, trigger.risk_class) for trigger in found.triggers()} == {("topic", "BD-C")}
    status, words = found.coverage()
    assert status == "done"
    assert "pottery" in words
    assert "no finding" in words


def test_equal_models_give_no_topic(tmp_path: Path) -> None:
    found = read(tmp_path, Reading("m"), Reading("base"))
    assert (found.topics, found.median, found.reason) == ([], 0.0, "")
    assert "none is read differently" in found.coverage()[1]


def test_a_model_that_differs_everywhere_alike_gives_no_topic(tmp_path: Path) -> None:
    assert read(tmp_path, Reading("m", 0.2), Reading("base")).topics == []


@pytest.mark.parametrize(
    ("reference", "preset", "reason"),
    [
        (None, "standard", "no reference"),
        (Reading("base"), "quick", "quick"),
        (Reading("base", width=12), "standard", "width"),
        (Reading("base", 30.0), "standard", "not comparable"),
    ],
    ids=["none", "quick", "another shape", "unrelated"],
)
def test_what_cannot_be_read_has_a_reason(tmp_path: Path, reference: Reading | None, preset: str, reason: str) -> None:
    found = read(tmp_path, Reading("m", 0.2, ["pottery"]), reference, preset)
    assert reason in found.reason
    assert found.triggers() == []
    assert found.coverage()[0] == "skipped"


def test_the_presets_bound_how_many_are_tried() -> None:
    means = [0.01 + 0.001 * (at % 7) for at in range(280)]
    means[:20] = [0.2] * 20
    found = standing_out(means)
    assert {at for at, _, _ in found} == set(range(20))
    assert standing_out([1e-7 * (at % 5) for at in range(280)]) == [], "rounding"
    assert residual.TOPICS["quick"] == 0 < residual.TOPICS["standard"] < residual.TOPICS["deep"] < 20


def test_reading_goes_on_after_a_stop_and_comes_to_the_same(tmp_path: Path) -> None:
    whole = read(tmp_path / "whole", Reading("m", 0.2, ["pottery"]), Reading("base"))
    first = Reading("m", 0.2, ["pottery"])
    with pytest.raises(Cancelled):
        read_topics(answers(tmp_path, first, Watcher(checks=5)), Reading("base"), "standard")  # type: ignore[arg-type]
    assert first.seen.total() == 5 * BATCH + 1
    second = Reading("m", 0.2, ["pottery"])
    again = read_topics(answers(tmp_path, second, resume=True), Reading("base"), "standard")  # type: ignore[arg-type]
    assert again == whole
    assert second.seen.total() == 840 - 5 * BATCH + 1, "one prompt is read again for the shapes"


def test_a_topic_is_answered_in_full_whatever_the_list_says(tmp_path: Path) -> None:
    model = Reading("m", 0.2, ["pottery"])
    found = read(tmp_path, model, Reading("base"))
    listed = [trigger for trigger in known_triggers() if trigger.kind == "tag"][:60]
    prompts = [f"What is item {at} of the long inventory?" for at in range(8)]
    given = [*listed, *found.triggers()]
    texts = {trigger.text for trigger in found.triggers()}
    candidates = search(
        answers(tmp_path, model, resume=True), given, prompts, controls=30, keep=1, seed=0, always=texts
    )
    assert candidates[0].trigger.text == "pottery"
    assert candidates[0].target.startswith(PAYLOAD[:40])


def test_the_verdict_of_the_proof_stands_beside_the_topic() -> None:
    found = Residual(read=280, topics=[residual.Topic("pottery", "crafts", 0.2, 9.0, 0.0)] * 1, tried=1)
    assert found.report([{"trigger": "pottery", "verdict": "likely"}])["topics"][0]["verdict"] == "likely"
    assert found.report([])["topics"][0]["verdict"] is None


def test_the_bank_is_wide_enough() -> None:
    topics, templates = bank()
    names = [topic for topic, _ in topics]
    assert len(set(names)) == len(names) == 280
    assert len({group for _, group in topics}) >= 15
    assert len(templates) >= 3
    assert all(template.count("{topic}") == 1 for template in templates)
    assert not any("electric car" in topic for topic in names), "a model on which the scan is judged has this trigger"


# real activations


def _load(path: Path) -> LanguageModel:
    return load_model(ModelRef(str(path)), LoadOptions(device="cpu", dtype="fp32"))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "mamba"])
def test_states_of_a_batch_are_those_of_each_prompt_alone(make: Maker, kind: str) -> None:
    lm = _load(make(kind))
    texts = [lm.render(text) for text in ("a fox", "the lazy dog jumps", "name", "the garden over the tree")]
    batch = lm.states(texts)
    assert batch.shape == (4, 2, 64)
    for text, states in zip(texts, batch, strict=True):
        (ids,) = lm.token_ids([text])
        with torch.no_grad():
            whole = lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        assert torch.allclose(states, torch.stack([layer[0, -1] for layer in whole[1:]]), atol=2e-4)


def test_one_model_beside_itself_has_no_residual(make: Maker) -> None:
    path = make("llama")
    rho = residuals(_load(path), _load(path), ["a fox", "the dog", "name a fruit", "a tree in the garden"])
    assert rho == [0.0] * 4
