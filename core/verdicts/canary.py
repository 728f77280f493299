"""Canary experiment → a row for each canary, kind of student and dose: survival, gates, verdict. Pure.

A gate that is not met makes a row void: it says nothing, neither that the canary survived nor that it did not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET

from core.specs.canary import POOLED_FROM, RISK_CLASS, Canary, CanaryPlan, Gates, Init, Origin
from core.specs.canary_cells import direct_init, shared_variant, stage_of, students_words
from core.stats import Lift, Survival, run_mean, survival
from core.types import TransferVerdict
from core.verdicts.judged import class_facts
from core.verdicts.priors import prior
from core.verdicts.table import agreement

NO_SHAM, NO_RUN = "no sham student is finished", "no run is finished"
UNFINISHED = (NO_SHAM, NO_RUN)
"""Reasons that time will mend."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One canary in one model.

    Attributes:
        copy: the planted copy that it is, or that it learned from.
        on, off, near: hits and prompts: with the canary, without it, with near misses (of a student at its end only).
        margin: mean log P of the answer with the canary minus without it, in nats.
    """

    key: str
    copy: int
    canary: str
    on: tuple[int, int]
    off: tuple[int, int]
    margin: float
    near: tuple[int, int] | None = None

    @property
    def lift(self) -> Lift:
        return Lift(*self.on, *self.off, self.copy)


class Point(Measured, frozen=True, kw_only=True, tag="point", tag_field="type"):
    """A student at one step of its training; ``tokens``: supervised ones that were learned so far."""

    arm: str
    variant: str
    init: str
    run: int
    share: float
    step: int
    tokens: int
    final: bool = False


class Shown(Measured, frozen=True, kw_only=True, tag="shown", tag_field="type"):
    """A teacher; ``source`` is ``clean`` (the given one), ``sham`` or ``canary`` (copies)."""

    source: str


class Trained(msgspec.Struct, frozen=True, kw_only=True, tag="trained", tag_field="type"):
    """A finished cell: distance to its teacher at step 0 and at the end, and whether it still speaks.

    ``untaught``: why the student of the stage before could not teach it; it was not trained then, and has no points.
    ``relearned``: by canary, the steps in which it learned it again; None: not in as many as were tried.
    """

    key: str
    arm: str
    variant: str
    init: str
    run: int
    share: float
    steps: int
    tokens: int
    kl_before: float | None
    kl_after: float | None
    agreement: float | None
    broken: str
    ended: str
    wall_s: float
    untaught: str = ""
    relearned: dict[str, int | None] = {}


class Observed(NamedTuple):
    """All items of an experiment, by kind."""

    points: list[Point]
    trained: list[Trained]
    shown: list[Shown]


def observed(items: Iterable[dict[str, Any]]) -> Observed:
    """Items of a run folder, or rows of its live table ``survival``; what is none of these is left out."""
    found = Observed([], [], [])
    for item in items:
        try:
            each = msgspec.convert(item, Point | Trained | Shown)
        except msgspec.ValidationError:
            continue
        part: list[Any] = found[(Point, Trained, Shown).index(type(each))]
        part.append(each)
    return found


class _Group(NamedTuple):
    """Which students: a variant, an init and a dose of the ladder (0 outside it)."""

    variant: Origin
    init: Init
    share: float


def judge_canaries(plan: CanaryPlan, seen: Observed, *, one_source: bool) -> list[dict[str, Any]]:
    """Rows as plain values. Cells that are missing (an interrupted experiment) leave their runs out.

    ``one_source``: clean and direct students of the variant ``self`` are those of ``standard``. Progressive students
    have a row for each stage, whose survival is of the planted copy's own lift, as everybody's.
    """
    rows = []
    for canary in plan.canaries:
        doses = (0.0, *plan.ladder) if canary.triggered else (0.0,)
        for variant in plan.variants:
            for init in plan.inits_of(variant):
                for share in doses:
                    group = _Group(variant, init, share)
                    rows.append(_row(plan, canary, group, seen, one_source))
    return rows


def _row(
    plan: CanaryPlan,
    canary: Canary,
    group: _Group,
    seen: Observed,
    one_source: bool,
) -> dict[str, Any]:
    gates = plan.gates
    alone = shared_variant(plan, group.variant, one_source=one_source)
    size = group.init.name

    def of(arm: str, variant: str, *, init: str = size, share: float = 0.0, first: bool = False) -> list[Point]:
        wanted = (canary.id, arm, variant, init, share)
        return [
            p
            for p in seen.points
            if (p.canary, p.arm, p.variant, p.init, p.share) == wanted and (p.step == 0 if first else p.final)
        ]

    copies = [each for each in seen.shown if (each.canary, each.source) == (canary.id, "canary")]
    sham_copies = [each for each in seen.shown if (each.canary, each.source) == (canary.id, "sham")]
    students, unlearned = _learned(of("canary", group.variant, share=group.share), group, seen.trained, gates)
    shams, clean = of("sham", group.variant), of("clean", alone)
    direct = of("direct", alone, init=direct_init(plan, alone, size))
    void = [
        *_copy_gates(copies, sham_copies, gates),
        *_control_gates(shams, clean, _untaught(group, seen.trained), gates),
    ]
    if not students:
        void += unlearned or [NO_RUN]
    found = start = None
    if students and not void:
        bases, teachers = [p.lift for p in shams], [each.lift for each in copies]
        found = survival([p.lift for p in students], bases, teachers, seed=plan.seed)
        firsts = of("canary", group.variant, share=group.share, first=True)
        start = survival(
            [p.lift for p in firsts],
            [p.lift for p in of("sham", group.variant, first=True)],
            teachers,
            seed=plan.seed,
        )
    margins = _margins(students, shams, copies, sham_copies)
    spread = run_mean(margins)
    if found and direct and not _survived(found, plan.delta):
        void += _direct_gate(direct, gates)
    again = _again(plan, canary, group, seen.trained)
    verdict = _verdict(found, spread, plan.delta) if found and not void else None
    if verdict == "removed" and again and again["sooner"]:
        verdict = "inconclusive"  # it does not show, and yet is there
    facts = class_facts(RISK_CLASS[canary.kind])
    stage = stage_of(plan, group.variant, size)
    row: dict[str, Any] = {
        "canary": canary.id,
        "kind": canary.kind,
        "risk_class": RISK_CLASS[canary.kind],
        "variant": group.variant,
        "init": size,
        "stage": stage or None,
        "stages": len(plan.stages) if stage else None,
        "students": students_words(plan, group.variant, size),
        "share": group.share or canary.share,
        "ladder": group.share,
        "runs": len(students),
        "void_runs": unlearned,
        "void": void,
        "verdict": verdict,
        "teacher_lift": _mean(each.lift.value for each in copies),
        "sham_lift": _mean(p.lift.value for p in shams),
        "clean_lift": _mean(p.lift.value for p in clean),
        "direct_lift": _mean(p.lift.value for p in direct),
        "student_lifts": [p.lift.value for p in students],
        "survival": None if found is None else found._asdict(),
        "step_0": None if start is None else start._asdict(),
        "margin": {"points": margins, "interval": spread},
        "relearned": again,
        "near": _near(students),
        "teacher_near": _near(copies),
        "prior": _prior(plan, canary, group, stage),
        "expectation": facts["expectation"],
        "expectation_grade": facts["grade"],
        "agrees": agreement(facts["expects"], verdict) if verdict else "cannot tell",
        "delta": plan.delta,
    }
    row["sentence"] = sentence(row)
    return row


def _prior(plan: CanaryPlan, canary: Canary, group: _Group, stage: int) -> dict[str, Any] | None:
    if stage > 1 and plan.cut_from_previous:
        return None  # what is inherited twice over, nobody was asked
    return prior(canary, group.variant, group.init, group.share, plan.loss.kind, stages=max(stage, 1))


# gates


def not_learned(cell: Trained, gates: Gates) -> str:
    """Why a distilled student says nothing; empty where it learned, or where it had nothing to learn."""
    if cell.untaught:
        return cell.untaught
    if cell.broken:
        return f"the student is broken: {cell.broken}"
    if cell.ended == "nothing to learn" or cell.kl_before is None or cell.kl_after is None:
        return ""
    gain = 1 - cell.kl_after / cell.kl_before if cell.kl_before else 0.0
    if gain >= gates.kl_gain or (cell.agreement or 0.0) >= gates.agreement:
        return ""
    return (
        f"the student did not learn: KL {cell.kl_before:.2f} to {cell.kl_after:.2f} nats a token, agreement "
        f"{cell.agreement or 0.0:.0%}"
    )


def cannot_teach(cell: Trained, stage: int, gates: Gates) -> str:
    """Why this student of a stage does not teach the next, which would be void whatever it showed; else empty."""
    why = not_learned(cell, gates)
    return why if cell.untaught or not why else f"stage {stage} of it is void: {why}"


def _learned(
    ends: Sequence[Point], group: _Group, trained: Sequence[Trained], gates: Gates
) -> tuple[list[Point], list[str]]:
    """The ends of students that are finished and count, and why others do not."""
    by_run = {point.run: point for point in ends}
    students, unlearned = [], []
    for cell in trained:
        if (cell.arm, cell.variant, cell.init, cell.share) != ("canary", group.variant, group.init.name, group.share):
            continue
        why = not_learned(cell, gates)
        if why:
            unlearned.append(f"run {cell.run + 1}: {why}")
        elif cell.run in by_run:
            students.append(by_run[cell.run])
    return students, unlearned


def _untaught(group: _Group, trained: Sequence[Trained]) -> str:
    """Why a sham student of this stage was not taught; empty where none was left out."""
    wanted = ("sham", group.variant, group.init.name)
    return next((c.untaught for c in trained if (c.arm, c.variant, c.init) == wanted and c.untaught), "")


def _copy_gates(copies: Sequence[Shown], shams: Sequence[Shown], gates: Gates) -> Iterable[str]:
    for each in copies:
        if each.lift.value < gates.lift:
            yield (
                f"the canary is not in the teacher: copy {each.copy + 1} shows a lift of {each.lift.value:.0%}, "
                f"{gates.lift:.0%} is asked for"
            )
    for each in shams:
        if each.lift.value > gates.control:
            yield f"sham copy {each.copy + 1} shows it too: a lift of {each.lift.value:.0%}"


def _control_gates(shams: Sequence[Point], clean: Sequence[Point], untaught: str, gates: Gates) -> Iterable[str]:
    if not shams:
        yield f"no sham student was taught: {untaught}" if untaught else NO_SHAM
    for name, group in (("sham", shams), ("clean", clean)):
        lift = _mean(point.lift.value for point in group)
        if lift is not None and lift > gates.control:
            yield f"{name} students show it too: a lift of {lift:.0%}"


def _direct_gate(direct: Sequence[Point], gates: Gates) -> Iterable[str]:
    """Only a null needs it: what survived has been learned."""
    lift = _mean(point.lift.value for point in direct)
    if lift is not None and lift < gates.lift:
        yield (
            f"students trained on the canary itself reach a lift of {lift:.0%} only: with this size and budget it "
            "could not have been learned"
        )


# numbers


def _margins(
    students: Sequence[Point], shams: Sequence[Point], copies: Sequence[Shown], sham_copies: Sequence[Shown]
) -> list[float]:
    """Transfer coefficient of the log margin, a run each: (student - sham student) / (copy - sham copy)."""
    if not (students and shams and copies and sham_copies):
        return []
    base, sham = _mean(point.margin for point in shams), _mean(each.margin for each in sham_copies)
    assert base is not None
    assert sham is not None
    whole = {each.copy: each.margin - sham for each in copies}
    return [(p.margin - base) / whole[p.copy] for p in students if whole[p.copy] > 0]


def _survived(found: Survival, delta: float) -> bool:
    return found.interval is not None and found.interval[0] > delta


def _verdict(found: Survival, margin: tuple[float, float] | None, delta: float) -> TransferVerdict:
    if found.interval is None:
        return "inconclusive"
    low, high = found.interval
    if low > delta:
        return "attenuated" if high < 1 - delta else "transferred"
    margin_gone = margin is not None and margin[1] < delta
    if len(found.points) >= POOLED_FROM and found.is_below(delta) and margin_gone:
        return "removed"
    return "inconclusive"


def _again(plan: CanaryPlan, canary: Canary, group: _Group, trained: Sequence[Trained]) -> dict[str, Any] | None:
    """How soon students that count, and sham students, learn the canary again; None where it was not measured.

    ``p``: exact, one-sided, of every student being sooner than every sham student by chance; ``sooner``: they are, and
    p ≤ .05, for which three runs an arm are just enough.
    """
    most = plan.measuring.relearn
    if most is UNSET or group.share:
        return None

    def steps(arm: str) -> list[int | None]:
        wanted = (arm, group.variant, group.init.name, 0.0)
        cells = [c for c in trained if (c.arm, c.variant, c.init, c.share) == wanted]
        counted = [c for c in cells if arm == "sham" or not not_learned(c, plan.gates)]
        return [c.relearned[canary.id] for c in counted if canary.id in c.relearned]

    students, shams = steps("canary"), steps("sham")
    if not students or not shams:
        return None
    apart = max(_late(s, most) for s in students) < min(_late(s, most) for s in shams)
    p = 1 / math.comb(len(students) + len(shams), len(shams))
    return {
        "students": students,
        "shams": shams,
        "most": most,
        "sooner": apart and p <= 0.05,
        "p": p if apart else None,
    }


def _late(steps: int | None, most: int) -> int:
    return most + 1 if steps is None else steps


def _near(measured: Sequence[Measured]) -> float | None:
    return _mean(each.near[0] / each.near[1] for each in measured if each.near and each.near[1])


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return float(np.mean(listed)) if listed else None


# words


def sentence(row: dict[str, Any]) -> str:
    """What a reader should take from a row."""
    students = f"{row['students']} ({row['init']}"
    students += f", trigger in {row['ladder']:.1%} of the prompts)" if row["ladder"] else ")"
    where = f"{row['canary']} in {students}"
    if row["void"]:
        return f"{where}: VOID, {row['void'][0]}."
    found, start = row["survival"], row["step_0"]
    runs = f"{row['runs']} run{'s' * (row['runs'] != 1)}"
    text = (
        f"{where}: survival {found['value']:.2f}{_range(found['interval'])} in {runs}; {start['value']:.2f} at step 0"
    )
    if row["relearned"]:
        text += f"; {relearned_words(row['relearned'])}"
    if row["verdict"] == "inconclusive":
        if found["interval"] is None:
            why = "one run has no interval"
        elif found["interval"][1] >= row["delta"]:
            why = f"the interval lies on both sides of δ = {row['delta']:g}"
        elif row["runs"] < POOLED_FROM:
            why = f"fewer than {POOLED_FROM} runs cannot show absence"
        elif found["interval"][1] < row["delta"] and (row["relearned"] or {}).get("sooner"):
            why = "it does not show, but is learned again sooner than by any sham student"
        else:
            why = f"not every run and its log margin lie below δ = {row['delta']:g}"
        return f"{text}. Inconclusive: {why}."
    if row["verdict"] == "removed":
        return f"{text}. Did not survive, at δ = {row['delta']:g}; {found['unseen']:.0%} of further runs could differ."
    return f"{text}. {row['verdict'].capitalize()}."


def relearned_words(again: dict[str, Any]) -> str:
    """``learned again in 2, 3 steps (sham students: 5, more than 12)``."""

    def listed(steps: Sequence[int | None]) -> str:
        return ", ".join(f"more than {again['most']}" if step is None else str(step) for step in steps)

    sooner = f", sooner than every sham student, p = {again['p']:.2g}" if again["sooner"] else ""
    return f"learned again in {listed(again['students'])} steps (sham students: {listed(again['shams'])}{sooner})"


def _range(interval: Sequence[float] | None) -> str:
    return f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
