"""One of the two models, as distillation sees it: states at supervised places, and a head."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from core.engine.distill.batches import Batch
from core.engine.distill.head import head_of
from core.engine.lm import LanguageModel
from core.engine.lm.forward import Forward
from core.errors import InputError


class Side:
    """States of the supervised places, with or without gradients.

    Attributes:
        lm: the model.
        head: its output head; where it is dense, states are logits.
        vocabulary: tokens that both models have.
    """

    def __init__(self, lm: LanguageModel, vocabulary: int) -> None:
        self.lm = lm
        self.vocabulary = vocabulary
        model = lm.model
        self.causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        forward = Forward(self.causal)
        self.head = head_of(self.causal, forward)
        self.stateful = forward.stateful
        self.has_layers = getattr(forward.config, "num_hidden_layers", 0)
        part = self.causal if self.head.is_dense else self.causal.base_model
        self.packs = not self.stateful and "position_ids" in inspect.signature(part.forward).parameters
        self._part = part

    @property
    def device(self) -> torch.device:
        return next(self.causal.parameters()).device

    def states(self, batch: Batch) -> torch.Tensor:
        """(n, d) at the supervised places; (n, V) logits where the head is dense."""
        return self._run(batch)[0]

    def states_and_layers(self, batch: Batch, depths: tuple[float, ...]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The states, and those after the layers at these shares of the depth, each (n, d)."""
        states, hidden = self._run(batch, output_hidden_states=True)
        last = len(hidden) - 1
        chosen = [hidden[max(1, round(depth * last))][batch.rows, batch.columns] for depth in depths]
        return states, chosen

    def _run(self, batch: Batch, **more: Any) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        inputs: dict[str, Any] = {"input_ids": batch.ids, "use_cache": False, **more}
        if batch.positions is not None:
            if not self.packs:
                raise InputError(
                    "cannot_pack", f"{self.lm.name} cannot read packed rows.", "Set budget.packing to false."
                )
            # without a mask, positions that start anew are read as a block-diagonal one
            inputs["position_ids"] = batch.positions
        output = self._part(**inputs)
        whole = output.logits if self.head.is_dense else output.last_hidden_state
        return whole[batch.rows, batch.columns], (output.hidden_states if more else ())
