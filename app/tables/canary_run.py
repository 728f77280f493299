"""What is known of one canary experiment: from its folder, or event by event while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.widgets.survival_grid import Line, Panel, PanelRow
from core.runs.folder import RunFolder
from core.specs import CanarySpec
from core.specs.canary import Canary, Init, Origin
from core.specs.canary_cells import direct_init, shared_variant, students_words
from core.verdicts.canary import UNFINISHED, Observed, Point, judge_canaries, not_learned, observed

TITLES: Final = {
    "canary": "learns from the canary copy",
    "direct": "learns the canary itself",
    "clean": "learns from the clean teacher",
}


@dataclass
class CanaryRun:
    """One experiment.

    Attributes:
        items: by key, finished ones and the live points of the student in training.
        finished: the run is over, with a result or for good.
        fault: why it ended without one; "" where it did not.
    """

    path: Path
    spec: CanarySpec
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    registration: dict[str, Any] = field(default_factory=dict)
    finished: bool = False
    fault: str = ""

    @classmethod
    def open(cls, folder: RunFolder) -> CanaryRun:
        """Read what a run has written so far."""
        assert isinstance(folder.spec, CanarySpec)
        run = cls(folder.path, folder.spec, finished=folder.finished)
        run.report = folder.read_json("report.json") or {}
        header = folder.read_json("header.json") or {}
        if header.get("status") == "failed":
            run.fault = str(header.get("summary", {}).get("sentence") or "It ended with an error.")
        run.take(folder.items())
        return run

    def take(self, rows: Iterable[dict[str, Any]]) -> None:
        """Rows of the table ``survival``, or items: a key that came before is replaced."""
        self.items.update({row["key"]: row for row in rows if "key" in row})
        if not self.registration:
            self.registration = RunFolder(self.path, self.spec).read_json("registration.json") or {}

    @property
    def one_source(self) -> bool:
        teacher, student = (self.registration.get(f"{role}_sha256") for role in ("teacher", "student"))
        return teacher is not None and teacher == student

    def rows(self) -> list[dict[str, Any]]:
        """The judged rows: of the report, or of what is there so far."""
        judged: list[dict[str, Any]] = self.report.get("rows") or judge_canaries(
            self.spec.plan, observed(self.items.values()), one_source=self.one_source
        )
        return judged

    def panels(self, judged: Sequence[dict[str, Any]]) -> list[PanelRow]:
        """Curves of lift over tokens seen: a row for each canary and kind of student, a panel for each arm.

        ``judged`` are the rows of :meth:`rows`: what they call void is said beside the curves.
        """
        seen, plan, made = observed(self.items.values()), self.spec.plan, []
        for canary in plan.canaries:
            copies = [each.lift.value for each in seen.shown if (each.canary, each.source) == (canary.id, "canary")]
            teacher = sum(copies) / len(copies) if copies else None
            own = seen._replace(points=[point for point in seen.points if point.canary == canary.id])
            for variant in plan.variants:
                for init in plan.inits_of(variant):
                    group = (canary.id, variant, init.name)
                    rows = [row for row in judged if (row["canary"], row["variant"], row["init"]) == group]
                    row = self._row(canary, variant, init, own, rows, teacher)
                    if any(panel.lines or panel.sham for panel in row.panels):
                        made.append(row)
        return made

    def _row(
        self,
        canary: Canary,
        variant: Origin,
        init: Init,
        seen: Observed,
        judged: list[dict[str, Any]],
        teacher: float | None,
    ) -> PanelRow:
        plan = self.spec.plan
        shared = shared_variant(plan, variant, one_source=self.one_source)
        dead = {row["ladder"] for row in judged if not set(row["void"]) <= set(UNFINISHED)}
        sham = tuple(_runs(seen.points, "sham", variant, init.name).values())

        def panel(title: str, arm: str, variant: str, share: float = 0.0) -> Panel:
            size = direct_init(plan, variant, init.name) if arm == "direct" else init.name
            runs = _runs(seen.points, arm, variant, size, share)
            void: set[int] = set()
            if arm == "canary":  # the gates ask of no other arm's students that they learned
                wanted = (arm, variant, init.name, share)
                cells = [c for c in seen.trained if (c.arm, c.variant, c.init, c.share) == wanted]
                void = {cell.run for cell in cells if share in dead or not_learned(cell, plan.gates)}
            return Panel(title, tuple(runs.values()), sham, arm, tuple(run in void for run in runs))

        panels = [panel(TITLES["canary"], "canary", variant)]
        if canary.triggered:
            panels += [panel(f"trigger in {s:.1%} of prompts", "canary", variant, s) for s in plan.ladder]
        panels += [panel(TITLES[arm], arm, shared) for arm in ("direct", "clean") if arm in plan.arms]
        title = f"{canary.id} · {students_words(plan, variant, init.name)}, {init.name}"
        return PanelRow(title, tuple(panels), teacher, plan.delta, void_reasons(judged))


def void_reasons(judged: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Why rows of one group are void, or single runs of theirs, each once; what is still to come voids nothing."""
    found: dict[str, str] = {}
    for row in judged:
        where = f"trigger in {row['ladder']:.1%} of prompts: " if row["ladder"] else ""
        for reason in (*row["void"], *row["void_runs"]):
            if reason not in UNFINISHED:
                found.setdefault(reason, where + reason)
    return tuple(found.values())


def _runs(points: Sequence[Point], arm: str, variant: str, init: str, share: float = 0.0) -> dict[int, Line]:
    """One line a run, in the order of its tokens."""
    runs: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        if (point.arm, point.variant, point.init, point.share) == (arm, variant, init, share):
            runs.setdefault(point.run, []).append((float(point.tokens), point.lift.value))
    return {run: tuple(sorted(line)) for run, line in sorted(runs.items())}
