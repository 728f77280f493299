"""Soft labels as they were read: one token at a time, at any temperature of the grid, exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.runs.folder import RunFolder


@dataclass(frozen=True)
class Expected:
    """One possible next token. ``teacher`` and ``student``: its probability; ``hard``: it is the one that came."""

    text: str
    teacher: float
    student: float
    hard: bool


@dataclass(frozen=True)
class SoftText:
    """A text read by two models.

    Attributes:
        temperatures: the grid; 1 is among them. items: one a token, as ``core.engine.softlabels`` wrote them.
        report: of the run.
    """

    temperatures: tuple[float, ...]
    items: tuple[dict[str, Any], ...]
    report: dict[str, Any]

    @classmethod
    def open(cls, folder: RunFolder) -> SoftText | None:
        """None where the run has no end."""
        report = folder.read_json("report.json")
        if not isinstance(report, dict) or "temperatures" not in report:
            return None
        items = sorted(folder.items(), key=lambda item: int(item["key"]))
        return cls(tuple(report["temperatures"]), tuple(items), report)

    @property
    def one(self) -> int:
        """Place of temperature 1."""
        return self.temperatures.index(1.0)

    def expected(self, token: int, at: int) -> list[Expected]:
        """The tokens kept by name, the likeliest (for either) first."""
        item, temperature = self.items[token], self.temperatures[at]
        sides = [
            [math.exp(logp / temperature - item["log_z"][side][at]) for logp in item[name]]
            for side, name in ((0, "p"), (1, "q"))
        ]
        found = [
            Expected(text, p, q, index == item["id"])
            for index, text, p, q in zip(item["ids"], item["texts"], *sides, strict=True)
        ]
        return sorted(found, key=lambda row: -max(row.teacher, row.student))

    def kl(self, at: int) -> list[float]:
        """Nats of each token, of the whole vocabulary."""
        return [float(item["kl"][at]) for item in self.items]

    def words(self, token: int, at: int, shown: Sequence[Expected]) -> str:
        """What stands under the bars: how much of the probability they hold, and what is measured on all of it."""
        rows, item = self.expected(token, at), self.items[token]
        held = [sum(getattr(row, side) for row in shown) for side in ("teacher", "student")]
        named = [sum(getattr(row, side) for row in rows) for side in ("teacher", "student")]
        entropy = item["entropy"]
        return (
            f"The {len(shown)} tokens shown hold {_percent(held[0])} of the teacher's probability and "
            f"{_percent(held[1])} of the student's; the {len(rows)} kept by name {_percent(named[0])} and "
            f"{_percent(named[1])}. Over all tokens: entropy {entropy[0][at]:.2f} and {entropy[1][at]:.2f} nats, "
            f"KL(teacher‖student) {item['kl'][at]:.3g} nats."
        )


def _percent(share: float) -> str:
    return f"{100 * min(share, 1.0):.1f} %"
