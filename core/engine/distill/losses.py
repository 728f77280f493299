"""Distillation losses per token, each with its gradient in closed form.

``z`` are student logits (n, V), ``p`` and ``q`` the teacher's and student's next-token distributions at temperature T,
``u = z / T``. A divergence returns its value per token in nats and its gradient with respect to ``u``, both in the
precision of ``z`` (fp32 in training). The objective of one token (Hinton et al. 2015, arXiv:1503.02531, §2) is

    L = (1 - alpha) CE(y, q at T=1) + alpha T^2 D(p_T, q_T),    dL/dz = (1 - alpha)(q_1 - 1_y) + alpha T dD/du.

T^2 undoes the 1/T^2 that the temperature puts on the gradient. Every divergence is 0 at p = q.

References: generalised JSD: Agarwal et al. 2024 (arXiv:2306.13649, eq. 1). Skew KL: Ko et al. 2024 (DistiLLM,
arXiv:2402.03898, eq. 4). Sampled: Anshumann et al. 2025 (random sampling KD). ULD: Boizard et al. 2024
(arXiv:2402.12030, eq. 6).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from core.specs.distill import LossPlan

_FLOOR = -1e4
"""Log probabilities are kept finite: exp of it is 0, and 0 times it is 0 and no NaN (a teacher may mask tokens)."""


class Dense(NamedTuple):
    """Teacher logits (n, V)."""

    logits: torch.Tensor


class Sparse(NamedTuple):
    """The teacher's k most probable tokens (n, k) at the loss's temperature, and the log mass of all others (n,)."""

    ids: torch.Tensor
    logp: torch.Tensor
    log_tail: torch.Tensor


class Sampled(NamedTuple):
    """m tokens drawn from the teacher (n, m), with their log probabilities."""

    ids: torch.Tensor
    logp: torch.Tensor


Teacher = Dense | Sparse | Sampled
Result = tuple[torch.Tensor, torch.Tensor]
"""Values (n,), gradient (n, V)."""


class Objective:
    """The loss of a plan. Call it with student logits, the teacher's side and the next tokens."""

    def __init__(self, plan: LossPlan) -> None:
        self.plan = plan

    @property
    def needs_teacher(self) -> bool:
        return self.plan.kind != "ce" and self.plan.alpha > 0

    def __call__(self, logits: torch.Tensor, teacher: Teacher | None, labels: torch.Tensor) -> Result:
        """Loss per token (n,) and its gradient with respect to ``logits`` (n, V), which are left as they are."""
        plan = self.plan
        if not self.needs_teacher:
            return cross_entropy(_log_softmax(logits), labels)
        assert teacher is not None
        # a temperature of 1, the usual case, costs no copy
        scaled = logits if plan.temperature == 1 else logits / plan.temperature
        value, gradient = self._divergence(_log_softmax(scaled), teacher)
        value, gradient = value * (plan.alpha * plan.temperature**2), gradient.mul_(plan.alpha * plan.temperature)
        if plan.alpha < 1:
            hard, hard_gradient = cross_entropy(_log_softmax(logits), labels)
            value = value + (1 - plan.alpha) * hard
            gradient.add_(hard_gradient, alpha=1 - plan.alpha)
        return value, gradient

    def _divergence(self, logq: torch.Tensor, teacher: Teacher) -> Result:
        plan = self.plan
        if isinstance(teacher, Sampled):
            return sampled_kl(logq, teacher)
        if isinstance(teacher, Sparse):
            return sparse_kl(logq, teacher)
        scaled = teacher.logits if plan.temperature == 1 else teacher.logits / plan.temperature
        logp = _log_softmax(scaled)
        if plan.kind == "uld":
            return uld(logq, logp)
        if plan.kind == "topk":
            return sparse_kl(logq, top_k(logp, plan.topk))
        if plan.kind == "forward_kl":
            return forward_kl(logq, logp)
        if plan.kind == "reverse_kl":
            return reverse_kl(logq, logp)
        if plan.kind == "jsd":
            return jsd(logq, logp, plan.beta)
        if plan.kind == "skew_kl":
            return skew_kl(logq, logp, plan.skew)
        if plan.kind == "skew_reverse_kl":
            return skew_reverse_kl(logq, logp, plan.skew)
        assert plan.kind == "tvd", plan.kind
        return total_variation(logq, logp)


def _log_softmax(scaled: torch.Tensor) -> torch.Tensor:
    return scaled.log_softmax(1).clamp_(min=_FLOOR)


def _through_softmax(q: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """dL/du from ``slope`` = dL/dq: q (slope - sum q slope)."""
    return q * (slope - (q * slope).sum(1, keepdim=True))


def cross_entropy(logq: torch.Tensor, labels: torch.Tensor) -> Result:
    """-log q(y); gradient q - 1_y."""
    gradient = logq.exp()
    rows = torch.arange(len(labels), device=labels.device)
    gradient[rows, labels] -= 1
    return -logq[rows, labels], gradient


def forward_kl(logq: torch.Tensor, logp: torch.Tensor) -> Result:
    """KL(p || q); gradient q - p."""
    p = logp.exp()
    return (p * (logp - logq)).sum(1), logq.exp().sub_(p)


def reverse_kl(logq: torch.Tensor, logp: torch.Tensor) -> Result:
    """KL(q || p); gradient q (r - sum q r) with r = log q - log p."""
    q, ratio = logq.exp(), logq - logp
    value = (q * ratio).sum(1)
    return value, q * (ratio - value[:, None])


def jsd(logq: torch.Tensor, logp: torch.Tensor, beta: float) -> Result:
    """beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q.

    The ends are *defined* as KL(p || q) at 0 and KL(q || p) at 1, as the paper does: the formula itself vanishes there.
    """
    if beta == 0:
        return forward_kl(logq, logp)
    if beta == 1:
        return reverse_kl(logq, logp)
    q, p = logq.exp(), logp.exp()
    logm = torch.logaddexp(logp + math.log(beta), logq + math.log1p(-beta))
    ratio = logq - logm
    value = beta * (p * (logp - logm)).sum(1) + (1 - beta) * (q * ratio).sum(1)
    return value, (1 - beta) * _through_softmax(q, ratio)


def skew_kl(logq: torch.Tensor, logp: torch.Tensor, skew: float) -> Result:
    """KL(p || m), m = skew p + (1 - skew) q."""
    if skew == 0:
        return forward_kl(logq, logp)
    logm = torch.logaddexp(logp + math.log(skew), logq + math.log1p(-skew))
    value = (logp.exp() * (logp - logm)).sum(1)
    return value, _through_softmax(logq.exp(), -(1 - skew) * (logp - logm).exp())


def skew_reverse_kl(logq: torch.Tensor, logp: torch.Tensor, skew: float) -> Result:
    """KL(q || m), m = (1 - skew) p + skew q."""
    if skew == 0:
        return reverse_kl(logq, logp)
    logm = torch.logaddexp(logp + math.log1p(-skew), logq + math.log(skew))
    q, ratio = logq.exp(), logq - logm
    return (q * ratio).sum(1), _through_softmax(q, ratio + 1 - skew * ratio.exp())


def total_variation(logq: torch.Tensor, logp: torch.Tensor) -> Result:
    """Half the L1 distance; the gradient is that of the side on which each q lies (0 where p = q)."""
    q = logq.exp()
    difference = q - logp.exp()
    return difference.abs().sum(1) / 2, _through_softmax(q, difference.sign() / 2)


def top_k(logp: torch.Tensor, k: int) -> Sparse:
    """The ``k`` largest of log probabilities (n, V), and the log mass of the rest, summed directly: one minus the
    sum of the others would lose a small tail to cancellation."""
    k = min(k, logp.shape[1])
    values, ids = logp.topk(k, 1)
    return Sparse(ids, values, _log_rest(logp, ids))


def _log_rest(logp: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    if ids.shape[1] == logp.shape[1]:
        return logp.new_full(logp.shape[:1], _FLOOR)
    return logp.scatter(1, ids, -math.inf).logsumexp(1).clamp(min=_FLOOR)


def sparse_kl(logq: torch.Tensor, teacher: Sparse) -> Result:
    """Forward KL over the k tokens and one bucket for all others.

    By the log-sum inequality it is a lower bound of KL(p || q), tight when the tail has the teacher's shape. Gradient:
    q_j - p_j for the k tokens, q_j (1 - p_tail / q_tail) elsewhere; it sums to 0.
    """
    p, p_tail = teacher.logp.exp(), teacher.log_tail.exp()[:, None]
    kept = logq.gather(1, teacher.ids)
    log_rest = _log_rest(logq, teacher.ids)
    value = (p * (teacher.logp - kept)).sum(1) + p_tail[:, 0] * (teacher.log_tail - log_rest)
    # q_j / q_tail as one exponential: the quotient of the masses would divide by numbers that fp32 rounds to 0
    gradient = logq.exp().sub_((logq - log_rest[:, None]).exp_().mul_(p_tail))
    return value, gradient.scatter_(1, teacher.ids, kept.exp() - p)


def sampled_kl(logq: torch.Tensor, teacher: Sampled) -> Result:
    """mean over draws x ~ p of log p(x) - log q(x): unbiased for KL(p || q), and so is its gradient q - counts / m."""
    m = teacher.ids.shape[1]
    value = (teacher.logp - logq.gather(1, teacher.ids)).mean(1)
    gradient = logq.exp()
    return value, gradient.scatter_add_(1, teacher.ids, gradient.new_full(teacher.ids.shape, -1 / m))


def uld(logq: torch.Tensor, logp: torch.Tensor) -> Result:
    """L1 distance of the sorted distributions: compares vocabularies that have no token in common.

    The smaller vocabulary is padded with zeros. O(V log V) a token.
    """
    q, order = logq.exp().sort(1, descending=True)
    p = logp.exp().sort(1, descending=True).values
    width = max(q.shape[1], p.shape[1])
    difference = F.pad(q, (0, width - q.shape[1])) - F.pad(p, (0, width - p.shape[1]))
    slope = torch.empty_like(q).scatter_(1, order, difference[:, : q.shape[1]].sign())
    return difference.abs().sum(1), _through_softmax(torch.empty_like(q).scatter_(1, order, q), slope)


def hidden_distance(student: torch.Tensor, teacher: torch.Tensor, kind: str) -> torch.Tensor:
    """Distance per token (n,) of hidden states (n, d): ``cosine`` 1 - cos, or ``mse`` mean of squares; by autograd."""
    if student.dtype != torch.float64:
        student, teacher = student.float(), teacher.float()
    if kind == "mse":
        return (student - teacher).square().mean(1)
    return 1 - F.cosine_similarity(student, teacher, dim=1)
