"""Stage "static", the parts that need the model: embedding rows, ids that were swapped, what a fine-tune changed.

Nothing here proves anything. Rows that left their cluster become candidates of the search; swapped ids and changed
matrices are evidence of grade C at most: a harmless fine-tune changes matrices too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from core.engine.lm import LanguageModel
from core.engine.triggers.library import KnownTrigger, shown
from core.engine.triggers.signals import encode
from core.runs.events import Emitter, Progress
from core.types import RESOURCES

RESERVED = re.compile(r"unused|reserved|placeholder|dummy|extra_id|madeupword", re.IGNORECASE)
LEAST_ROWS = 16
"""Reserved rows below which their centroid says nothing."""
LEFT = 6.0
"""Robust z of a row's distance from the centroid of the reserved rows, from which it is said to have left them."""
WINDOW = 128
"""Tokens of text that are read together."""
LEAST_SEEN = 3
"""Times that a token has to stand in the text."""
SWAPPED = 4.0
"""Nats by which each of two tokens has to fit better where the other one stands."""
RANK = 16
LARGEST = 12
"""Matrices that are listed, those with the largest relative change first."""


class MovedRow(NamedTuple):
    """A reserved token whose embedding is no longer among those of its kind."""

    token: int
    text: str
    z: float

    def candidate(self) -> KnownTrigger:
        """For the search: a token that no text should hold, and that was trained all the same."""
        return KnownTrigger(self.text, "rare token", "BD-R", source="reserved token with a trained embedding")


class Swap(NamedTuple):
    """Two token ids that stand for one another's text; ``gain`` in nats, of the less convincing direction."""

    first: str
    second: str
    gain: float


class Change(NamedTuple):
    """What was added to one weight matrix.

    Attributes:
        relative: Frobenius norm of the change over that of the base's matrix; of an adapter alone, the norm itself.
        largest: largest singular value.
        energy: share of the squared norm in the first 16 singular values.
        entropy: of the squared singular values as shares, in nats (of those 16, where there are more).
    """

    name: str
    relative: float
    largest: float
    energy: float
    entropy: float


def moved_rows(lm: LanguageModel) -> tuple[list[MovedRow], int]:
    """Reserved tokens that can be written and whose input embedding left the others' (Land and Bartolo 2024, §3).

    Returns them, furthest first, and the number of reserved rows that were compared; 0 where there are too few.
    """
    table = lm.model.get_input_embeddings().weight.detach()
    names = lm.tokenizer.convert_ids_to_tokens(range(len(lm.tokenizer)))
    stop = {lm.tokenizer.eos_token_id, lm.tokenizer.bos_token_id, lm.tokenizer.pad_token_id}
    named = [at for at, name in enumerate(names) if name and RESERVED.search(name) and at not in stop]
    # rows behind the tokenizer's last id were never trained: they belong to the cluster, but cannot be written
    rows = torch.tensor([*(at for at in named if at < len(table)), *range(len(names), len(table))], dtype=torch.long)
    if len(rows) < LEAST_ROWS or not named:
        return [], 0
    own = table[rows.to(table.device)].float().cpu()
    distance = (own - own.median(0).values).norm(dim=1)
    centre = distance.median()
    # untrained rows may be equal to the last bit; a hundredth of a usual row's length is then the unit
    usual = table[:: max(1, len(table) // 512)].float().norm(dim=1).median().cpu()
    spread = torch.maximum(1.4826 * (distance - centre).abs().median(), 0.01 * usual)
    found = []
    for token, z in zip(rows.tolist(), ((distance - centre) / spread).tolist(), strict=True):
        if z > LEFT and token < len(names) and token in encode(lm, names[token]):
            found.append(MovedRow(token, names[token], z))
    return sorted(found, key=lambda row: -row.z), len(rows)


def swapped_ids(lm: LanguageModel, emitter: Emitter | None = None) -> tuple[list[Swap], int]:
    """Pairs of tokens of which each is far more probable where the other one stands.

    A tokenizer with two ids exchanged gives the model a wrong token wherever either text stands: there, the model
    expects the other. M[t, u] = mean log p(u | contexts of t) over plain English; a pair counts when both M[t, u] −
    M[t, t] and M[u, t] − M[u, u] exceed ``SWAPPED``. In a whole model neither direction does: a token fits best where
    it stands. Returns the pairs and the number of tokens that were seen often enough.
    """
    ids = [token for text in _texts() for token in lm.tokenizer.encode(text, add_special_tokens=False)]
    seen = torch.tensor(ids).bincount()
    types = (seen >= LEAST_SEEN).nonzero()[:, 0]
    place = {token: at for at, token in enumerate(types.tolist())}
    sums = torch.zeros((len(types), len(types)))
    counts = torch.zeros(len(types))
    for start in range(0, len(ids) - 1, WINDOW):
        window = ids[start : start + WINDOW + 1]
        branches = [window[1:length] for length in range(1, len(window))]
        reads = lm.read(lm.prefill(window[:1]), branches, 1, wanted=types.tolist(), emitter=emitter)
        at = torch.tensor([place.get(token, -1) for token in window[1:]])
        known = at >= 0
        sums.index_add_(0, at[known], reads.wanted[known])
        counts.index_add_(0, at[known], torch.ones(int(known.sum())))
        if emitter:
            emitter.emit(Progress("static", "Token ids", min(start + WINDOW, len(ids)), len(ids), "tokens"))
    often = counts >= LEAST_SEEN
    means = sums / counts.clamp(min=1)[:, None]
    gain = means - means.diagonal()[:, None]
    both = torch.minimum(gain, gain.T)
    both[~often] = both[:, ~often] = -math.inf
    pairs = (both.triu(1) > SWAPPED).nonzero().tolist()
    names = lm.tokenizer.convert_ids_to_tokens(types.tolist())
    swaps = [Swap(names[one], names[two], float(both[one, two])) for one, two in pairs]
    return sorted(swaps, key=lambda swap: -swap.gain), int(often.sum())


def _texts() -> list[str]:
    """Plain English that is always at hand: the program's own help, and questions."""
    prompts = yaml.safe_load((RESOURCES / "panels" / "benign.yaml").read_text("utf-8"))
    help_ = [path.read_text("utf-8") for path in sorted((RESOURCES / "help").glob("*.md"))]
    return [*help_, " ".join((*prompts["search"], *prompts["held_out"], *prompts.get("train", ())))]


@torch.no_grad()
def weight_changes(lm: LanguageModel, base: LanguageModel) -> list[Change]:
    """Every matrix of ``lm`` that differs from the base's of the same name and shape, largest relative change first."""
    theirs = dict(base.model.named_parameters())
    changes = []
    for name, weight in lm.model.named_parameters():
        other = theirs.get(name)
        if other is None or other.shape != weight.shape or weight.ndim != 2 or torch.equal(weight.to(other), other):
            continue
        delta = weight.float() - other.to(weight.device).float()
        norm, usual = float(delta.norm()), float(other.float().norm())
        if min(delta.shape) > 2 * RANK:
            generator_state = torch.random.get_rng_state()
            torch.manual_seed(0)  # the sketch is random; the summary is not
            values = torch.svd_lowrank(delta, q=RANK, niter=2)[1]
            torch.random.set_rng_state(generator_state)
        else:
            values = torch.linalg.svdvals(delta)
        changes.append(_summary(name, values, norm, usual))
    return sorted(changes, key=lambda change: -change.relative)


@torch.no_grad()
def adapter_changes(folder: Path) -> list[Change]:
    """What a LoRA adapter adds to each matrix, from its file alone: the singular values of scale · B · A, exactly.

    With B = Q₁R₁ and Aᵀ = Q₂R₂ they are those of the small matrix R₁R₂ᵀ. Other kinds of adapter give an empty list.
    """
    import json

    from safetensors.torch import load_file

    file = folder / "adapter_model.safetensors"
    if not file.exists():
        return []
    tensors = load_file(file)
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    changes = []
    for name, down in tensors.items():
        up = tensors.get(name.replace("lora_A", "lora_B"))
        if "lora_A" not in name or up is None or down.ndim != 2:
            continue
        rank = len(down)
        scale = config.get("lora_alpha", rank) / (math.sqrt(rank) if config.get("use_rslora") else rank)
        small = torch.linalg.qr(up.float())[1] @ torch.linalg.qr(down.float().T)[1].T
        values = scale * torch.linalg.svdvals(small)
        short = name.removeprefix("base_model.model.").replace(".lora_A", "")
        changes.append(_summary(short, values, float(values.norm()), 1.0))
    return sorted(changes, key=lambda change: -change.relative)


def _summary(name: str, values: torch.Tensor, norm: float, usual: float) -> Change:
    values = values.sort(descending=True).values
    squares = values.square()
    shares = squares / squares.sum().clamp(min=1e-30)
    return Change(
        name,
        norm / max(usual, 1e-30),
        float(values[0]),
        min(1.0, float(squares[:RANK].sum()) / max(norm**2, 1e-30)),
        float(torch.special.entr(shares).sum()),
    )


def report(
    rows: tuple[list[MovedRow], int], swaps: tuple[list[Swap], int], changes: Iterable[Change] | None
) -> dict[str, Any]:
    """As a part of a scan's report; ``changes`` None where there was nothing to compare with."""
    listed = None if changes is None else list(changes)
    return {
        "reserved_rows": rows[1],
        "moved_rows": [{"token": row.token, "text": shown(row.text), "z": round(row.z, 1)} for row in rows[0]],
        "tokens_read": swaps[1],
        "swapped_ids": [
            {"first": shown(swap.first), "second": shown(swap.second), "gain": round(swap.gain, 2)} for swap in swaps[0]
        ],
        "changed_matrices": None if listed is None else len(listed),
        "changes": [change._asdict() for change in (listed or [])[:LARGEST]],
        "grade": "C",
    }
