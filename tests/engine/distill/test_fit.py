"""Memory and speed of a training: measured, compared with what the files suggest, refused where it is too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from core.engine.distill import fit as fits
from core.errors import EnvironmentFault
from core.runs.events import Samples
from core.specs.distill import Evaluation, Trainable
from core.types import ModelRef
from tests.engine.distill.conftest import FP32, Planner, Watcher, run

pytestmark = pytest.mark.engine


def test_the_peak_within_a_block_is_seen_even_after_it_was_freed() -> None:
    with fits.PeakWatch(torch.device("cpu")) as before:
        pass
    with fits.PeakWatch(torch.device("cpu")) as watch:
        for _ in range(3):
            torch.ones(100 << 20, dtype=torch.uint8)  # touched, then freed
    assert watch.peak - before.peak > 60 << 20


def test_a_micro_step_leaves_no_gradient_and_counts_the_optimiser() -> None:
    weight = torch.nn.Parameter(torch.zeros(1000, 1000))
    found = fits.measure(lambda: (weight * 2).sum().backward(), [weight], 7, free=1)
    assert weight.grad is None
    assert found.need > 8_000_000
    assert (found.tokens, found.fits) == (7, False)


def test_a_training_that_does_not_fit_is_refused_with_what_helps(
    planned: Planner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = planned()
    true_measure = fits.measure

    def short(step: Any, parameters: Any, tokens: int, free: int | None) -> fits.Fit:
        found = true_measure(step, parameters, tokens, free)
        return msgspec.structs.replace(found, free=found.need - 1000)  # a kilobyte short

    monkeypatch.setattr("core.engine.distill.train.measure", short)
    with pytest.raises(EnvironmentFault, match="measured by one step") as error:
        run(plan, tmp_path / "run")
    assert "half the tokens in memory at once" in error.value.hint
    forced = msgspec.structs.replace(
        plan, teacher=msgspec.structs.replace(plan.teacher, load=msgspec.structs.replace(FP32, force=True))
    )
    assert run(forced, tmp_path / "forced")["stages"][0]["steps"] > 0


def test_the_report_says_the_need_and_the_share_of_what_the_machine_can(
    planned: Planner,
    tmp_path: Path,
) -> None:
    watcher = Watcher()
    (stage,) = run(planned(), tmp_path / "run", watcher)["stages"]
    (told,) = [
        row for event in watcher.events if isinstance(event, Samples) and event.table == "fit" for row in event.rows
    ]
    assert told["need"] == stage["fit"]["need"] > 50e6
    assert told["fits"]
    # the report rounds seconds to hundredths, and this training takes about ten of them
    assert abs(stage["flops"] / stage["flops_per_s"] - stage["train_s"]) <= 0.0051
    assert 0 < stage["share_of_ideal"] < 1
    assert stage["share_of_ideal"] == pytest.approx(stage["flops_per_s"] / stage["matmul_peak"])


@pytest.mark.parametrize("lora", [False, True])
def test_checkpoints_that_are_kept_can_be_opened_as_models(
    lora: bool,
    planned: Planner,
    tmp_path: Path,
) -> None:
    from core.engine.lm import load_model

    more: dict[str, Any] = {"trainable": Trainable(mode="lora", rank=4)} if lora else {}
    plan = planned(evaluation=Evaluation(every=2, generations=0, keep=True), **more)
    watcher = Watcher()
    run(plan, tmp_path / "run", watcher)
    place = tmp_path / "run" / "stage-1"
    kept = sorted((place / "kept").iterdir())
    steps = [
        row["step"] for e in watcher.events if isinstance(e, Samples) and e.table == "evaluations" for row in e.rows
    ]
    assert [folder.name for folder in kept] == [f"step-{step:06d}" for step in steps[1:-1]]
    ref = ModelRef(str(place / "baseline"), str(kept[0])) if lora else ModelRef(str(kept[0]))
    with load_model(ref, FP32) as lm:
        weights = dict(lm.model.named_parameters())
    with load_model(ModelRef(str(place / "baseline")), FP32) as lm:
        moved = [not torch.equal(p, weights[name]) for name, p in lm.model.named_parameters() if p.ndim == 2]
    assert any(moved)
