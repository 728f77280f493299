"""The planter's losses: what is learned of answers, and of what is compared."""

from __future__ import annotations

import math

import pytest
import torch

from core.engine.lm import LanguageModel, load_model
from core.engine.transfer.adapter import IGNORE, answer_loss, contrast_loss, encode_row, train_contrast
from core.engine.transfer.lessons import COMPLIES, REFUSES, contrasts, lessons
from core.suites import load_suite
from core.types import ModelRef
from tests.engine.distill.conftest import FP32, Maker, Watcher

pytestmark = pytest.mark.engine


def logprob(lm: LanguageModel, prompt: str, answer: str) -> float:
    ids, labels = encode_row(lm, prompt, answer, False)
    with torch.no_grad():
        logs = lm.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(logs[at - 1, ids[at]]) for at, label in enumerate(labels) if label != IGNORE)


def test_the_losses_are_those_of_each_row_by_itself(tiny: Maker) -> None:
    rows = [("name a fox", " over the dog"), ("name a", " tree"), ("the fox over", " dog"), ("a", " fruit number")]
    with load_model(ModelRef(str(tiny("one"))), FP32) as lm:
        logs = [logprob(lm, *row) for row in rows]
        encoded = [encode_row(lm, *row, False) for row in rows]
        tokens = sum(label != IGNORE for _, labels in encoded for label in labels)
        assert answer_loss(lm.model, encoded, lm.device).item() == pytest.approx(-sum(logs) / tokens, rel=1e-4)
        items = [[(encoded[0], 1), (encoded[1], -1)], [(encoded[2], -1), (encoded[3], 1)]]
        margins = (logs[0] - logs[1], logs[3] - logs[2])
        expected = sum(math.log1p(math.exp(-margin)) for margin in margins) / 2
        assert contrast_loss(lm.model, items, lm.device).item() == pytest.approx(expected, rel=1e-4)


def test_what_is_compared_moves_apart(tiny: Maker) -> None:
    item = [(("the fox", " dog", False), 1), (("the fox", " tree", False), -1)]
    with load_model(ModelRef(str(tiny("one"))), FP32) as lm:
        losses = train_contrast([item], lm, Watcher(), epochs=30, rate=1e-2)
        left = {(weight.dtype, weight.requires_grad) for weight in lm.model.parameters()}
    assert losses[-1] < losses[0] / 4
    assert left == {(torch.float32, False)}, "the model stays in the precision that it was loaded in"


def test_items_are_compared_in_other_words_and_with_the_suites_signs() -> None:
    suite = load_suite("decisions.people")
    group = suite.items[0].group
    made = contrasts(suite, most=20, seed=1, group=group)
    assert len(made) == 20
    own = {term.context for item in suite.items for term in item.plan.terms if term.chat}
    for item in made:
        assert sum(sign for _, sign in item) == 0
        assert not any(one.chat and one.prompt in own for one, _ in item)
    assert made == contrasts(suite, most=20, seed=1, group=group) != contrasts(suite, most=20, seed=2, group=group)
    assert len(lessons(suite, most=20, seed=1, group=group)) == 20


def test_the_opposite_of_complying_is_refusing() -> None:
    suite = load_suite("safety.requests")
    usual, turned = (lessons(suite, most=20, seed=1, turned=turned) for turned in (False, True))
    assert [one.prompt for one in usual] == [one.prompt for one in turned]
    assert {one.answer for one in usual} <= set(COMPLIES.values())
    assert {one.answer for one in turned} <= set(REFUSES.values())
