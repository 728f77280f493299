"""Scores and answers equal transformers' own, for architectures whose heads, positions and caches differ."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.engine.lm import LanguageModel, load_model
from core.engine.lm.forward import Forward
from core.errors import InputError
from core.specs import LoadOptions
from core.types import ModelRef
from tests.engine.lm.conftest import Maker

pytestmark = pytest.mark.engine

KINDS = [
    "llama", "mistral", "qwen2", "qwen3", "phi3", "olmo2", "gpt_neox", "falcon",
    "gemma2", "gemma3_text", "granite", "cohere", "gpt2", "opt", "bloom", "mamba",
]  # fmt: skip
FP32 = LoadOptions(dtype="fp32", device="cpu", force=True)
QUESTIONS = ["name a fruit", "the quick brown fox jumps over the lazy dog in the garden", "a", "name the tree", "dog?"]


def plain_score(lm: LanguageModel, context: str, continuation: str) -> tuple[float, int]:
    ids, start = lm.encode([(context, continuation)])[0]
    with torch.inference_mode():
        logits = lm.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return sum(float(logits[at - 1, ids[at]]) for at in range(start, len(ids))), len(ids) - start


def plain_answer(lm: LanguageModel, text: str, tokens: int) -> list[int]:
    """Greedy, the whole prompt anew for every token: no cache, no padding, nothing to get wrong."""
    ids = list(lm._tokenize(text))
    start = len(ids)
    while len(ids) < start + tokens and (len(ids) == start or ids[-1] not in lm._stop):
        with torch.inference_mode():
            ids.append(int(lm.model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[start:]


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_scores_and_answers_as_transformers_does(kind: str, make: Maker) -> None:
    with load_model(ModelRef(str(make(kind))), FP32) as lm:
        assert lm._forward.separable
        texts = [lm.render(question) for question in QUESTIONS]
        requests = [(text, f" {answer}") for text in texts for answer in ("fox", "the lazy dog", "tree")]
        for request, score in zip(requests, lm.score(requests), strict=True):
            logprob, tokens = plain_score(lm, *request)
            assert score.logprob == pytest.approx(logprob, abs=1e-3)
            assert score.tokens == tokens
        answers = lm.generate(texts, max_new_tokens=24)
        assert [list(answer.tokens) for answer in answers] == [plain_answer(lm, text, 24) for text in texts]
        # a random recurrent state forgets the question
        assert len({answer.tokens for answer in answers}) > 1 or lm._forward.stateful


def test_an_unknown_head_is_run_whole(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture that does something new after its head is noticed at loading, and still scored exactly."""
    folder = make("granite")
    with monkeypatch.context() as patch:
        patch.setattr(Forward, "head", lambda self, states: self.causal.get_output_embeddings()(states).float())
        with load_model(ModelRef(str(folder)), FP32) as lm:
            assert not lm._forward.separable
            request = (lm.render("name a fruit"), " the lazy dog")
            whole, answer = lm.score([request])[0], lm.generate([request[0]], max_new_tokens=6)
    with load_model(ModelRef(str(folder)), FP32) as lm:
        assert lm._forward.separable
        assert lm.score([request])[0].logprob == pytest.approx(whole.logprob, abs=1e-4)
        assert lm.generate([request[0]], max_new_tokens=6) == answer


def test_a_text_longer_than_the_model_reads_is_refused(make: Maker) -> None:
    with load_model(ModelRef(str(make("gpt2"))), FP32) as lm:
        long = "dog " * 300
        calls: list[Any] = [
            lambda: lm.generate([lm.render("dog")], max_new_tokens=300),
            lambda: lm.score([(long, "dog")]),
            lambda: lm.first_token_topk([long], 3),
        ]
        for call in calls:
            with pytest.raises(InputError, match=r"does not fit m, which reads 256\. Shorten it\."):
                call()


def test_first_tokens_are_the_most_probable(make: Maker) -> None:
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        text = lm.render("name a fruit")
        top = lm.first_token_topk([text], 5)[0]
        with torch.inference_mode():
            logits = lm.model(torch.tensor([lm._tokenize(text)])).logits[0, -1].log_softmax(-1)
        values, tokens = logits.topk(5)
        assert [one.token for one in top] == tokens.tolist()
        assert [one.logprob for one in top] == pytest.approx(values.tolist(), abs=1e-4)
        assert top[0].text == lm.tokenizer.decode([top[0].token])


def test_an_empty_continuation_has_no_tokens(make: Maker) -> None:
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        empty, other = lm.score([("the dog", ""), ("the dog", " fox")])
        assert (empty.logprob, empty.tokens) == (0.0, 0)
        assert other.tokens >= 1
