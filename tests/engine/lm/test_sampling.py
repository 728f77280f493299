"""Draws follow the distribution that was asked for, and are the same draws when asked for again."""

from __future__ import annotations

import pytest
import torch

from core.engine.lm import load_model
from core.engine.lm.sampling import choose
from core.specs import LoadOptions
from core.types import ModelRef
from tests.engine.lm.conftest import Maker

pytestmark = pytest.mark.engine
DRAWS = 20_000
LOGITS = torch.tensor([2.0, 1.2, 0.9, 0.0, -1.0, -2.0, -30.0])


def drawn(temperature: float, top_p: float, seed: int = 0) -> torch.Tensor:
    """Shares (V,) of the tokens in ``DRAWS`` draws."""
    generator = torch.Generator().manual_seed(seed)
    tokens = choose(LOGITS.expand(DRAWS, -1), temperature, top_p, generator)
    return torch.bincount(torch.tensor(tokens), minlength=len(LOGITS)) / DRAWS


def nucleus(temperature: float, top_p: float) -> torch.Tensor:
    """The distribution itself, by sorting."""
    weights = (LOGITS.double() / temperature).softmax(0)
    values, order = weights.sort(descending=True)
    kept = order[values.cumsum(0) - values < top_p]
    cut = torch.zeros_like(weights).index_copy(0, kept, weights[kept])
    return cut / cut.sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
@pytest.mark.parametrize("top_p", [1.0, 0.95, 0.6, 0.1])
def test_shares_are_those_of_the_cut_softmax(temperature: float, top_p: float) -> None:
    wanted, given = nucleus(temperature, top_p), drawn(temperature, top_p)
    assert (given[wanted == 0] == 0).all(), "drawn from outside the nucleus"
    error = (wanted * (1 - wanted) / DRAWS).sqrt()
    assert ((given - wanted).abs() <= 4.5 * error + 1e-9).all()


def test_equal_seeds_draw_alike_and_others_do_not() -> None:
    rows = torch.randn((64, 50), generator=torch.Generator().manual_seed(5))
    first, again, other = (choose(rows, 1.0, 0.9, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_rows_are_drawn_from_their_own_distribution() -> None:
    rows = torch.full((4, 9), -50.0)
    rows[range(4), [8, 3, 0, 5]] = 0.0
    assert choose(rows, 1.0, 0.9, torch.Generator().manual_seed(0)) == [8, 3, 0, 5]
    assert choose(rows) == [8, 3, 0, 5]


@pytest.mark.parametrize(("temperature", "top_p"), [(-1.0, 1.0), (1.0, 0.0), (1.0, 1.1)])
def test_settings_that_are_none_are_refused(temperature: float, top_p: float) -> None:
    with pytest.raises(ValueError, match="no sampling"):
        choose(LOGITS[None], temperature, top_p)


def test_a_model_draws_by_what_it_is_told_and_not_by_its_generation_config(make: Maker) -> None:
    texts = ["name a fruit", "the lazy dog"] * 3
    with load_model(ModelRef(str(make("llama"))), LoadOptions(dtype="fp32", device="cpu", force=True)) as lm:

        def sampled(seed: int, top_p: float = 1.0) -> list[tuple[int, ...]]:
            return [one.tokens for one in lm.generate(texts, max_new_tokens=8, temperature=1.0, top_p=top_p, seed=seed)]

        plain, greedy = sampled(3), [one.tokens for one in lm.generate(texts, max_new_tokens=8)]
        assert plain == sampled(3) != sampled(4)
        assert sampled(3, top_p=1e-6) == greedy
        lm.model.generation_config.update(do_sample=True, top_k=1, temperature=0.01, top_p=0.01, repetition_penalty=5.0)
        assert sampled(3) == plain
