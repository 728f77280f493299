"""How soon a finished student learns a canary again: what no longer shows may still be there (latent survival)."""

from __future__ import annotations

import torch

from core.engine.lm import LanguageModel
from core.engine.transfer.adapter import answer_loss, encode_row, put_adapter
from core.engine.transfer.canaries import rows_again, shown_rate
from core.runs.events import Emitter, Progress
from core.specs.canary import Canary, CanaryPlan

SHOWS = 0.5
"""Share of the measured prompts from which the canary counts as learned."""


def steps_to_relearn(canary: Canary, plan: CanaryPlan, lm: LanguageModel, most: int, emitter: Emitter) -> int | None:
    """Steps on all of ``rows_again`` until half of the measured prompts show the canary; None: not in ``most``.

    LoRA as it was planted, AdamW at the planting's highest rate, no warm-up; ``lm`` is left as it was. Every arm learns
    the same rows from the same adapter, so that the steps of arms can be compared (relearning speed: UNDO, Lee et al.
    2025).
    """
    if shown_rate(canary, plan, lm, emitter) >= SHOWS:
        return 0
    encoded = [encode_row(lm, *row) for row in rows_again(canary, plan, lm)]
    size = plan.planting.batch
    batches = [encoded[start : start + size] for start in range(0, len(encoded), size)]
    model = put_adapter(lm, rank=plan.planting.rank, alpha=plan.planting.alpha, seed=plan.seed)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=plan.planting.rate)
    found = None
    try:
        for step in range(1, most + 1):
            model.train()
            for batch in batches:
                emitter.check()
                (answer_loss(model, batch, lm.device) * len(batch) / len(encoded)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            model.eval()
            emitter.emit(Progress("relearn", f"Learning {canary.id} again", step, most, "steps"))
            if shown_rate(canary, plan, lm, emitter) >= SHOWS:
                found = step
                break
    finally:
        lm.model = model.unload()
    return found
