"""What every layer holds at the last token of a prompt."""

from __future__ import annotations

import torch

from core.engine.lm.batches import shared_prefix
from core.engine.lm.forward import Forward


@torch.inference_mode()
def last_states(forward: Forward, rows: list[list[int]]) -> torch.Tensor:
    """Hidden states after each layer at every row's last token (B, L, d), fp32 on the CPU; the embeddings stay out.

    What all rows begin with is read once. Rows are padded on the right, which no earlier token sees.
    """
    shared = 0 if forward.stateful else shared_prefix(rows)
    width = max(map(len, rows)) - shared
    inputs = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), shared + width), dtype=torch.long)
    for at, ids in enumerate(rows):
        inputs[at, : len(ids) - shared] = torch.tensor(ids[shared:])
        mask[at, : len(ids)] = 1
    behind = _behind(forward, rows, shared)
    hidden = forward.layers(input_ids=inputs.to(forward.device), attention_mask=mask.to(forward.device), **behind)
    row = torch.arange(len(rows), device=forward.device)
    last = torch.tensor([len(ids) - shared - 1 for ids in rows], device=forward.device)
    states = [layer[row.to(layer.device), last.to(layer.device)].float().cpu() for layer in hidden]  # L times (B, d)
    return torch.stack(states, 1)


def _behind(forward: Forward, rows: list[list[int]], shared: int) -> dict[str, object]:
    """Keys and values of the shared beginning for every row; nothing where there is none."""
    if not shared:
        return {"use_cache": False}
    from transformers import DynamicCache

    cache = DynamicCache(config=forward.causal.config)
    head = torch.tensor([rows[0][:shared]], device=forward.device)
    forward.hidden(input_ids=head, cache=cache, use_cache=True)
    cache.batch_repeat_interleave(len(rows))
    places = torch.arange(shared, max(map(len, rows)), device=forward.device).expand(len(rows), -1)
    return {"cache": cache, "use_cache": True, "position_ids": places}
