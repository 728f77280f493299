"""Every loss: zero at p = q, values against plain sums, gradients against fp64 differences."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from core.engine.distill.losses import (
    Dense,
    Objective,
    Result,
    Sampled,
    Sparse,
    Teacher,
    hidden_distance,
    jsd,
    sampled_kl,
    skew_kl,
    sparse_kl,
    top_k,
    uld,
)
from core.specs.distill import LossPlan

pytestmark = pytest.mark.engine
N, V = 5, 11
PLANS = {
    "forward": LossPlan(),
    "hinton": LossPlan(temperature=2.5, alpha=0.4),
    "reverse": LossPlan(kind="reverse_kl", temperature=1.5),
    "jsd .3": LossPlan(kind="jsd", beta=0.3),
    "jsd 0": LossPlan(kind="jsd", beta=0.0, temperature=2.0),
    "jsd 1": LossPlan(kind="jsd", beta=1.0),
    "skew": LossPlan(kind="skew_kl", skew=0.1, temperature=0.7),
    "skew 0": LossPlan(kind="skew_kl", skew=0.0),
    "skew reverse": LossPlan(kind="skew_reverse_kl", skew=0.1),
    "skew reverse 0": LossPlan(kind="skew_reverse_kl", skew=0.0),
    "tvd": LossPlan(kind="tvd", alpha=0.9),
    "topk": LossPlan(kind="topk", topk=4, temperature=2.0, alpha=0.8),
    "topk all": LossPlan(kind="topk", topk=V),
    "uld": LossPlan(kind="uld", alpha=0.7),
    "ce": LossPlan(kind="ce"),
}


def logits(seed: int, size: int = V, scale: float = 2.0) -> torch.Tensor:
    return torch.randn(N, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


LABELS = torch.tensor([0, 3, 10, 5, 5])


def plain(plan: LossPlan, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The same objective written with probabilities and no care for numerics, for autograd."""
    q, p = (student / plan.temperature).softmax(1), (teacher / plan.temperature).softmax(1)

    def kl(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a * (a / b).log()).sum(1)

    hard = -student.softmax(1).gather(1, LABELS[:, None])[:, 0].log()
    if plan.kind == "ce":
        return hard
    s, b = plan.skew, plan.beta
    if plan.kind == "topk":
        ids = p.topk(plan.topk, 1).indices
        kept_p, kept_q = p.gather(1, ids), q.gather(1, ids)
        soft = (kept_p * (kept_p / kept_q).log()).sum(1)
        if plan.topk < p.shape[1]:
            tail_p, tail_q = 1 - kept_p.sum(1), 1 - kept_q.sum(1)
            soft = soft + tail_p * (tail_p / tail_q).log()
    elif plan.kind == "uld":
        soft = (q.sort(1).values - p.sort(1).values).abs().sum(1)
    elif plan.kind == "jsd" and 0 < b < 1:
        m = b * p + (1 - b) * q
        soft = b * kl(p, m) + (1 - b) * kl(q, m)
    else:
        soft = {
            "forward_kl": lambda: kl(p, q),
            "reverse_kl": lambda: kl(q, p),
            "jsd": lambda: kl(p, q) if b == 0 else kl(q, p),
            "skew_kl": lambda: kl(p, s * p + (1 - s) * q),
            "skew_reverse_kl": lambda: kl(q, (1 - s) * p + s * q),
            "tvd": lambda: (p - q).abs().sum(1) / 2,
        }[plan.kind]()
    return (1 - plan.alpha) * hard + plan.alpha * plan.temperature**2 * soft


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_value_and_gradient_are_those_of_the_plain_formula(plan: LossPlan) -> None:
    student, teacher = logits(1).requires_grad_(), logits(2)
    expected = plain(plan, student, teacher)
    (slope,) = torch.autograd.grad(expected.sum(), student)
    value, gradient = Objective(plan)(student.detach(), Dense(teacher), LABELS)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradient, slope, rtol=1e-9, atol=1e-10)


class _AsFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: torch.Tensor, plan: LossPlan, teacher: Teacher) -> torch.Tensor:
        value, gradient = Objective(plan)(student, teacher, LABELS)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.saved_tensors[0] * slope[:, None], None, None


@pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
def test_gradcheck(plan: LossPlan) -> None:
    student, teacher = logits(3).requires_grad_(), Dense(logits(4))
    assert torch.autograd.gradcheck(lambda z: _AsFunction.apply(z, plan, teacher), (student,), atol=1e-6)


@pytest.mark.parametrize("name", [name for name, plan in PLANS.items() if plan.alpha == 1 and plan.kind != "ce"])
def test_equal_distributions_cost_nothing(name: str) -> None:
    same = logits(5)
    value, gradient = Objective(PLANS[name])(same + 3.7, Dense(same.clone()), LABELS)  # softmax ignores the shift
    assert value.abs().max() < 1e-12
    assert gradient.abs().max() < (1.0 if PLANS[name].kind in ("tvd", "uld") else 1e-12)  # kinks at p = q


def test_known_values() -> None:
    p, q = torch.tensor([[0.5, 0.25, 0.25]]).double(), torch.tensor([[0.25, 0.25, 0.5]]).double()
    objective = Objective(LossPlan())
    assert objective(q.log(), Dense(p.log()), LABELS[:1])[0].item() == pytest.approx(0.25 * math.log(2))
    tvd, _ = Objective(LossPlan(kind="tvd"))(q.log(), Dense(p.log()), LABELS[:1])
    assert tvd.item() == pytest.approx(0.25)
    # a half-and-half mixture: both parts against the mean (.375, .25, .375)
    expected = 0.5 * math.log(0.5 / 0.375) + 0.25 * math.log(0.25 / 0.375)
    assert jsd(q.log(), p.log(), 0.5)[0].item() == pytest.approx(expected)
    assert uld(q.log(), p.log())[0].item() == pytest.approx(0.0), "the same sorted"
    # T^2: at a high temperature it is half the variance-like distance of the centred logits, whatever T is
    z, t = logits(6, scale=1.0), logits(7, scale=1.0)
    far = Objective(LossPlan(temperature=1e4))(z, Dense(t), LABELS)[0]
    centred = (z - z.mean(1, keepdim=True)) - (t - t.mean(1, keepdim=True))
    torch.testing.assert_close(far, centred.square().sum(1) / (2 * V), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_top_k_is_a_lower_bound_that_grows_to_the_whole(temperature: float) -> None:
    student, teacher = logits(8), Dense(logits(9))
    whole = Objective(LossPlan(temperature=temperature))(student, teacher, LABELS)[0]
    last = torch.zeros(N).double()
    for k in range(1, V + 1):
        value, gradient = Objective(LossPlan(kind="topk", topk=k, temperature=temperature))(student, teacher, LABELS)
        assert (value <= whole + 1e-12).all()
        assert (value >= last - 1e-12).all()
        assert gradient.sum(1).abs().max() < 1e-12
        last = value
    torch.testing.assert_close(last, whole)


def test_a_tail_too_small_to_see_is_left_alone() -> None:
    teacher = torch.full((1, V), -40.0).double()
    teacher[0, :2] = 0
    sparse = top_k(teacher.log_softmax(1), 2)
    value, gradient = sparse_kl(logits(1)[:1].log_softmax(1), sparse)
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()
    assert gradient.sum().abs() < 1e-12


def test_sampled_is_unbiased_and_zero_at_match() -> None:
    logq, logp = logits(1)[:1].log_softmax(1), logits(2)[:1].log_softmax(1)
    mean_value, mean_gradient = torch.zeros(1).double(), torch.zeros(1, V).double()
    for token in range(V):  # the expectation over one draw, written out
        draw = Sampled(torch.tensor([[token]]), logp[:, token : token + 1])
        value, gradient = sampled_kl(logq, draw)
        mean_value += logp[0, token].exp() * value
        mean_gradient += logp[0, token].exp() * gradient
    expected, slope = Objective(LossPlan())(logq, Dense(logp), LABELS[:1])
    torch.testing.assert_close(mean_value, expected)
    torch.testing.assert_close(mean_gradient, slope)
    repeated = Sampled(torch.tensor([[4, 4, 1]]), logp[:, [4, 4, 1]])
    assert sampled_kl(logp, repeated)[0].abs().item() < 1e-12
    torch.testing.assert_close(sampled_kl(logq, repeated)[1][0, 4], logq[0, 4].exp() - 2 / 3)


def test_uld_compares_vocabularies_of_other_sizes() -> None:
    student, teacher = logits(1).requires_grad_(), logits(2, size=V + 4)
    q, p = student.softmax(1).sort(1, descending=True).values, teacher.softmax(1).sort(1, descending=True).values
    expected = (q - p[:, :V]).abs().sum(1) + p[:, V:].sum(1)
    (slope,) = torch.autograd.grad(expected.sum(), student)
    value, gradient = uld(student.detach().log_softmax(1), teacher.log_softmax(1))
    torch.testing.assert_close(value, expected.detach())
    torch.testing.assert_close(gradient, slope)


def test_masked_teacher_tokens_do_not_make_nan() -> None:
    teacher = logits(2)
    teacher[:, 3] = -math.inf
    for plan in PLANS.values():
        value, gradient = Objective(plan)(logits(1), Dense(teacher), LABELS)
        assert torch.isfinite(value).all(), plan
        assert torch.isfinite(gradient).all(), plan


def test_small_skews_are_continuous() -> None:
    logq, logp = logits(1).log_softmax(1), logits(2).log_softmax(1)
    torch.testing.assert_close(skew_kl(logq, logp, 1e-9)[0], skew_kl(logq, logp, 0)[0], rtol=1e-6, atol=1e-8)


def test_hidden_distance() -> None:
    student, teacher = logits(1).requires_grad_(), logits(2)
    assert hidden_distance(teacher, teacher * 3, "cosine").abs().max() < 1e-12
    assert hidden_distance(teacher, teacher, "mse").abs().max() == 0
    assert hidden_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), "cosine").item() == 1
    for kind in ("cosine", "mse"):
        assert torch.autograd.gradcheck(lambda s, kind=kind: hidden_distance(s, teacher, kind), (student,))


def test_results_are_new_and_inputs_are_left_alone() -> None:
    for plan in PLANS.values():
        student, teacher = logits(1), logits(2)
        result: Result = Objective(plan)(student, Dense(teacher), LABELS)
        assert torch.equal(student, logits(1))
        assert torch.equal(teacher, logits(2))
        assert result[1].data_ptr() not in (student.data_ptr(), teacher.data_ptr())


def test_sparse_and_online_top_k_agree() -> None:
    student, teacher = logits(1), logits(2)
    plan = LossPlan(kind="topk", topk=4, temperature=2.0)
    kept: Sparse = top_k((teacher / 2).log_softmax(1), 4)
    torch.testing.assert_close(
        Objective(plan)(student, kept, LABELS)[0], Objective(plan)(student, Dense(teacher), LABELS)[0]
    )
