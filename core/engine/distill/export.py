"""The student as a plain Hugging Face folder that any tool loads, with its lineage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from core.engine.distill.files import as_disk_fault, replace_folder
from core.engine.lm import LanguageModel

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def export(lm: LanguageModel, folder: Path, card: str, lineage: dict[str, Any] | None = None) -> None:
    """Write weights, tokenizer, template, the model card and ``lineage.json``; whole or not at all.

    Raises EnvironmentFault where the disk does not take it.
    """
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        fresh.mkdir(parents=True)
        lm.model.save_pretrained(fresh)
        lm.tokenizer.save_pretrained(fresh)
        (fresh / "README.md").write_text(card, encoding="utf-8")
        if lineage is not None:
            text = json.dumps(lineage, indent=1, ensure_ascii=False) + "\n"
            (fresh / "lineage.json").write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise as_disk_fault(error, folder) from error
    replace_folder(fresh, folder)


def rounded(lm: LanguageModel, dtype: str) -> None:
    """Bring the weights to the precision in which they will be written, so that what is evaluated is what is kept."""
    if dtype != "auto":
        lm.model = lm.model.to(_DTYPES[dtype])
        lm.dtype = dtype
