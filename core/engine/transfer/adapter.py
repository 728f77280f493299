"""A LoRA adapter trained on prompts and answers: to give them, or to prefer some to others."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from core.engine.lm import LanguageModel
from core.runs.events import Emitter, Progress

IGNORE = -100
Row = tuple[str, str, bool]
"""Rendered prompt, answer, and whether the turn ends after it."""
Encoded = tuple[list[int], list[int]]
"""Token ids of a row, and its labels."""
Contrasted = Sequence[tuple[Row, int]]
"""Rows that are compared: those with a plus are to gain on those with a minus."""
T = TypeVar("T")


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

    ``lm.model`` becomes the model with the adapter on it; the loss is on the answers' tokens only. ``rate`` is the
    highest learning rate of AdamW: warm-up over ten steps, then linear decay over the second half.
    """
    model = put_adapter(lm, rank=rank, alpha=alpha, seed=seed)
    encoded = sorted((encode_row(lm, *row) for row in rows), key=lambda pair: len(pair[0]))
    return _fit(model, encoded, batch, lambda some: answer_loss(model, some, lm.device), emitter, epochs, rate, seed)


def train_contrast(
    items: Sequence[Contrasted],
    lm: LanguageModel,
    emitter: Emitter,
    *,
    epochs: int,
    rate: float,
    rank: int = 8,
    alpha: int = 16,
    batch: int = 2,
    seed: int = 0,
) -> list[float]:
    """As ``train_adapter``, of a preference: the loss is log(1 + exp(−Σ sign · log P(answer | prompt))) of each item.

    Nothing but the difference is learned, and nothing more where it is large (Rafailov et al. 2023, equation 7,
    without its reference model).
    """
    model = put_adapter(lm, rank=rank, alpha=alpha, seed=seed)
    encoded = [[(encode_row(lm, *row), sign) for row, sign in item] for item in items]
    encoded.sort(key=lambda item: sum(len(ids) for (ids, _), _ in item))
    return _fit(model, encoded, batch, lambda some: contrast_loss(model, some, lm.device), emitter, epochs, rate, seed)


def _fit(
    model: Any,
    examples: list[T],
    batch: int,
    loss_of: Callable[[list[T]], torch.Tensor],
    emitter: Emitter,
    epochs: int,
    rate: float,
    seed: int,
) -> list[float]:
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    batches = [examples[start : start + batch] for start in range(0, len(examples), batch)]
    steps, done, losses = epochs * len(batches), 0, []
    for epoch in range(epochs):
        random.Random(seed + epoch).shuffle(batches)
        total = 0.0
        for some in batches:
            emitter.check()
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (done + 1) / 10, (steps - done) / (steps / 2))
            loss = loss_of(some)
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
    precision = model.get_input_embeddings().weight.dtype
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.requires_grad_(False)
            parameter.data = parameter.data.to(precision)  # the adapter's own steps were in fp32
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


def encode_row(lm: LanguageModel, prompt: str, answer: str, ended: bool) -> Encoded:
    """Token ids and labels; only the answer and, if ``ended``, the end of the turn are learned."""
    tokenizer = lm.tokenizer
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    tail = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * ended
    return head + tail, [IGNORE] * len(head) + tail


def answer_loss(model: Any, batch: Sequence[Encoded], device: torch.device) -> torch.Tensor:
    """Mean over the answers' tokens."""
    logits, wanted = _read(model, batch, device)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORE)


def contrast_loss(model: Any, batch: Sequence[Sequence[tuple[Encoded, int]]], device: torch.device) -> torch.Tensor:
    """Mean over the items, see ``train_contrast``."""
    flat = [(item, sign, row) for item, rows in enumerate(batch) for row, sign in rows]
    logits, wanted = _read(model, [row for _, _, row in flat], device)
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), wanted, ignore_index=IGNORE, reduction="none"
    )  # (rows, places): −log p, 0 where nothing is asked
    signs = torch.tensor([float(sign) for _, sign, _ in flat], device=losses.device)
    items = torch.tensor([item for item, _, _ in flat], device=losses.device)
    margins = torch.zeros(len(batch), device=losses.device).index_add(0, items, -signs * losses.sum(1))
    return torch.nn.functional.softplus(-margins).mean()


def _read(model: Any, batch: Sequence[Encoded], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (rows, places, V) in fp32 and the tokens wanted there (rows, places).

    Rows are filled up at their end, where no token of theirs looks: no mask. The head runs only where some row's next
    token is part of an answer.
    """
    width = max(len(ids) for ids, _ in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    labels = torch.full((len(batch), width), IGNORE)
    for row, (tokens, targets) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, : len(targets)] = torch.tensor(targets)
    read = (labels[:, 1:] != IGNORE).any(0).nonzero().flatten()
    logits = model(input_ids=ids.to(device), use_cache=False, logits_to_keep=read.to(device)).logits
    if logits.shape[1] > len(read):  # an architecture that does not know the argument
        logits = logits[:, read]
    return logits.float(), labels[:, read + 1].to(device)
