"""Which token comes next: the most probable one, or a draw from the distribution or from its nucleus."""

from __future__ import annotations

import torch


def choose(
    logits: torch.Tensor, temperature: float = 0.0, top_p: float = 1.0, generator: torch.Generator | None = None
) -> list[int]:
    """One token for each row of ``logits`` (B, V); the most probable one at ``temperature`` 0.

    Otherwise a draw from softmax(logits / temperature), cut to its nucleus: the most probable tokens that together have
    at least ``top_p`` (Holtzman et al. 2020, eq. 2 and 3; equally probable tokens are in it or out of it together). A
    token is in the nucleus if those before it have less than ``top_p``, so what was drawn outside is drawn again: that
    is exact, and no vocabulary is sorted (on one core 64 rows of 49,152 took 195 ms to sort and 9 ms to test).

    ``generator`` is on the CPU: the draws do not depend on the device. Raises ValueError for settings that are none.
    """
    if temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(f"no sampling: temperature {temperature}, top_p {top_p}")
    if temperature == 0:
        return [int(token) for token in logits.argmax(1).tolist()]
    weights = (logits.float() / temperature).softmax(1).cpu()
    tokens = _draw(weights, generator)
    rows = torch.arange(len(weights)) if top_p < 1 else torch.arange(0)
    while len(rows):
        own = weights[rows]
        before = (own * (own > own.gather(1, tokens[rows, None]))).sum(1)
        rows = rows[before >= top_p]
        tokens[rows] = _draw(weights[rows], generator)
    return [int(token) for token in tokens.tolist()]


def _draw(weights: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """One index (B,) for each row of ``weights`` (B, V), by inversion of the cumulative distribution."""
    sums = weights.cumsum(1, dtype=torch.float64)
    at = torch.rand((len(weights), 1), generator=generator, dtype=torch.float64) * sums[:, -1:]
    return torch.searchsorted(sums, at, right=True)[:, 0].clamp(max=weights.shape[1] - 1)
