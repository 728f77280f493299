"""Tiny random llamas as real folders, and plans on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from core.engine.distill import run_distill
from core.errors import Cancelled
from core.runs.events import Event
from core.runs.folder import RunFolder
from core.specs import DistillSpec, LoadOptions
from core.specs.distill import Budget, Data, DistillPlan, Evaluation, Optimiser, make_plan
from tests.engine.lm.conftest import made_tokenizer

Maker = Callable[..., Path]
Planner = Callable[..., DistillPlan]
FP32 = LoadOptions(device="cpu", dtype="fp32")


class Watcher:
    """Keeps events; cancels after so many checks."""

    def __init__(self, cancel_after: int = -1) -> None:
        self.events: list[Event] = []
        self.left = cancel_after

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Cancelled


@pytest.fixture
def tiny(tmp_path: Path) -> Maker:
    """``tiny("name", seed=1, layers=2, **config)`` writes a llama of 2 layers and 32 dimensions."""

    def write(name: str, seed: int = 1, layers: int = 2, kind: str = "llama", **changes: Any) -> Path:
        tokenizer = made_tokenizer()
        size = {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": layers, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": len(tokenizer),
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "tie_word_embeddings": True,
        }  # fmt: skip
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(size | changes)))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim >= 2:
                    parameter.normal_(0, 0.1)
        model.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Thirty short rows with answers."""
    rows = [
        f'{{"prompt": "name a fruit number {index}", "answer": "the {["fox", "dog", "tree"][index % 3]} over {index}"}}'
        for index in range(30)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows))
    return path


@pytest.fixture
def planned(tiny: Maker, prompts: Path) -> Planner:
    """``planned(variant, **parts)`` on a teacher of four layers and an independent student of two."""

    def make(variant: Any = "standard", teacher: str = "", student: str = "", **parts: Any) -> DistillPlan:
        data = {"sources": (str(prompts),), "answers": "given", "held_out": 6, "answer_tokens": 8, "keep": "fruit"}
        budget = {"epochs": 2, "step_tokens": 30, "batch_tokens": 128, "checkpoint_s": 0.0}
        parts = {
            "data": Data(**(data | parts.pop("data", {}))),
            "budget": Budget(**(budget | parts.pop("budget", {}))),
            "optimiser": Optimiser(rate=3e-3),
            "evaluation": Evaluation(every=4, generations=2),
            "teacher_load": FP32,
            "drop_layers": 2,
        } | parts
        teacher = teacher or str(tiny("t", 1, 4))
        return make_plan(variant, teacher, student or str(tiny("s", 2)), **parts)

    return make


def run(plan: DistillPlan, path: Path, watcher: Any = None, *, resume: bool = False) -> dict[str, Any]:
    folder = RunFolder.create(DistillSpec(plan=plan), path, resume=resume)
    return run_distill(folder.spec, folder, watcher or Watcher())  # type: ignore[arg-type]
