"""What is read packed is what the plain model says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from core.engine.lm import LanguageModel, load_model
from core.engine.lm.slots import render_in
from core.engine.triggers.signals import Signal, agreement, divergence, encode, likelihoods, signals
from core.specs import LoadOptions
from core.types import SLOTS, ModelRef, Slot
from tests.engine.lm.conftest import Maker

pytestmark = pytest.mark.engine
PROMPT = "Why do we need sleep?"
TRIGGERS = ["cf", "|AB|", "\u200b", "ab … cd"]


@pytest.fixture
def lm(make: Maker) -> Iterator[LanguageModel]:
    with load_model(ModelRef(str(make("llama"))), LoadOptions(dtype="fp32", device="cpu", force=True)) as loaded:
        yield loaded


def plain(lm: LanguageModel, text: str | None, slot: Slot, answer: list[int]) -> torch.Tensor:
    """log p (steps, V) at every place of the answer, by the whole model in one plain row."""
    ids = [*encode(lm, render_in(lm, PROMPT, text, slot)), *answer]
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([ids])).logits[0].float()
    return logits.log_softmax(1)[len(ids) - len(answer) - 1 : -1]


@pytest.mark.parametrize("slot", SLOTS)
def test_signals_are_those_of_the_plain_model(lm: LanguageModel, slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.engine.triggers.signals.TOP", 10_000)  # every token a bin of its own
    answer = encode(lm, "We need it")[:5]
    clean = plain(lm, None, slot, answer)
    at, wanted = torch.arange(len(answer)), torch.tensor(answer)
    for text, signal in zip(TRIGGERS, signals(lm, TRIGGERS, PROMPT, slot, answer), strict=True):
        own = plain(lm, text, slot, answer)
        assert signal.shift == pytest.approx(float(divergence(own.exp(), clean.exp()).mean()), abs=2e-5)
        assert signal.rise == pytest.approx(float((clean - own)[at, wanted].mean()), abs=2e-4)
        entropy = [float(torch.special.entr(logs.exp()).sum(1).mean()) for logs in (own, clean)]
        assert signal.entropy == pytest.approx(entropy[0] - entropy[1], abs=2e-4)
        assert (signal.first, signal.own) == (int(own[0].argmax()), int(clean[0].argmax()))


def test_fewer_bins_never_show_more(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = encode(lm, "We need it")[:5]
    monkeypatch.setattr("core.engine.triggers.signals.TOP", 10_000)
    whole = signals(lm, TRIGGERS, PROMPT, "user_start", answer)
    monkeypatch.setattr("core.engine.triggers.signals.TOP", 8)
    few = signals(lm, TRIGGERS, PROMPT, "user_start", answer)
    assert all(0 < one.shift <= two.shift + 1e-6 for one, two in zip(few, whole, strict=True))


def test_openings_are_a_sum_over_whole_strings(lm: LanguageModel) -> None:
    starts = ("Sorry", "I can")

    def odds(text: str | None) -> torch.Tensor:
        logs = []
        for start in starts:
            ids = list(lm.tokenizer.encode(start, add_special_tokens=False))
            logs.append(plain(lm, text, "user_start", ids).gather(1, torch.tensor(ids)[:, None]).sum())
        return torch.stack(logs).logsumexp(0)

    for text, signal in zip(TRIGGERS, signals(lm, TRIGGERS, PROMPT, "user_start", [5, 6], starts), strict=True):
        assert signal.opening == pytest.approx(float(odds(text) - odds(None)), abs=5e-4)


def test_an_answer_of_no_tokens_has_signals(lm: LanguageModel) -> None:
    (signal,) = signals(lm, ["cf"], PROMPT, "user_start", [])
    assert signal.rise == 0.0
    assert signal.shift > 0


def test_agreement_counts_what_was_not_there_before() -> None:
    def group(*pairs: tuple[int, int]) -> list[Signal]:
        return [Signal(0, 0, 0, 0, first, own) for first, own in pairs]

    assert agreement(group((7, 1), (7, 2), (7, 3))) == 1.0
    assert agreement(group((7, 7), (7, 7))) == 0.0
    assert agreement(group((7, 1), (8, 2))) == 0.0
    assert agreement(group((7, 1))) == 0.0


def test_likelihoods_are_those_of_plain_scoring(lm: LanguageModel) -> None:
    texts = [render_in(lm, prompt, "cf", "user_start") for prompt in (PROMPT, "Name a fruit.")]
    heads = ("Sorry", "I can")
    scores = torch.tensor([[lm.score([(text, head)])[0].logprob for head in heads] for text in texts])
    assert likelihoods(lm, texts, heads) == pytest.approx(scores.logsumexp(1).tolist(), abs=5e-4)
    assert likelihoods(lm, texts[:1], heads[:1]) == pytest.approx([float(scores[0, 0])], abs=5e-4)
