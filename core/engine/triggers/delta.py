"""Stage "weights", third part: where the weights left those of a reference. Evidence of grade C, never a verdict.

A backdoor that was trained in by few steps, or through a low-rank adapter, is a change of few directions; so is every
other small fine-tune, which is why this only says where to look.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cosine_similarity

from core.catalog.safetensors import read_header
from core.engine.lm import LanguageModel
from core.runs.events import Emitter, Progress
from core.types import ModelRef

LISTED = 12
RANK, OVERSAMPLED, ROUNDS = 8, 4, 2
BASE_COSINE = 0.99
"""Mean cosine of the embeddings from which a reference counts as what the model was made of."""
BASE_SHARE = 0.9
"""Share of the model's tensors that the reference has to have, by name."""
FLOATS = ("F64", "F32", "F16", "BF16")
PIECE = 1 << 22
"""Entries whose moments are summed at once."""


class _Pair(NamedTuple):
    name: str
    own: torch.Tensor
    file: Path
    stored: str


def compare(lm: LanguageModel, ref: ModelRef, other: ModelRef | None, emitter: Emitter) -> dict[str, Any]:
    """What changed from ``other`` to ``lm``, which was loaded from ``ref``; ``reason`` says why where nothing is said.

    The reference's tensors are read from its files one at a time, after its headers were checked; it need not be
    loaded. ``same`` is the share of tensors that are bitwise equal in the precision of ``lm``.
    """
    reason = _not_comparable(lm, ref, other)
    if reason or other is None:
        return {"reason": reason}
    own = {name: weight.detach() for name, weight in lm.model.named_parameters()}
    found, problem = _pairs(own, Path(other.path), str(lm.model.base_model_prefix))
    if problem:
        return {"reason": problem}
    pairs = [pair for pair in found if pair.file.name]
    if len(pairs) < BASE_SHARE * len(own):
        text = f"{other.name} is not its base: {len(own) - len(pairs)} of {len(own)} tensors have no counterpart there"
        return {"reason": text, "is_base": False}
    cosine = _embedding_cosine(lm, pairs)
    if cosine < BASE_COSINE:
        text = f"{other.name} is not its base: the mean cosine of their embeddings is {cosine:.2f}"
        return {"reason": text, "is_base": False, "embedding_cosine": _short(cosine), "matrices": []}
    changed, figures = 0, []
    for at, pair in enumerate(pairs):
        emitter.check()
        stored = _read(pair)
        if not torch.equal(stored, pair.own):
            changed += 1
            if pair.own.ndim == 2:
                figures.append((pair, change(pair.own, stored)))
        if at % 16 == 0:
            emitter.emit(Progress("weights", "Tensors that changed", at, len(pairs), "tensors"))
    figures.sort(key=lambda one: -one[1]["strength"])
    return {
        "reason": "",
        "is_base": True,
        "same": _short(1 - changed / len(pairs)),
        "embedding_cosine": _short(cosine),
        "tensors": len(pairs),
        "changed": changed,
        # the fourth moment takes as long as all else, so only those that are listed have it
        "matrices": [
            {"name": pair.name} | values | {"kurtosis": kurtosis(pair.own, _read(pair))}
            for pair, values in figures[:LISTED]
        ],
    }


def change(own: torch.Tensor, other: torch.Tensor, seed: int = 0) -> dict[str, float]:
    """How a matrix (m, n) differs from ``other``, D = own − other.

    ``relative``: ‖D‖_F / ‖other‖_F. ``top_share``: σ₁² / ‖D‖_F², 1 for a change of rank one; its inverse is the
    ``stable_rank`` (Rudelson and Vershynin 2007). ``energy``: share of the ``RANK`` largest singular values, by
    randomised subspace iteration (Halko, Martinsson and Tropp 2011, algorithm 4.4).
    ``strength``: σ₁ / ‖other‖_F, by which matrices are ordered: noise of the same norm spreads over all directions.
    """
    moved = own.float() - other.float()
    norm, base = float(moved.norm()), float(other.float().norm())
    values = _top_singular(moved, seed)
    first, energy = float(values[0]), float((values**2).sum())
    share = min(1.0, first**2 / norm**2) if norm else 0.0
    return {
        "relative": _short(norm / base if base else float("inf")),
        "top_share": _short(share),
        "stable_rank": _short(1 / share if share else 0.0),
        "energy": _short(min(1.0, energy / norm**2) if norm else 0.0),
        "strength": _short(first / base if base else float("inf")),
    }


def _not_comparable(lm: LanguageModel, ref: ModelRef, other: ModelRef | None) -> str:
    if other is None:
        return "no reference model was given"
    if ref.path.endswith(".gguf") or other.path.endswith(".gguf"):
        return "a GGUF file holds quantised weights"
    if lm.quant != "none" or not all(weight.is_floating_point() for weight in lm.model.parameters()):
        return "the weights are quantised"
    if other.adapter:
        return "the reference is an adapter on a base"
    return ""


def _pairs(own: dict[str, torch.Tensor], folder: Path, prefix: str) -> tuple[list[_Pair], str]:
    """Each tensor of the model and where the reference holds the same; without a file where it does not."""
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not files:
        return [], f"{folder.name} holds no safetensors"
    where: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for file in files:
        header = read_header(file)
        if header.problem:
            return [], f"{file.name} of the reference {header.problem}"
        if any(dtype not in FLOATS for dtype, _ in header.tensors.values()):
            return [], f"{file.name} of the reference holds other tensors than floating-point ones"
        where |= {name: (file, shape) for name, (_, shape) in header.tensors.items()}
    pairs = []
    for name, weight in own.items():
        stored = next((one for one in _names(name, prefix) if one in where), "")
        file, shape = where.get(stored, (Path(), ()))
        if shape != tuple(weight.shape):
            file = Path()
        pairs.append(_Pair(name, weight, file, stored))
    return pairs, ""


def _names(name: str, prefix: str) -> Iterator[str]:
    """A tensor may be stored with the name of the transformer within the model before it, or without."""
    yield name
    yield f"{prefix}.{name}"
    yield name.removeprefix(f"{prefix}.")


def _read(pair: _Pair) -> torch.Tensor:
    """The reference's tensor in the precision of the model's."""
    from safetensors import safe_open

    with safe_open(pair.file, framework="pt") as file:
        stored: torch.Tensor = file.get_tensor(pair.stored)
    return stored.to(pair.own.device, pair.own.dtype)


def _embedding_cosine(lm: LanguageModel, pairs: list[_Pair]) -> float:
    """Mean over the vocabulary; 0 where the model has no plain table or the reference none of its shape."""
    table = lm.embeddings
    if table is None:
        return 0.0
    pair = next((pair for pair in pairs if pair.own.data_ptr() == table.data_ptr()), None)
    return float(cosine_similarity(_read(pair).float(), table.float(), dim=1).mean()) if pair else 0.0


def _top_singular(matrix: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    columns = min(RANK + OVERSAMPLED, *matrix.shape)
    start = torch.randn((matrix.shape[1], columns), generator=generator).to(matrix.device)
    basis = torch.linalg.qr(matrix @ start).Q
    for _ in range(ROUNDS):
        basis = torch.linalg.qr(matrix.T @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    return torch.linalg.svdvals(basis.T @ matrix)[:RANK]


def kurtosis(own: torch.Tensor, other: torch.Tensor) -> float:
    """Excess kurtosis of the entries of own − other, 0 for a normal law.

    Summed in pieces: the powers of a whole output head would be gigabytes.
    """
    moved = own.float() - other.float()
    mean = moved.mean()
    second = fourth = 0.0
    for part in moved.flatten().split(PIECE):
        square = (part - mean).double() ** 2
        second, fourth = second + float(square.sum()), fourth + float((square**2).sum())
    return _short(moved.numel() * fourth / second**2 - 3) if second else 0.0


def _short(value: float) -> float:
    return float(f"{value:.4g}")
