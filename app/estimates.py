"""What a job will need, said before it starts: measured where an earlier run tells, else an estimate by size."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from app.context import ModelChoice
from app.widgets.basic import gigabytes
from core.errors import ForeshotError
from core.runs.folder import RunFolder
from core.specs import ScanSpec, SuiteSpec
from core.specs.distill import DistillPlan
from core.specs.estimates import Remedy, Work, plan_memory, plan_work, remedies


def memory_words(choice: ModelChoice, precision: str) -> str:
    """What the model needs in this precision against what is free, from its card."""
    if choice.card is None:
        return ""
    rows = {row.precision: row for row in choice.card.memory}
    row = (
        rows.get(precision)
        or rows.get({"as stored (auto)": "bf16", "auto": "bf16"}.get(precision, ""))
        or rows.get("fp16")
    )
    if row is None:
        return ""
    free = f" of {gigabytes(row.free_bytes)} free" if row.free_bytes else ""
    fits = "" if row.fits is not False else ": does not fit"
    return f"needs about {gigabytes(row.bytes)}{free}{fits}"


def time_words(runs: Path, choice: ModelChoice, preset: str, power: int = 0) -> str:
    """How long an earlier scan of the same model and preset took here, a rough estimate by size where there was none.

    Args:
        power: canaries of each kind, each of which is planted and scanned alike.
    """
    longer = f", and at least {2 * power} times as long again for the canaries" if power else ""
    for spec_path in sorted(runs.glob("*-scan-*/spec.json"), reverse=True)[:50]:
        try:
            run = RunFolder.open(spec_path.parent)
        except ForeshotError:
            continue
        if isinstance(run.spec, ScanSpec) and run.spec.ref == choice.ref and run.spec.preset == preset:
            wall = ((run.read_json("report.json") or {}).get("timing") or {}).get("wall_s")
            if isinstance(wall, int | float):
                return f"the last {preset} scan of this model took {duration(wall)}{longer}"
    parameters = choice.card.parameters if choice.card is not None else None
    return f"{rough_time(parameters, preset)}{longer}" if parameters else ""


def suite_words(runs: Path, choice: ModelChoice, items: int) -> str:
    """How long ``items`` items will take, from the rate of an earlier run of this model; else by its size alone."""
    for spec_path in sorted(runs.glob("*-suite-*/spec.json"), reverse=True)[:50]:
        try:
            run = RunFolder.open(spec_path.parent)
        except ForeshotError:
            continue
        if not isinstance(run.spec, SuiteSpec) or run.spec.ref != choice.ref or run.spec.load != choice.load:
            continue
        report = run.read_json("report.json") or {}
        if report.get("computed") == 0:  # it only looked its numbers up
            continue
        seconds = (report.get("timing") or {}).get("suite")
        scored = sum(int(suite.get("n", 0)) for suite in report.get("suites", ()))
        if isinstance(seconds, int | float) and seconds > 0 and scored:
            return f"about {duration(items * seconds / scored)}, at the rate of an earlier run"
    parameters = choice.card.parameters if choice.card is not None else None
    if not parameters:
        return ""
    slow, fast = (2 * parameters * ITEM_TOKENS * items / speed for speed in SPEED)
    return f"rough estimate on a CPU, by size alone: {duration(fast)} to {duration(slow)}"


@dataclass(frozen=True)
class DistillEstimate:
    """What is said before a distillation starts. ``fits`` is None where the files do not say."""

    words: tuple[str, ...] = ()
    fits: bool | None = None
    remedies: tuple[Remedy, ...] = ()


def distill_estimate(runs: Path, plan: DistillPlan, teacher: ModelChoice, source: ModelChoice) -> DistillEstimate:
    """Memory and time of ``plan`` from its models' files; the time from an earlier distillation if there is one."""
    if teacher.card is None or source.card is None:
        return DistillEstimate(("No estimate: the files of the models are not read yet.",))
    need = plan_memory(plan, teacher.card, source.card)
    if need is None:
        return DistillEstimate(("No estimate: the files do not say how large the models are.",))
    free = _free(teacher)
    fits = free is None or need.total <= free
    of = f" of {gigabytes(free)} free" if free is not None else ""
    same = plan.stages[0].student.build == "as_is" and teacher.card.fingerprint == source.card.fingerprint
    words = ["teacher and student are the same files: there will be nothing to learn"] if same else []
    words += [
        f"needs about {gigabytes(need.total)}{of} {need.phase}{'' if fits else ': does not fit'}",
        "by the files alone; one step measures it before training begins",
    ]
    work = plan_work(plan, teacher.card, source.card)
    words.append(f"{work.rows:,} prompts, about {work.supervised:,.0f} tokens to learn: {_distill_time(runs, work)}")
    helps = () if fits or free is None else tuple(remedies(plan, teacher.card, source.card, free))
    return DistillEstimate(tuple(words), fits, helps)


def _free(choice: ModelChoice) -> int | None:
    """Bytes free now where the model will go."""
    if choice.load.device == "cpu" or not Path("/dev/nvidia0").exists():
        return int(psutil.virtual_memory().available)
    return choice.card.memory[0].free_bytes if choice.card is not None and choice.card.memory else None


def _distill_time(runs: Path, work: Work) -> str:
    for report in sorted(runs.glob("*-distill-*/report.json"), reverse=True)[:50]:
        try:
            said = json.loads(report.read_bytes())
            rate = sum(stage["flops"] for stage in said["stages"]) / said["timing"]["wall_s"]
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            continue
        if rate > 0:
            return f"about {duration(work.flops / rate)}, at the rate of an earlier distillation"
    slow, fast = (work.flops / speed for speed in SPEED)
    return f"rough estimate on a CPU, by size alone: {duration(fast)} to {duration(slow)}"


ITEM_TOKENS: Final = 60
"""Tokens that an item of a shipped suite passes through the model, order of magnitude: prompts are shared."""
WORK: Final = {"quick": 0.35e6, "standard": 0.75e6, "deep": 1.8e6}
"""Tokens that a preset passes through the model, order of magnitude: some 70 tokens for each of its prompts."""
SPEED: Final = (0.15e12, 1.0e12)
"""Operations a second of a two-core and of an eight-core desktop CPU in bf16, order of magnitude."""


def rough_time(parameters: int, preset: str) -> str:
    """2 × parameters operations a token, over the speeds of ``SPEED``: an estimate, and said to be one."""
    slow, fast = (2 * parameters * WORK[preset] / speed for speed in SPEED)
    return f"rough estimate on a CPU, by size alone: {duration(fast)} to {duration(slow)}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
