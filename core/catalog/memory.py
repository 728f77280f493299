"""How much memory loading needs, from the headers alone, against what is free."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from core.catalog.card import FitRow

if TYPE_CHECKING:
    from core.catalog.card import ModelCard

BYTES_PER_WEIGHT = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "nf4": 0.55}
"""nf4 is half a byte and its scales; embeddings and head stay in 16 bit (added apart)."""
OVERHEAD = 1.15
"""Activations and buffers, on top of weights and cache."""
CACHE_TOKENS = 8192
"""Tokens of KV cache that a scan holds at once."""


def fit_rows(card: ModelCard) -> tuple[FitRow, ...]:
    """Bytes at each precision; empty where the number of parameters is unknown."""
    parameters = card.parameters
    if not parameters or card.format == "adapter":
        return ()
    free = free_memory()
    embeddings = 2 * (card.vocab_size or 0) * (card.hidden_size or 0)
    cache = 2 * (card.layers or 0) * (card.kv_heads or 0) * (card.head_dim or 0) * CACHE_TOKENS * 2
    rows = []
    for precision, size in BYTES_PER_WEIGHT.items():
        weights = parameters * size
        if precision in ("int8", "nf4"):
            kept = min(embeddings, parameters)
            weights = (parameters - kept) * size + kept * 2.0
        need = int((weights + cache) * OVERHEAD)
        rows.append(FitRow(precision, need, need <= free if free is not None else None, free))
    return tuple(rows)


def free_memory() -> int | None:
    """Free bytes of the GPU if there is one, else of the machine."""
    gpu = free_gpu_memory()
    if gpu is not None:
        return gpu
    import psutil

    return int(psutil.virtual_memory().available)


def free_gpu_memory() -> int | None:
    """Free bytes of the first NVIDIA GPU by nvidia-smi; None without one."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return None
    command = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        return int(done.stdout.splitlines()[0]) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
