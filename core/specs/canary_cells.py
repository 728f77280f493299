"""Which students a canary experiment trains, in which order, and which of them stand in for another or teach one."""

from __future__ import annotations

from typing import NamedTuple

from core.errors import InputError
from core.specs.canary import Arm, CanaryPlan, Init, Origin
from core.specs.estimates import Sized


class Cell(NamedTuple):
    """One run of one arm: a student, and its stage where it is progressive. ``share`` is the ladder's, 0 outside it."""

    arm: Arm
    variant: Origin
    init: str
    run: int
    share: float = 0.0

    @property
    def key(self) -> str:
        ladder = f"@{self.share:g}" if self.share else ""
        return f"{self.arm}{ladder}/{self.variant}/{self.init}/{self.run}"


def cells(plan: CanaryPlan, *, one_source: bool) -> list[Cell]:
    """What is trained, in its order: whole rounds of all arms, so that an interrupted experiment has some of each.

    ``one_source``: teacher and student are the same weights.
    """
    made = []
    for run in range(plan.runs):
        for init in plan.inits:
            for variant in plan.variants:
                if variant == "progressive":
                    continue
                alike = shared_variant(plan, variant, one_source=one_source) != variant
                arms = [arm for arm in plan.arms if not (alike and arm in ("clean", "direct"))]
                made += [Cell(arm, variant, init.name, run) for arm in arms]
                made += [Cell("canary", variant, init.name, run, share) for share in plan.ladder]
        if "progressive" in plan.variants:
            made += _chains(plan, run)
    return made


def _chains(plan: CanaryPlan, run: int) -> list[Cell]:
    """All stages of one arm before the next arm: one chain's teachers are on disk at a time."""
    doses: list[tuple[Arm, float]] = [(arm, 0.0) for arm in plan.arms if arm != "direct"]
    doses += [("canary", share) for share in plan.ladder]
    made = [Cell(arm, "progressive", init.name, run, share) for arm, share in doses for init in plan.stages]
    if "direct" in plan.arms:
        made.append(Cell("direct", "progressive", plan.stages[-1].name, run))
    return made


def init_of(plan: CanaryPlan, cell: Cell) -> Init:
    return next(init for init in plan.inits_of(cell.variant) if init.name == cell.init)


def stage_of(plan: CanaryPlan, variant: str, init: str) -> int:
    """The stage of a progressive student, from 1; 0 of other students."""
    if variant != "progressive":
        return 0
    return 1 + [each.name for each in plan.stages].index(init)


def taught_by(plan: CanaryPlan, cell: Cell) -> Cell | None:
    """The student of the stage before, which teaches this one; None where a copy, the teacher or the canary does."""
    stage = stage_of(plan, cell.variant, cell.init)
    if stage < 2 or cell.arm == "direct":
        return None
    return cell._replace(init=plan.stages[stage - 2].name)


def teaches(plan: CanaryPlan, cell: Cell) -> Cell | None:
    """The student of the stage after, which learns from this one."""
    stage = stage_of(plan, cell.variant, cell.init)
    if cell.arm == "direct" or not 0 < stage < len(plan.stages):
        return None
    return cell._replace(init=plan.stages[stage].name)


def shared_variant(plan: CanaryPlan, variant: Origin, *, one_source: bool) -> Origin:
    """Whose clean and direct students are this variant's: of one source, those of ``self`` are ``standard`` ones, and
    are trained once."""
    return "standard" if variant == "self" and one_source and "standard" in plan.variants else variant


def direct_init(plan: CanaryPlan, variant: str, init: str) -> str:
    """The size of the direct students beside these: of a progressive variant, they are trained at its last one."""
    return plan.stages[-1].name if variant == "progressive" else init


def students_words(plan: CanaryPlan, variant: str, init: str) -> str:
    """``standard students``, ``progressive students, stage 1 of 2``."""
    stage = stage_of(plan, variant, init)
    return f"{variant} students" + (f", stage {stage} of {len(plan.stages)}" if stage else "")


def check_cuts(plan: CanaryPlan, teacher: Sized, student: Sized) -> None:
    """Refuse a cut that leaves no layer, before hours go into the students that come before it. Raises InputError.

    Where a card does not say how many layers there are, the cut itself will.
    """
    for variant in plan.variants:
        role, source = ("teacher", teacher) if variant == "self" else ("student", student)
        for init in plan.inits_of(variant):
            if init.build == "layer_drop" and source.layers and init.drop_layers >= source.layers:
                raise InputError(
                    "too_many_layers",
                    f"The {role} has {source.layers} layers, so that {init.drop_layers} cannot be dropped.",
                    "Lower `drop_layers` in the plan.",
                )
