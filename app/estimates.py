"""What a job will need, said before it starts: measured where an earlier run tells, else an estimate by size."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from core.specs.effort import SCAN_TOKENS, duration, suite_tokens
from core.specs.estimates import Remedy, Work, plan_memory, plan_work, remedies
from core.suites import Suite


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


def time_words(runs: Path, choice: ModelChoice, preset: str, power: int = 0, rate: float | None = None) -> str:
    """How long an earlier scan of the same model and preset took here, an estimate where there was none.

    Args:
        power: canaries of each kind, each of which is planted and scanned alike.
        rate: tokens a second, where that was measured.
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
    return f"{scan_time(parameters, preset, rate)}{longer}" if parameters else ""


def suite_words(runs: Path, choice: ModelChoice, suites: Sequence[Suite], rate: float | None = None) -> str:
    """How long ``suites`` will take, from the rate of an earlier run of this model, else as ``time_words``."""
    tokens = suite_tokens((suite.kind, len(suite.items)) for suite in suites)
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
        took = (report.get("timing") or {}).get("suite")
        scored = suite_tokens((str(row.get("kind")), int(row.get("n", 0))) for row in report.get("suites", ()))
        if isinstance(took, int | float) and took > 0 and scored:
            return f"about {duration(tokens * took / scored)}, at the rate of an earlier run"
    parameters = choice.card.parameters if choice.card is not None else None
    if not parameters:
        return ""
    if rate:
        return f"about {duration(tokens / rate)}, {_measured(rate)}"
    slow, fast = (2 * parameters * tokens / speed for speed in SPEED)
    return f"{ROUGH}: {duration(fast)} to {duration(slow)}"


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
    return f"{ROUGH}: {duration(fast)} to {duration(slow)}"


SPEED: Final = (0.1e12, 1.0e12)
"""Operations a second of two old cores in fp32 and of eight new ones in bf16, order of magnitude."""
ROUGH: Final = "rough estimate on a CPU, by size alone"


def scan_time(parameters: int, preset: str, rate: float | None) -> str:
    """From the tokens a second that were measured here; else 2 × parameters operations a token, over ``SPEED``."""
    least, most = SCAN_TOKENS[preset]
    if rate:
        longer = "the longer, the more there is to search and to prove"
        return f"{duration(least / rate)} to {duration(most / rate)}, {_measured(rate)}; {longer}"
    slow, fast = SPEED
    return f"{ROUGH}: {duration(2 * parameters * least / fast)} to {duration(2 * parameters * most / slow)}"


def _measured(rate: float) -> str:
    return f"at the {rate:,.0f} tokens a second measured here"
