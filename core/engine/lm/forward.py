"""One forward pass: the transformer, and its output head at the positions that are read."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch

HEAD_ROWS = 256
"""Positions that go through the output head at once, at most."""
HEAD_BYTES = 24 << 20
"""What their logits may take on a CPU: 256 x 49,152 in bf16, half as many in fp32."""
PART_ROWS = 8
"""Rows of logits that are worked on at once on a CPU: 8 x 49,152 in fp32 are 1.5 MB."""
_TOLERANCE = 0.01
"""Of the largest logit; bf16 keeps 8 bits."""


class Forward:
    """Transformer and head, taken apart where that is exact.

    Attributes:
        separable: the head found here gives the logits that the whole model gives. Some architectures do more than a
            matrix product there; those are run whole, one row at a time when scoring.
        stateful: the model carries a recurrent state, which padding on the left would change.
        context_length: tokens the model can attend to, None where it does not say.
        window: tokens that the shortest-sighted layer sees, None where every layer sees all.
        vocabulary: number of logits.
        exact: weights and activations are fp32.
        places: whether it can be told where a token stands.
        head_rows: positions that go through the head at once.
        tokens: that went through the model since it was loaded, padding included.
    """

    def __init__(self, model: Any) -> None:
        self.causal = model
        self.backbone = model.base_model
        self.config = model.config.get_text_config()
        self.stateful = bool(getattr(model, "_is_stateful", False))
        length = getattr(self.config, "max_position_embeddings", None)
        self.context_length = length if isinstance(length, int) and length > 0 else None
        self.window = _window(self.config)
        self.vocabulary = int(self.config.vocab_size)
        self.tokens = 0
        self._takes = {part: set(inspect.signature(part.forward).parameters) for part in (self.backbone, model)}
        self.places = "position_ids" in self._takes[self.backbone]
        self.head_rows = HEAD_ROWS
        if self.device.type == "cpu":
            self.head_rows = min(HEAD_ROWS, max(PART_ROWS, HEAD_BYTES // (self.vocabulary * model.dtype.itemsize)))
        self.separable = self._is_separable()

    @property
    def exact(self) -> bool:
        return all(weight.dtype == torch.float32 for weight in self.causal.parameters())

    @property
    def device(self) -> torch.device:
        return next(self.causal.parameters()).device

    @torch.no_grad()
    def hidden(self, **inputs: Any) -> torch.Tensor:
        """Hidden states (B, T, d) after the last norm."""
        return self._call(self.backbone, inputs).last_hidden_state

    @torch.no_grad()
    def layers(self, **inputs: Any) -> tuple[torch.Tensor, ...]:
        """Hidden states (B, T, d) after each layer, first layer first; the last one is behind the last norm."""
        return tuple(self._call(self.backbone, inputs | {"output_hidden_states": True}).hidden_states[1:])

    def tree(self, tokens: torch.Tensor, positions: torch.Tensor, sees: torch.Tensor, cache: Any) -> torch.Tensor:
        """Hidden states (R, Q, d) of ``tokens`` (R, Q), each seeing what the bool mask ``sees`` (R, Q, past + Q) says.

        Keys and values are appended to ``cache`` if there is one.
        """
        mask = sees[:, None].to(self.device)
        if getattr(self.config, "_attn_implementation", "sdpa") != "sdpa":
            dtype = self.causal.dtype
            mask = torch.zeros(mask.shape, dtype=dtype, device=self.device).masked_fill(~mask, torch.finfo(dtype).min)
        return self.hidden(
            input_ids=tokens.to(self.device),
            position_ids=positions.to(self.device),
            attention_mask=mask,
            use_cache=cache is not None,
            **({} if cache is None else {"cache": cache}),
        )

    def padded(self, rows: list[list[int]]) -> torch.Tensor:
        """Hidden states (B, T, d) of plain rows, padded on the right."""
        width = max(map(len, rows))
        inputs, mask = torch.zeros((2, len(rows), width), dtype=torch.long)
        for at, ids in enumerate(rows):
            inputs[at, : len(ids)] = torch.tensor(ids)
            mask[at, : len(ids)] = 1
        return self.hidden(input_ids=inputs.to(self.device), attention_mask=mask.to(self.device), use_cache=False)

    @torch.no_grad()
    def last_logits(self, **inputs: Any) -> torch.Tensor:
        """fp32 logits (B, V) after each row's last token."""
        if self.separable:
            states = self.hidden(**inputs)[:, -1]
            return torch.cat([self.head(part) for part in states.split(self.head_rows)])
        return self._call(self.causal, inputs | {"logits_to_keep": 1}).logits[:, -1].float()

    @torch.no_grad()
    def row_logits(self, ids: list[int], positions: list[int]) -> torch.Tensor:
        """fp32 logits (n, V) of one row at ``positions``, by the whole model."""
        wanted = torch.tensor(positions, device=self.device)
        inputs = {"input_ids": torch.tensor([ids], device=self.device), "use_cache": False, "logits_to_keep": wanted}
        logits = self._call(self.causal, inputs).logits[0]
        return (logits if len(logits) == len(positions) else logits[wanted]).float()

    def head(self, states: torch.Tensor) -> torch.Tensor:
        """fp32 logits (n, V) of hidden states (n, d), with the architecture's scale or soft cap."""
        return self._scaled(self._product(states))

    def heads(self, states: torch.Tensor) -> Iterator[torch.Tensor]:
        """The same in parts of a few rows, in order; what is then done with each part stays in the processor's cache.

        On two cores log-sum-exp and argmax of 256 rows took 166 ms at once and 20 ms in parts of 8.
        """
        rows = PART_ROWS if states.device.type == "cpu" else self.head_rows
        for block in states.split(self.head_rows):
            for part in self._product(block).split(rows):
                yield self._scaled(part)

    def _product(self, states: torch.Tensor) -> torch.Tensor:
        layer = self.causal.get_output_embeddings()
        return layer(states.to(layer.weight.dtype) if layer.weight.is_floating_point() else states)

    def _scaled(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        scale = (getattr(self.config, "logit_scale", None) or 1.0) / (
            getattr(self.config, "logits_scaling", None) or 1.0
        )
        logits = logits if scale == 1.0 else logits * scale
        cap = getattr(self.config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits

    def _call(self, part: Any, inputs: dict[str, Any]) -> Any:
        # architectures without positions of their own (ALiBi, recurrent ones) have no such argument
        self.tokens += inputs["input_ids"].numel()
        absent = {"position_ids", "logits_to_keep"} - self._takes[part]
        return part(**{name: value for name, value in inputs.items() if name not in absent})

    def _is_separable(self) -> bool:
        if self.causal.get_output_embeddings() is None or self.backbone is self.causal:
            return False
        ids = [token % int(self.config.vocab_size) for token in range(3, 11)]
        whole = self.row_logits(ids, list(range(len(ids))))
        with torch.no_grad():
            ours = self.head(self.hidden(input_ids=torch.tensor([ids], device=self.device), use_cache=False)[0])
        return ours.shape == whole.shape and bool((ours - whole).abs().max() <= _TOLERANCE * whole.abs().max())


def _window(config: Any) -> int | None:
    """Tokens that the shortest-sighted layer sees; layers of one config can differ (Gemma, Llama 4)."""
    kinds = getattr(config, "layer_types", None) or []
    sizes = []
    if not kinds or "sliding_attention" in kinds:
        sizes.append(getattr(config, "sliding_window", None))
    if "chunked_attention" in kinds:
        sizes.append(getattr(config, "attention_chunk_size", None))
    return min((size for size in sizes if isinstance(size, int) and size > 0), default=None)
