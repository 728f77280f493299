"""What another token in one place of a prompt would do, for the whole vocabulary at once and to first order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

VOCABULARY_ROWS = 8192
"""Embeddings that are compared at once."""


def slopes(model: Any, ids: Sequence[int], at: int, target: Sequence[int], vocabulary: int) -> torch.Tensor:
    """∇ log p(target | ids) at token ``at``, along the embedding of every token of the vocabulary.

    The difference of two entries estimates what exchanging one token for the other changes (HotFlip; Ebrahimi et al.
    2018, eq. 7). Weights get no gradient.

    Returns:
        (V,) fp32 on the CPU, in nats.
    """
    table = model.get_input_embeddings()
    device = table.weight.device
    row = torch.tensor([[*ids, *target[:-1]]], device=device)
    with torch.inference_mode(mode=False), torch.enable_grad():
        given = table(row).detach().clone().requires_grad_(True)
        logits = model(inputs_embeds=given, use_cache=False, logits_to_keep=len(target)).logits[0, -len(target) :]
        logs = logits.float().log_softmax(-1)
        worth = logs.gather(1, torch.tensor(list(target), device=device)[:, None]).sum()
        (gradient,) = torch.autograd.grad(worth, given)
    slope = gradient[0, at].float()
    with torch.no_grad():
        parts = torch.arange(vocabulary, device=device).split(VOCABULARY_ROWS)
        return torch.cat([(table(part).float() @ slope).cpu() for part in parts])
