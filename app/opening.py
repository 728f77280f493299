"""What a path on disk is: a model, an adapter, or a finished run. Looks at names only; the catalog reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from core.errors import InputError
from core.types import ModelRef

Kind = Literal["model", "adapter", "run"]


def kind_of(path: Path) -> Kind:
    """Classify ``path``. Raises InputError with what to drop instead."""
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return "model"
        raise InputError("not_a_model", f"{path.name} is a single file.", "Drop the model's folder, or a .gguf file.")
    if not path.is_dir():
        raise InputError("no_such_path", f"{path} does not exist.", "Choose another folder with Ctrl+O.")
    if (path / "spec.json").exists() and not (path / "config.json").exists():
        return "run"
    if (path / "adapter_config.json").exists() and not (path / "config.json").exists():
        return "adapter"
    return "model"


def with_adapter(adapter: Path, base: ModelRef | None) -> ModelRef:
    """The adapter on the model that is already there, else on the base it names if that lies on this machine."""
    if base is not None:
        return ModelRef(base.path, str(adapter))
    try:
        stated = json.loads((adapter / "adapter_config.json").read_bytes()).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        stated = None
    if isinstance(stated, str) and stated and Path(stated).is_dir():
        return ModelRef(stated, str(adapter))
    raise InputError(
        "adapter_without_base",
        f"{adapter.name} is an adapter, and its base model{f' ({stated})' if stated else ''} is not here.",
        "Drop the base model's folder first, then the adapter on the same place.",
    )
