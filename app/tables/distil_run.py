"""What is known of one distillation: from its folder, or event by event while it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.tables.rows import Column, RowTable
from core.runs.folder import RunFolder
from core.specs import DistillSpec
from core.specs.distill import DistillPlan
from core.types import ModelRef


@dataclass(frozen=True)
class Checkpoint:
    """A student at one moment. ``ref`` is None where it was measured and not kept."""

    stage: str
    step: int
    what: str
    ref: ModelRef | None
    metrics: dict[str, Any]


@dataclass
class DistilRun:
    """One run.

    Attributes:
        losses: (step, loss) over all stages, one after the other. evaluations: rows of the held-out prompts.
        fit: what one micro-step needed, if it was measured. report: of a finished run.
        total: steps of the stages that began.
    """

    path: Path
    plan: DistillPlan
    losses: list[tuple[int, float]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    fit: dict[str, Any] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    total: int = 0
    finished: bool = False

    @classmethod
    def open(cls, folder: RunFolder) -> DistilRun:
        """Read what a run has written so far."""
        assert isinstance(folder.spec, DistillSpec)
        run = cls(folder.path, folder.spec.plan, finished=folder.finished)
        losses: dict[str, list[dict[str, Any]]] = {}
        for item in folder.items():
            if "loss" in item and "step" in item:
                losses.setdefault(str(item.get("stage")), []).append(item)
        for number, stage in enumerate(run.plan.stages, 1):
            place = folder.path / f"stage-{number}"
            rows, evaluations = losses.get(stage.name, []), _evaluations(place)
            if not rows and not evaluations:
                break
            run.take_steps(stage.name, rows)
            run.take_evaluations({"stage": stage.name, **row} for row in evaluations)
        run.report = folder.read_json("report.json") or {}
        for said in run.report.get("stages", ()):
            run.fit = said.get("fit") or run.fit
        return run

    def begin(self, stage: str) -> int:
        """Where the steps of a stage begin on the axis of all."""
        if stage not in self.offsets:
            self.offsets[stage] = max([0, *(step for step, _ in self.losses), self.total])
        return self.offsets[stage]

    def take_steps(self, stage: str, rows: Iterable[dict[str, Any]]) -> list[tuple[float, float]]:
        """Take rows of the training; returns those that are new, on the axis of all steps."""
        offset = self.begin(stage)
        last = self.losses[-1][0] if self.losses else 0
        fresh = [(offset + int(row["step"]), float(row["loss"])) for row in rows]
        fresh = [point for point in fresh if point[0] > last]
        self.losses += fresh
        self.total = max(self.total, *(step for step, _ in fresh)) if fresh else self.total
        return [(float(step), loss) for step, loss in fresh]

    def take_evaluations(self, rows: Iterable[dict[str, Any]]) -> None:
        """A step that was measured before (a resumed run) is measured anew, with the same result."""
        for row in rows:
            self.begin(row["stage"])
            known = {(old["stage"], old["step"]) for old in self.evaluations}
            if (row["stage"], row["step"]) not in known:
                self.evaluations.append(row)

    def set_stage_steps(self, stage: str, steps: int) -> None:
        self.total = max(self.total, self.begin(stage) + steps)

    def measured(self, name: str) -> list[tuple[float, float]]:
        """A metric over the axis of all steps; where it was not measured there is no point."""
        found = [(self.offsets[row["stage"]] + row["step"], row.get(name)) for row in self.evaluations]
        return [(float(step), float(value)) for step, value in found if value is not None]

    def checkpoints(self) -> list[Checkpoint]:
        """Every student that was measured, the newest last."""
        numbers = {stage.name: number for number, stage in enumerate(self.plan.stages, 1)}
        rows: list[Checkpoint] = []
        for row in self.evaluations:
            place = self.path / f"stage-{numbers[row['stage']]}"
            lora = self.plan.stages[numbers[row["stage"]] - 1].trainable.mode == "lora"
            what, ref = self._kept(place, int(row["step"]), row is self._last_of(row["stage"]), lora)
            rows.append(Checkpoint(row["stage"], int(row["step"]), what, ref, row))
        return rows

    def _last_of(self, stage: str) -> dict[str, Any]:
        return [row for row in self.evaluations if row["stage"] == stage][-1]

    @staticmethod
    def _kept(place: Path, step: int, last: bool, lora: bool) -> tuple[str, ModelRef | None]:
        if step == 0:
            return "before distillation", _ref(place / "baseline")
        if last and (place / "student" / "config.json").exists():
            return "student", ModelRef(str(place / "student"))
        kept = place / "kept" / f"step-{step:06d}"
        if lora and (kept / "adapter_config.json").exists():
            return "adapter", ModelRef(str(place / "baseline"), str(kept))
        found = _ref(kept)
        return ("checkpoint" if found else "measured, not kept"), found

    def stopped(self) -> bool:
        """It has no end, and can be resumed."""
        return not self.finished


def _ref(path: Path) -> ModelRef | None:
    return ModelRef(str(path)) if (path / "config.json").exists() else None


def _evaluations(place: Path) -> list[dict[str, Any]]:
    """Of a finished stage, or those that the newest checkpoint knows."""
    found: list[list[dict[str, Any]]] = []
    for name in ("stage.json", "checkpoint-a/engine.json", "checkpoint-b/engine.json"):
        try:
            said = json.loads((place / name).read_bytes())
            rows = said["evaluations"]
            if rows and rows[-1]["step"] == (said.get("after") or {}).get("step"):
                rows[-1] = said["after"]  # of the weights as written, with its answers
            found.append(rows)
        except (OSError, ValueError, KeyError):
            continue
    return max(found, key=len, default=[])


def _number(name: str, form: str) -> Any:
    def text(row: Checkpoint) -> str:
        value = row.metrics.get(name)
        return "" if value is None else format(value, form).replace("%", " %")

    return text


def checkpoint_table() -> RowTable[Checkpoint]:
    return RowTable[Checkpoint](
        (
            Column("stage", lambda r: r.stage, muted=True, width=84),
            Column("step", lambda r: f"{r.step:,}", right=True, width=72),
            Column("student", lambda r: r.what),
            Column("KL, nats/token", _number("kl", ".4f"), right=True, width=116),
            Column("agreement", _number("agreement", ".1%"), right=True, width=92),
            Column("perplexity", _number("perplexity", ",.1f"), right=True, width=92),
            Column("degenerate", _number("degenerate", ".0%"), right=True, width=96),
        )
    )
