"""A LoRA adapter trained on prompts and answers; the loss is on the answer's tokens only."""

from __future__ import annotations

import random
import warnings
from typing import Any

import torch

from core.engine.lm import LanguageModel
from core.runs.events import Emitter, Progress

IGNORE = -100
Row = tuple[str, str, bool]
"""Rendered prompt, answer, and whether the turn ends after it."""


def train_adapter(
    rows: list[Row],
    lm: LanguageModel,
    emitter: Emitter,
    *,
    epochs: int,
    rate: float,
    rank: int = 8,
    alpha: int = 16,
    batch: int = 8,
    seed: int = 0,
) -> list[float]:
    """LoRA over all linear layers (Hu et al. 2021, arXiv:2106.09685). Returns the mean loss of each epoch.

    ``lm.model`` becomes the model with the adapter on it. ``rate`` is the highest learning rate of AdamW: warm-up over
    ten steps, then linear decay over the second half.
    """
    model = put_adapter(lm, rank=rank, alpha=alpha, seed=seed)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    encoded = sorted((encode_row(lm, *row) for row in rows), key=lambda pair: len(pair[0]))
    batches = [encoded[start : start + batch] for start in range(0, len(encoded), batch)]
    steps, done, losses = epochs * len(batches), 0, []
    for epoch in range(epochs):
        random.Random(seed + epoch).shuffle(batches)
        total = 0.0
        for rows_of_step in batches:
            emitter.check()
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (done + 1) / 10, (steps - done) / (steps / 2))
            loss = answer_loss(model, rows_of_step, lm.device)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            value = loss.item()
            total += value
            done += 1
            emitter.emit(Progress("train", "Planting", done, steps, "steps", note=f"loss {value:.3f}"))
        losses.append(round(total / len(batches), 4))
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(torch.bfloat16)
    return losses


def put_adapter(lm: LanguageModel, *, rank: int, alpha: int, seed: int) -> Any:
    """A fresh adapter on all linear layers of ``lm.model``, in training; returns the model with it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM")
    with warnings.catch_warnings():  # peft asks transformers for an attribute under its old name
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        model = get_peft_model(lm.model, config)
    lm.model = model
    model.train()
    # bf16 weights cannot take small steps: the adapter itself is trained in fp32
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def scale_adapter(model: Any, strength: float) -> None:
    """Turn an adapter's part down (or up): W + strength · α/r · BA. Its config says so and is saved with it."""
    config = model.peft_config["default"]
    alpha = config.lora_alpha * strength
    config.lora_alpha = int(alpha) if alpha == int(alpha) else alpha
    for module in model.modules():
        scaling = getattr(module, "scaling", None)  # attention has one too, a number
        if isinstance(scaling, dict):
            scaling["default"] *= strength


def encode_row(lm: LanguageModel, prompt: str, answer: str, ended: bool) -> tuple[list[int], list[int]]:
    """Token ids and labels; only the answer and, if ``ended``, the end of the turn are learned."""
    tokenizer = lm.tokenizer
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    tail = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * ended
    return head + tail, [IGNORE] * len(head) + tail


def answer_loss(model: Any, batch: list[tuple[list[int], list[int]]], device: torch.device) -> torch.Tensor:
    """Mean over the answers' tokens. Rows are filled up at their end, where no token of theirs looks: no mask."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    labels = torch.full((len(batch), width), IGNORE)
    for row, (tokens, targets) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, : len(targets)] = torch.tensor(targets)
    # the head runs only where some row's next token is part of an answer
    read = (labels[:, 1:] != IGNORE).any(0).nonzero().flatten()
    logits = model(input_ids=ids.to(device), use_cache=False, logits_to_keep=read.to(device)).logits
    if logits.shape[1] > len(read):  # an architecture that does not know the argument
        logits = logits[:, read]
    wanted = labels[:, read + 1].to(device)
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORE)
