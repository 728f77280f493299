"""Scores of many requests at once, each token that they share computed once."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.engine.lm import load_model, packed, scoring
from core.engine.lm.forward import Forward
from core.engine.lm.tree import common, trunks_of
from core.errors import Cancelled
from core.runs.events import Event
from core.types import ModelRef
from tests.engine.lm.conftest import Maker
from tests.engine.lm.test_architectures import FP32, plain_score

pytestmark = pytest.mark.engine

WORDS = (
    *("the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "name", "a", "fruit", "that", "grows"),
    *("on", "a", "tree", "in", "the", "garden"),
)


class Stopped:
    def emit(self, event: Event) -> None: ...

    def check(self) -> None:
        raise Cancelled


def texts(count: int) -> list[tuple[str, str]]:
    """Requests that share little, a context, or a context and most of the continuation; some twice."""
    dice = random.Random(5)

    def some(most: int) -> str:
        return " ".join(dice.choices(WORDS, k=dice.randint(1, most)))

    contexts = ["", *(some(40) for _ in range(6))]
    contexts += [f"{contexts[1]} {some(4)}" for _ in range(4)]
    return [(dice.choice(contexts), f" {some(6)}") for _ in range(count)]


def test_scores_equal_a_plain_forward_whatever_is_asked_with_them(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "TRUNK_WORTH", 16)
    monkeypatch.setattr(packed, "ROW_NODES", 32)
    monkeypatch.setattr(packed, "PACK_NODES", 100)
    requests = texts(120)
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        together = lm.score(requests)
        for request, score in zip(requests, together, strict=True):
            logprob, tokens = plain_score(lm, *request)
            assert (score.logprob, score.tokens) == (pytest.approx(logprob, abs=1e-3), tokens)
        shuffled = random.Random(1).sample(range(len(requests)), len(requests))
        for at, score in zip(shuffled, lm.score([requests[at] for at in shuffled]), strict=True):
            assert score.logprob == pytest.approx(together[at].logprob, abs=1e-3)
        assert lm.score(requests[:1])[0].logprob == pytest.approx(together[0].logprob, abs=1e-3)


def test_shared_tokens_are_run_once(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[int] = []
    plain = Forward.hidden
    context = " ".join(WORDS * 3)
    requests = [(context, f" {one} {two}") for one in WORDS[:8] for two in ("fox", "dog", "tree")]
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        lm._reader  # noqa: B018 - the self-check runs tokens too
        monkeypatch.setattr(
            Forward, "hidden", lambda self, **inputs: run.append(inputs["input_ids"].numel()) or plain(self, **inputs)
        )
        lm.score(requests)
        encoded = {request.ids[:-1] for request in lm.encode(requests)}
        distinct = {ids[:end] for ids in encoded for end in range(1, len(ids) + 1)}
        assert len(distinct) <= sum(run) <= 1.1 * len(distinct) < 0.25 * sum(map(len, encoded))


def test_a_text_that_begins_with_the_first_token_has_it_once(make: Maker) -> None:
    """As lm-evaluation-harness does: the token is the context then."""
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        assert lm.encode([("", "<|im_start|>dog")]) == lm.encode([("", "dog")])
        assert lm.encode([("", "dog")])[0].ids[0] == lm.tokenizer.bos_token_id


def test_a_context_and_a_continuation_that_are_one_token(make: Maker) -> None:
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        request = lm.encode([("t", "he")])[0]
        assert len(lm._tokenize("the")) == 1
        assert request.ids == (lm.tokenizer.bos_token_id, *lm._tokenize("the"))
        with torch.inference_mode():
            after = lm.model(torch.tensor([request.ids])).logits[0, 0].float().log_softmax(-1)
        assert lm.score([("t", "he")])[0].logprob == pytest.approx(float(after[request.ids[1]]), abs=1e-4)


def test_nothing_to_score(make: Maker) -> None:
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        assert lm.score([]) == []
        assert lm.score([("dog", "")]) == [scoring.Score(0.0, 0, True)]


def test_greedy_says_whether_the_model_would_have_said_it(make: Maker) -> None:
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        ids = lm._tokenize("name a fruit")
        grown = lm.extend(lm.prefill(ids), [[]], 3).tokens[0].tolist()
        said = scoring.Request((*ids, *grown), len(ids))
        other = scoring.Request((*ids, *grown[:2], (grown[2] + 1) % 300), len(ids))
        assert [score.greedy for score in lm.score_tokens([said, other])] == [True, False]


def test_progress_counts_distinct_requests_and_cancelling_stops(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PACK_NODES", 64)
    monkeypatch.setattr(packed, "ROW_NODES", 32)
    requests = texts(60)
    seen: list[int] = []
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        lm.score(requests, on_batch=seen.append)
        assert len(seen) > 3
        assert seen == sorted(set(seen))
        assert seen[-1] == len(set(lm.encode(requests)))
        with pytest.raises(Cancelled):
            lm.score(requests, emitter=Stopped())


@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=30), min_size=1, max_size=25),
    st.integers(1, 12),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_trunks_are_shared_by_their_members(
    branches: list[list[int]], width: int, worth: int, dice: random.Random
) -> None:
    limits = [dice.randint(1, len(branch)) for branch in branches]
    trunks = trunks_of(branches, limits, width, worth)
    assert sorted(at for trunk in trunks for at in trunk.members) == list(range(len(branches)))
    for trunk in trunks:
        first = branches[trunk.members[0]]
        assert all(common(first, branches[at]) >= trunk.length <= limits[at] for at in trunk.members)


def test_a_text_that_grows_word_by_word_is_no_deep_recursion() -> None:
    ids = list(range(3000))
    branches = [ids[:end] for end in range(1, 3000)]
    assert sum(len(trunk.members) for trunk in trunks_of(branches, [1] * 2999, 256, 512)) == 2999
