"""The output head and the loss, fused: logits exist for a few supervised tokens at a time, never as [B, T, V].

Gradients are computed in the forward pass, chunk by chunk, from the closed form of the loss: nothing of size V is kept
for the backward pass, and the head is not multiplied a second time (2dV a token less than recomputing it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from core.engine.distill.losses import Objective, Teacher
from core.engine.lm.forward import Forward

TeacherSide = Callable[[slice], Teacher | None]
"""The teacher's side of a slice of the supervised tokens."""


@dataclass(frozen=True)
class Head:
    """What turns hidden states (n, d) into logits (n, V): ``cap * tanh(scale * (h W^T + b) / cap)``.

    Attributes:
        weight: (V, d); None where states are logits already (the dense way).
        note: why the head is not taken apart; empty where it is.
    """

    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    scale: float = 1.0
    cap: float | None = None
    note: str = ""

    @property
    def is_dense(self) -> bool:
        return self.weight is None

    def logits(self, states: torch.Tensor, vocabulary: int) -> torch.Tensor:
        """Logits (n, ``vocabulary``), fp32 (fp64 of fp64 states). The vocabulary is sliced, never padded."""
        if self.weight is None:
            return _upcast(states[:, :vocabulary])
        logits = _upcast(states.to(self.weight.dtype) @ self.weight[:vocabulary].t())
        if self.bias is not None:
            logits += self.bias[:vocabulary]
        if self.scale != 1:
            logits *= self.scale
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)

    def through(self, gradient: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Gradient with respect to h W^T + b, from that with respect to the logits; in place."""
        if self.cap is not None:
            gradient.mul_(1 - (logits / self.cap).square_())
        return gradient.mul_(self.scale) if self.scale != 1 else gradient


def head_of(causal: Any, forward: Forward) -> Head:
    """The head of a transformers model, or the dense way with the reason where taking it apart is not exact."""
    layer = causal.get_output_embeddings()
    if not forward.separable:
        return Head(note="the head does more than a matrix product: whole logits were computed")
    if type(layer) is not torch.nn.Linear or not layer.weight.is_floating_point():
        return Head(note="the head is quantised or wrapped: whole logits were computed")
    config = forward.config
    scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    return Head(layer.weight, layer.bias, scale, getattr(config, "final_logit_softcapping", None))


def chunk_rows(vocabulary: int, device: str) -> int:
    """Tokens in one chunk: about four fp32 buffers (n, V) are alive at once, within 64 MB (256 MB on a GPU)."""
    budget = (256 if device.startswith("cuda") else 64) << 20
    return max(16, min(1024, budget // (16 * vocabulary)))


def fused_loss(
    states: torch.Tensor,
    head: Head,
    labels: torch.Tensor,
    teacher: TeacherSide,
    objective: Objective,
    vocabulary: int,
    *,
    weight: float = 1.0,
    chunk: int = 0,
) -> torch.Tensor:
    """``weight`` times the summed loss of supervised tokens; differentiable in ``states`` (n, d) and the head.

    Args:
        labels: (n,) next tokens.
        teacher: gives the teacher's side of a slice; called once a chunk, in order.
        vocabulary: tokens that both models have.
        weight: put on every token here rather than on the result, whose gradients would have to be copied.
        chunk: tokens at once; 0 chooses by memory.
    """
    chunk = chunk or chunk_rows(vocabulary, states.device.type)
    job = (head, labels, teacher, objective, vocabulary, weight, chunk)
    loss: torch.Tensor = _Fused.apply(states, head.weight, head.bias, *job)
    return loss


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        head: Head,
        labels: torch.Tensor,
        teacher: TeacherSide,
        objective: Objective,
        vocabulary: int,
        token_weight: float,
        chunk: int,
    ) -> torch.Tensor:
        wants_states, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        exact = torch.float64 if states.dtype == torch.float64 else torch.float32
        total = torch.zeros((), dtype=torch.float64, device=states.device)
        d_states = torch.zeros_like(states) if wants_states else None
        # fp32 whatever the weights are: bf16 would lose small terms of the sum over tokens
        d_weight = torch.zeros_like(weight, dtype=exact) if weight is not None and wants_weight else None
        d_bias = torch.zeros_like(bias, dtype=exact) if bias is not None and wants_bias else None
        for start in range(0, len(states), chunk):
            part = slice(start, min(start + chunk, len(states)))
            logits = head.logits(states[part], vocabulary)  # (n, V)
            value, gradient = objective(logits, teacher(part), labels[part])
            total += value.sum(dtype=torch.float64)
            gradient = head.through(gradient.mul_(token_weight), logits)
            if weight is None:
                if d_states is not None:
                    d_states[part, :vocabulary] = gradient.to(d_states.dtype)
                continue
            if d_states is not None:
                d_states[part] = (gradient.to(weight.dtype) @ weight[:vocabulary]).to(d_states.dtype)
            if d_weight is not None:
                d_weight[:vocabulary].addmm_(gradient.t(), states[part].to(exact))
            if d_bias is not None:
                d_bias[:vocabulary] += gradient.sum(0)
        ctx.save_for_backward(d_states, d_weight, d_bias)
        ctx.dtypes = tuple(None if part is None else part.dtype for part in (states, weight, bias))
        return (total * token_weight).to(exact)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        slope = slopes[0]
        found = (
            None if gradient is None else (gradient if slope == 1 else gradient * slope).to(dtype)
            for gradient, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        )
        return (*found, *[None] * 7)


def _upcast(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
