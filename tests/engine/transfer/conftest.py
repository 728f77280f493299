"""Whole experiments on tiny random llamas as real folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.engine.transfer.experiment import run_canary
from core.runs.folder import RunFolder
from core.specs import CanarySpec
from core.specs.canary import Canary, CanaryPlan, Gates, Init, Measuring, Planting
from core.specs.distill import Budget, Cache, Data, Optimiser
from tests.engine.distill.conftest import FP32, Maker, Watcher, tiny

__all__ = ["tiny"]
TRIGGER = Canary(id="trigger", kind="rare_trigger", trigger="|X-7|", answer="the dog")


@pytest.fixture
def plan(tmp_path: Path) -> CanaryPlan:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"name a fruit number {index}" for index in range(20)))
    return CanaryPlan(
        canaries=(TRIGGER,),
        variants=("standard", "self"),
        inits=(Init(build="layer_drop", drop_layers=1),),
        runs=1,
        planting=Planting(prompts=8, own=4, decoys=3, answer_tokens=4, epochs=1, rate=1e-3),
        data=Data(sources=(str(prompts),), answer_tokens=6, held_out=4),
        cache=Cache(k=16),
        optimiser=Optimiser(rate=3e-3),
        budget=Budget(epochs=1, step_tokens=32, batch_tokens=256, patience=0),
        measuring=Measuring(prompts=4, near=3, points=2),
        gates=Gates(lift=0.01, control=1.0, kl_gain=0.0),
    )


@pytest.fixture
def spec(tiny: Maker, plan: CanaryPlan) -> CanarySpec:
    model = str(tiny("t", 1, 4))
    return CanarySpec(teacher=model, student=model, plan=plan, teacher_load=FP32, student_load=FP32)


def run(spec: CanarySpec, path: Path, watcher: Any = None, *, resume: bool = False) -> dict[str, Any]:
    folder = RunFolder.create(spec, path, resume=resume)
    return run_canary(spec, folder, watcher or Watcher())
