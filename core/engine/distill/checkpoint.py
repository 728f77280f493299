"""Two checkpoint slots: the older one is replaced only when the newer one is whole. No pickle.

``engine.json`` is written last and holds the hashes of the other files: a slot without a valid one does not count.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from core.engine.distill.evaluate import Metrics
from core.engine.distill.files import load_tensors, replace_folder, save_tensors, sha256
from core.errors import InputError
from core.runs.folder import write_atomic

SLOTS = ("checkpoint-a", "checkpoint-b")


class Engine(msgspec.Struct):
    """Where a training stands. ``tokens`` are supervised ones; ``seconds`` of the steps alone, over all sessions."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    evaluations: list[Metrics] = []
    files: dict[str, str] = {}
    plan: str = ""


def save(folder: Path, engine: Engine, weights: Mapping[str, torch.Tensor], optimiser: torch.optim.Optimizer) -> None:
    """Write the slot that is not the newest. ``weights`` are the trained tensors by name, in the optimiser's order.

    Raises EnvironmentFault on a full disk; the newest checkpoint is still there then.
    """
    newest = _newest(folder)
    slot = SLOTS[1] if newest is not None and newest[0].name == SLOTS[0] else SLOTS[0]
    fresh = folder / f"{slot}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        save_tensors(fresh / "weights.safetensors", dict(weights))
        save_tensors(fresh / "optimiser.safetensors", _flat(optimiser, list(weights)))
        engine.files = {name: sha256(fresh / name) for name in ("weights.safetensors", "optimiser.safetensors")}
        write_atomic(fresh / "engine.json", msgspec.json.encode(engine))
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)  # a half slot would hold the space that the disk lacks
        raise
    replace_folder(fresh, folder / slot)


def load(
    folder: Path, plan: str, weights: Mapping[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> Engine | None:
    """Put the newest checkpoint back, in place. None where there is none.

    Raises InputError where it belongs to another plan.
    """
    newest = _newest(folder)
    if newest is None:
        return None
    slot, engine = newest
    if engine.plan != plan:
        raise InputError("other_plan", f"{slot} was written by another plan.", "Start anew, without --resume.")
    stored = load_tensors(slot / "weights.safetensors")
    with torch.no_grad():
        for name, tensor in weights.items():
            tensor.copy_(stored[name])
    _restore(optimiser, list(weights), load_tensors(slot / "optimiser.safetensors"))
    return engine


def discard(folder: Path) -> None:
    for slot in SLOTS:
        shutil.rmtree(folder / slot, ignore_errors=True)
        shutil.rmtree(folder / f"{slot}.new", ignore_errors=True)


def _newest(folder: Path) -> tuple[Path, Engine] | None:
    """The whole slot with the highest step."""
    found = []
    for name in SLOTS:
        slot = folder / name
        try:
            engine = msgspec.json.decode((slot / "engine.json").read_bytes(), type=Engine)
        except (OSError, msgspec.MsgspecError):
            continue
        if engine.files and all(
            (slot / file).exists() and sha256(slot / file) == digest for file, digest in engine.files.items()
        ):
            found.append((slot, engine))
    return max(found, key=lambda pair: pair[1].step) if found else None


def _flat(optimiser: torch.optim.Optimizer, names: list[str]) -> dict[str, torch.Tensor]:
    state: dict[int, dict[str, Any]] = optimiser.state_dict()["state"]
    return {
        f"{names[index]}|{field}": torch.as_tensor(value).clone()
        for index, fields in state.items()
        for field, value in fields.items()
    }


def _restore(optimiser: torch.optim.Optimizer, names: list[str], flat: dict[str, torch.Tensor]) -> None:
    whole = optimiser.state_dict()
    place = {name: index for index, name in enumerate(names)}
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in flat.items():
        name, field = key.rsplit("|", 1)
        state.setdefault(place[name], {})[field] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
