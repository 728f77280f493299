"""How fast models of one size run here, measured for two seconds before anything is loaded."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from core.engine.lm.load import placed
from core.errors import InputError
from core.specs import LoadOptions
from core.specs.estimates import Sized

SECONDS = 2.0
ROWS, WIDTH = 4, 64
"""Rows and tokens of a pass: a row that is packed with candidates, or a small batch."""
HEAD = 64
"""Width of an attention head, as in most models."""


class Speed(NamedTuple):
    """Tokens a second of a whole model; ``precision`` and ``device`` are those that were measured."""

    tokens_per_s: float
    precision: str
    device: str


def measure_speed(model: Sized, load: LoadOptions) -> Speed:
    """Time forward passes of one made-up layer that is as wide as the model's.

    Its tokens a second, times its share of the model's parameters: operations go with parameters. Quantised weights are
    not made up: what is measured is the precision that their products are computed in.

    Raises:
        InputError: the files do not say how large the model is.
    """
    if not model.parameters or not model.hidden_size:
        raise InputError(
            "size_unknown", "The files of this model do not say how large it is.", "Start the job: its stages tell."
        )
    device, precision, dtype = placed(load)
    layer = _layer(model.hidden_size, dtype, device)
    weights = sum(weight.numel() for name, weight in layer.named_parameters() if "layers" in name)
    ids = torch.randint(HEAD, (ROWS, WIDTH), device=device)
    with torch.inference_mode():
        _pass(layer, ids)
        started, passes = time.perf_counter(), 0
        while time.perf_counter() - started < SECONDS:
            _pass(layer, ids)
            passes += 1
        took = time.perf_counter() - started
    return Speed(passes * ROWS * WIDTH / took * weights / model.parameters, precision, device)


def _layer(hidden: int, dtype: torch.dtype, device: str) -> torch.nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=1,
        num_attention_heads=max(1, hidden // HEAD),
        head_dim=HEAD,
        vocab_size=HEAD,
        dtype=dtype,
    )
    with torch.device("meta"):
        layer = LlamaForCausalLM(config).to(dtype)
    layer = layer.to_empty(device=device).eval()
    for tensor in (*layer.parameters(), *layer.buffers()):
        tensor.data.fill_(0.01)  # what memory happened to hold may be numbers that are slow
    return layer


def _pass(layer: torch.nn.Module, ids: torch.Tensor) -> None:
    layer(input_ids=ids, use_cache=False)
    if ids.is_cuda:
        torch.cuda.synchronize()
