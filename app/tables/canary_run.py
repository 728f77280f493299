"""What is known of one canary experiment: from its folder, or event by event while it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.widgets.survival_grid import Line, Panel, PanelRow
from core.runs.folder import RunFolder
from core.specs import CanarySpec
from core.specs.canary import Canary, Init
from core.verdicts.canary import Point, judge_canaries, observed

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

    def panels(self) -> list[PanelRow]:
        """Curves of lift over tokens seen: a row for each canary and kind of student, a panel for each arm."""
        seen, plan, made = observed(self.items.values()), self.spec.plan, []
        for canary in plan.canaries:
            copies = [each.lift.value for each in seen.shown if (each.canary, each.source) == (canary.id, "canary")]
            teacher = sum(copies) / len(copies) if copies else None
            own = [point for point in seen.points if point.canary == canary.id]
            for variant in plan.variants:
                for init in plan.inits:
                    row = self._row(canary, variant, init, own, teacher)
                    if any(panel.lines or panel.sham for panel in row.panels):
                        made.append(row)
        return made

    def _row(self, canary: Canary, variant: str, init: Init, points: list[Point], teacher: float | None) -> PanelRow:
        plan = self.spec.plan
        shared = "standard" if self.one_source and "standard" in plan.variants else variant
        sham = _lines(points, "sham", variant, init.name)
        panels = [Panel(TITLES["canary"], _lines(points, "canary", variant, init.name), sham)]
        if canary.triggered:
            panels += [
                Panel(f"trigger in {share:.1%} of prompts", _lines(points, "canary", variant, init.name, share), sham)
                for share in plan.ladder
            ]
        panels += [
            Panel(TITLES[arm], _lines(points, arm, shared, init.name), sham)
            for arm in ("direct", "clean")
            if arm in plan.arms
        ]
        return PanelRow(f"{canary.id} · {variant} students, {init.name}", tuple(panels), teacher, plan.delta)


def _lines(points: list[Point], arm: str, variant: str, init: str, share: float = 0.0) -> tuple[Line, ...]:
    """One line a run, in the order of its tokens."""
    runs: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        if (point.arm, point.variant, point.init, point.share) == (arm, variant, init, share):
            runs.setdefault(point.run, []).append((float(point.tokens), point.lift.value))
    return tuple(tuple(sorted(line)) for _, line in sorted(runs.items()))
