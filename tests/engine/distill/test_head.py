"""The fused head: the same numbers as whole logits and autograd, for every kind of head."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from core.engine.distill.head import Head, chunk_rows, fused_loss, head_of
from core.engine.distill.losses import Dense, Objective, Teacher, top_k
from core.engine.lm.forward import Forward
from core.specs.distill import LossPlan

pytestmark = pytest.mark.engine
N, D, V = 23, 8, 40
KINDS = ("forward_kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "tvd", "topk", "uld", "ce")


def data(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(N, D, generator=generator, dtype=dtype)
    weight = torch.randn(V + 3, D, generator=generator, dtype=dtype)  # three tokens that the teacher does not have
    bias = torch.randn(V + 3, generator=generator, dtype=dtype)
    teacher = torch.randn(N, V, generator=generator, dtype=dtype)
    return states, weight, bias, teacher, torch.randint(V, (N,), generator=generator)


def whole(head: Head, states: torch.Tensor) -> torch.Tensor:
    logits = (states @ head.weight.t() + (0 if head.bias is None else head.bias)) * head.scale  # type: ignore[union-attr]
    logits = logits if head.cap is None else head.cap * torch.tanh(logits / head.cap)
    return logits[:, :V]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("scale", "cap", "biased"), [(1.0, None, False), (0.25, None, True), (1.5, 3.0, True)])
def test_gradcheck_through_head_and_loss(kind: str, scale: float, cap: float | None, biased: bool) -> None:
    states, weight, bias, teacher, labels = data()
    states, teacher, labels = states[:2, :3], teacher[:2, :9], labels[:2] % 9
    weight, bias = weight[:10, :3].contiguous(), bias[:10]
    objective = Objective(LossPlan(kind=kind, alpha=1.0 if kind == "ce" else 0.6, temperature=1.5, topk=5))  # type: ignore[arg-type]

    def loss(states: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        head = Head(weight, bias if biased else None, scale, cap)
        return fused_loss(states, head, labels, lambda part: Dense(teacher[part]), objective, 9, weight=0.3, chunk=1)

    inputs = tuple(part.requires_grad_() for part in (states, weight, bias))
    if not biased:
        inputs[2].requires_grad_(False)
    assert torch.autograd.gradcheck(loss, inputs, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, N, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_and_dense_logits_give_the_same_in_fp32(kind: str, chunk: int) -> None:
    states, weight, bias, teacher, labels = data(torch.float32)
    objective = Objective(LossPlan(kind=kind, alpha=1.0 if kind == "ce" else 0.6, temperature=2.0, topk=5))  # type: ignore[arg-type]

    def run(dense: bool) -> tuple[torch.Tensor, ...]:
        parts = [part.clone().requires_grad_() for part in (states, weight, bias)]
        head = Head(parts[1], parts[2], 0.5, 4.0)
        if dense:  # autograd through the head, the closed form on whole logits
            loss = fused_loss(whole(head, parts[0]), Head(), labels, lambda part: Dense(teacher[part]), objective, V)
        else:
            loss = fused_loss(parts[0], head, labels, lambda part: Dense(teacher[part]), objective, V, chunk=chunk)
        (loss / N).backward()
        return (loss.detach() / N, *(part.grad for part in parts))  # type: ignore[misc]

    for chunked, dense in zip(run(False), run(True), strict=True):
        torch.testing.assert_close(chunked, dense, rtol=1e-5, atol=1e-5)


def test_tokens_that_only_one_model_has_get_no_gradient() -> None:
    states, weight, _, teacher, labels = data()
    weight.requires_grad_()
    fused_loss(states, Head(weight), labels, lambda part: Dense(teacher[part]), Objective(LossPlan()), V).backward()
    assert weight.grad is not None
    assert weight.grad[V:].abs().max() == 0
    assert weight.grad[:V].abs().min() > 0


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(V, D, dtype=torch.float64)
        self.mix = nn.Linear(D, D, dtype=torch.float64)


def test_tied_embeddings_get_both_gradients() -> None:
    torch.manual_seed(0)
    model = _Tied()
    _, _, _, teacher, labels = data()
    ids = torch.arange(N) % V
    objective = Objective(LossPlan())
    head = Head(model.embed.weight)  # (V, d)
    fused_loss(
        model.mix(model.embed(ids)), head, labels, lambda part: Dense(teacher[part]), objective, V, chunk=5
    ).backward()
    ours = model.embed.weight.grad.clone()  # type: ignore[union-attr]
    model.zero_grad()
    logits = model.mix(model.embed(ids)) @ model.embed.weight.t()
    p = teacher.softmax(1)
    (p * (p.log() - logits.log_softmax(1))).sum().backward()
    torch.testing.assert_close(ours, model.embed.weight.grad)


def test_a_frozen_head_costs_no_weight_gradient() -> None:
    states, weight, _, teacher, labels = data()
    states.requires_grad_()
    loss = fused_loss(states, Head(weight), labels, lambda part: Dense(teacher[part]), Objective(LossPlan()), V)
    assert loss.grad_fn.saved_tensors[1] is None  # type: ignore[union-attr]
    loss.backward()
    assert states.grad is not None


def test_a_cached_top_k_gives_what_the_teacher_in_memory_gives() -> None:
    states, weight, _, teacher, labels = data(torch.float32)
    plan = LossPlan(kind="topk", topk=6, temperature=2.0)
    kept = top_k((teacher / 2).log_softmax(1), 6)

    def cached(part: slice) -> Teacher:
        return type(kept)(*(column[part] for column in kept))

    results = []
    for side in (cached, lambda part: Dense(teacher[part])):
        own = weight.clone().requires_grad_()
        loss = fused_loss(states, Head(own), labels, side, Objective(plan), V, chunk=4)
        loss.backward()
        results.append((loss.detach(), own.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {}),
        ("gemma2", {"final_logit_softcapping": 2.0, "head_dim": 8}),
        ("granite", {"logits_scaling": 8.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("phi", {}),  # a bias on the head
    ],
)
def test_heads_of_real_architectures(kind: str, more: dict[str, object]) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=200, pad_token_id=0, bos_token_id=1, eos_token_id=2, **more,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    head = head_of(model, Forward(model))
    assert not head.is_dense
    ids = torch.arange(10)[None] + 3
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits[0]
        ours = head.logits(model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0], 200)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_a_quantised_or_unknown_head_falls_back_with_a_note() -> None:
    class Quantised(nn.Linear):
        pass

    config = AutoConfig.for_model(
        "llama", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=200, tie_word_embeddings=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    forward = Forward(model)
    model.lm_head = Quantised(32, 200, bias=False)
    assert "quantised" in head_of(model, forward).note
    forward.separable = False
    assert "whole logits" in head_of(model, forward).note


def test_chunks_fit_their_memory() -> None:
    assert chunk_rows(49_152, "cpu") * 49_152 * 16 <= 64 << 20
    assert chunk_rows(300_000, "cpu") == 16
    assert chunk_rows(200, "cuda") == 1024
