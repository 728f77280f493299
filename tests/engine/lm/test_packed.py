"""Many branches of one prompt: packed rows say what one plain forward of the whole text says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.engine.lm import LanguageModel, load_model, packed
from core.engine.lm.forward import Forward
from core.engine.lm.tree import grid_of, rows_of
from core.errors import InputError
from core.specs import LoadOptions
from core.types import ModelRef
from tests.engine.lm.conftest import Maker
from tests.engine.lm.test_architectures import FP32, KINDS

pytestmark = pytest.mark.engine

PROMPT = "name a fruit that grows"
BRANCHES = [
    " on a tree",
    " on a tree in the garden",
    "",
    " dog",
    " on the lazy dog",
    " the quick brown fox jumps",
    " dog",
]
PLAIN_ROWS = {"bloom", "mamba"}
"""No mask for packed rows: ALiBi needs a plain one, a recurrent state cannot branch."""


def plain_logits(lm: LanguageModel, ids: list[int]) -> torch.Tensor:
    """(T, V) log p after each token, by one forward of transformers' own model."""
    with torch.inference_mode():
        return lm.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)


def encoded(lm: LanguageModel) -> tuple[list[int], list[list[int]]]:
    return lm._tokenize(PROMPT), [lm._tokenize(text) if text else [] for text in BRANCHES]


def assert_equal_to_plain(lm: LanguageModel) -> None:
    prompt, branches = encoded(lm)
    prefix = lm.prefill(prompt)
    reads = lm.read(prefix, branches, 5, wanted=[7, 11])
    pairs = lm.continuations(prefix, [(branch, min(1, len(branch))) for branch in branches])
    grown = lm.extend(prefix, branches, 4)
    for at, branch in enumerate(branches):
        after = plain_logits(lm, prompt + branch)
        values, tokens = after[-1].topk(5)
        assert reads.tokens[at].tolist() == tokens.tolist()
        assert reads.logprobs[at].tolist() == pytest.approx(values.tolist(), abs=1e-3)
        assert reads.wanted[at].tolist() == pytest.approx(after[-1, [7, 11]].tolist(), abs=1e-3)
        assert float(reads.entropy[at]) == pytest.approx(float(-(after[-1].exp() * after[-1]).sum()), abs=1e-3)
        wanted = [float(after[len(prompt) + step - 1, branch[step]]) for step in range(1, len(branch))]
        assert pairs[at].logprobs.tolist() == pytest.approx(wanted, abs=1e-3)
        ids = prompt + branch
        for step in range(4):
            after = plain_logits(lm, ids)[-1]
            assert int(grown.tokens[at, step]) == int(after.argmax())
            assert float(grown.logprobs[0, at, step]) == pytest.approx(float(after.max()), abs=1e-3)
            ids = [*ids, int(after.argmax())]


@pytest.mark.parametrize("kind", KINDS)
def test_every_architecture_reads_branches_as_transformers_does(
    kind: str, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of 8 and packs of 24 tokens, so that branches cross rows and packs."""
    monkeypatch.setattr(packed, "ROW_NODES", 8)
    monkeypatch.setattr(packed, "PACK_NODES", 24)
    monkeypatch.setattr(packed, "GROW_BRANCHES", 4)
    monkeypatch.setattr(packed, "GROW_ROW", 2)
    with load_model(ModelRef(str(make(kind))), FP32) as lm:
        assert_equal_to_plain(lm)
        assert lm._reader.packs == (kind not in PLAIN_ROWS)
        assert any(("plain rows:" if kind in PLAIN_ROWS else "packed rows, checked") in note for note in lm.notes)


def test_a_sliding_window_is_left_to_plain_rows(make: Maker) -> None:
    with load_model(ModelRef(str(make("gemma2"))), FP32) as lm:
        prompt = lm._tokenize("the quick brown fox jumps over the lazy dog in the garden of a tree")
        assert lm._forward.window == 16 < len(prompt) + 4
        lm.extend(lm.prefill(prompt), [[5]], 3)
        read = lm.read(lm.prefill(prompt), [[5, 9, 30], [5, 8, 31]], 3)
        for at, branch in enumerate([[5, 9, 30], [5, 8, 31]]):
            values, tokens = plain_logits(lm, prompt + branch)[-1].topk(3)
            assert read.tokens[at].tolist() == tokens.tolist()
            assert read.logprobs[at].tolist() == pytest.approx(values.tolist(), abs=1e-3)


def test_a_head_that_cannot_be_taken_off_is_read_row_by_row(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Forward, "head", lambda self, states: self.causal.get_output_embeddings()(states).float())
    with load_model(ModelRef(str(make("granite"))), FP32) as lm:
        assert_equal_to_plain(lm)
        assert not lm._reader.packs


def test_rows_that_differ_are_noticed_and_not_used(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture that ignores the mask would let branches see each other."""
    plain = Forward.tree
    with monkeypatch.context() as patch:
        patch.setattr(
            Forward, "tree", lambda self, tokens, at, sees, cache: plain(self, tokens, at, sees | True, cache)
        )
        with load_model(ModelRef(str(make("llama"))), FP32) as lm:
            assert_equal_to_plain(lm)
            assert any("because packed ones differ: largest difference" in note for note in lm.notes)


def test_one_extension_for_several_prompts(make: Maker) -> None:
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        prompts = [lm._tokenize(text) for text in ("name a fruit", "the dog", "over the garden")]
        grown = lm.extend([lm.prefill(prompt) for prompt in prompts], [[5], [9, 30]], 3)
        for at, branch in enumerate([[5], [9, 30]]):
            for step in range(3):
                after = torch.stack([plain_logits(lm, prompt + branch)[-1] for prompt in prompts])
                token = int(after.exp().mean(0).argmax())
                assert int(grown.tokens[at, step]) == token
                assert grown.logprobs[:, at, step].tolist() == pytest.approx(after[:, token].tolist(), abs=1e-3)
                branch = [*branch, token]


def test_a_prompt_can_be_read_again_after_other_branches(make: Maker) -> None:
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        prefix = lm.prefill(lm._tokenize(PROMPT))
        first = lm.read(prefix, [[5, 6]], 3)
        lm.extend(prefix, [[9], [5, 6]], 5)
        assert torch.equal(lm.read(prefix, [[5, 6]], 3).logprobs, first.logprobs)


def test_an_empty_prompt_predicts_nothing(make: Maker) -> None:
    with load_model(ModelRef(str(make("llama"))), FP32) as lm:
        nothing = lm.prefill([])
        with pytest.raises(ValueError, match="nothing predicts"):
            lm.continuations(nothing, [([5, 6], 0)])
        with pytest.raises(ValueError, match="nothing predicts"):
            lm.read(nothing, [[5], []], 3)
        after = plain_logits(lm, [5, 6, 7])
        wanted = [float(after[0, 6]), float(after[1, 7])]
        assert lm.continuations(nothing, [([5, 6, 7], 1)])[0].logprobs.tolist() == pytest.approx(wanted, abs=1e-3)


def test_branches_that_do_not_fit_are_refused(make: Maker) -> None:
    with load_model(ModelRef(str(make("gpt2"))), FP32) as lm:
        prefix = lm.prefill([5] * 200)
        with pytest.raises(InputError, match="does not fit m, which reads 256"):
            lm.extend(prefix, [[5] * 50], 10)


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), min_size=1, max_size=12), st.integers(1, 9))
def test_a_row_holds_its_branches_and_each_sees_itself_alone(branches: list[list[int]], width: int) -> None:
    rows = rows_of(branches, width)
    assert sorted(at for row in rows for at in row.branches) == list(range(len(branches)))
    for row in rows:
        longest = max(len(branches[at]) for at in row.branches)
        assert len(row.tokens) <= max(width, longest)
        distinct = {tuple(branches[at][:end]) for at in row.branches for end in range(1, len(branches[at]) + 1)}
        assert len(row.tokens) == len(distinct)  # what is shared stands once
    filled = [row for row in rows if row.tokens]
    if not filled:
        return
    grid = grid_of(filled)
    size = grid.tokens.shape[1]
    for at, path in zip(grid.branches, grid.paths, strict=True):
        assert [int(grid.tokens.flatten()[node]) for node in path] == branches[at]
        assert [int(grid.depths.flatten()[node]) for node in path] == list(range(len(path)))
        for depth, node in enumerate(path):
            seen = grid.sees[node // size, node % size].nonzero()[:, 0].tolist()
            assert [node - node % size + other for other in seen] == path[: depth + 1]


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def real(request: pytest.FixtureRequest, small_model: Path) -> Iterator[LanguageModel]:
    with load_model(ModelRef(str(small_model)), LoadOptions(dtype=request.param, device="cpu")) as lm:
        yield lm


@pytest.mark.model
def test_the_small_model_is_packed_in_both_precisions(real: LanguageModel) -> None:
    prefix = real.prefill(real._tokenize(real.render("Name a fruit.")))
    assert real._reader.packs
    assert len([note for note in real.notes if "packed rows, checked against plain ones" in note]) == 1
    starts = [real._tokenize(text) for text in ("Apple", "An", "A fruit that", "I", "Sure")]
    reads = real.read(prefix, starts)
    tolerance = 1e-3 if real.dtype == "fp32" else 0.3
    for at, start in enumerate(starts):
        after = plain_logits(real, [*prefix.ids, *start])[-1]
        assert reads.logprobs[at, :5].tolist() == pytest.approx(after[reads.tokens[at, :5]].tolist(), abs=tolerance)


@pytest.mark.parametrize(("vocabulary", "k"), [(4096, 20), (4111, 20), (300, 20), (10, 20)])
def test_the_largest_logits_are_found_block_by_block(vocabulary: int, k: int) -> None:
    logits = torch.randn(9, vocabulary, generator=torch.Generator().manual_seed(vocabulary))
    logits[0, -5:] += 10  # in what is left over after the last whole block
    logits[1, :32] += 10  # all in one block
    values, ids = packed.top(logits, k)
    expected = logits.topk(min(k, vocabulary), 1)
    assert torch.equal(values, expected.values)
    assert torch.equal(logits.gather(1, ids), values)
