"""Steps 3 and 4: what is run, what it will take, and what the audit will not be able to say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QHBoxLayout, QRadioButton, QVBoxLayout, QWidget

from app import estimates, theme
from app.context import Context, ModelChoice
from app.pages.suites import grouped, own_suites
from app.widgets.basic import button, card, heading, label
from app.widgets.chip import precision
from app.widgets.measure_button import MeasureButton
from app.widgets.power_box import PowerBox
from app.widgets.suite_tree import SuiteTree
from core.errors import ForeshotError
from core.specs import AuditSpec
from core.suites import Suite, list_suites, read_suite
from core.suites.spoken import spoken
from core.types import Role

PRESETS = {
    "quick": "tries known triggers in five places of the prompt and looks for payloads without their trigger; ends "
    "at a known trigger that is proved, else proves the two strongest candidates",
    "standard": "the same with more prompts and controls; proves the four strongest",
    "deep": "still more of each; proves the ten strongest. For the night",
}


class PlanStep(QWidget):
    """The depth of the scan, the suites, and an estimate for each model.

    Signals:
        changed: something else will be run.
    """

    changed = Signal()

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.context = context
        self.suites: dict[str, Suite] = {}
        left, column = card()
        column.addWidget(heading("Scan for triggers"))
        self.presets = QButtonGroup(self)
        for name, words in PRESETS.items():
            choice = QRadioButton(name.capitalize())
            choice.setAccessibleDescription(words)
            choice.setChecked(name == "quick")
            choice.setProperty("preset", name)
            self.presets.addButton(choice)
            column.addWidget(choice)
            line = label(words, size=theme.SMALL, muted=True, wrap=True)
            line.setContentsMargins(24, 0, 0, 4)
            column.addWidget(line)
        self.presets.buttonToggled.connect(lambda _button, on: self.changed.emit() if on else None)
        self.power = PowerBox()
        self.power.currentIndexChanged.connect(lambda _at: self.changed.emit())
        row = QHBoxLayout()
        row.addWidget(label("What would it have found?"))
        row.addWidget(self.power)
        row.addStretch(1)
        column.addLayout(row)
        line = label(
            "canaries are planted in private copies of each scanned model, and scanned alike: then a null has a size",
            size=theme.SMALL,
            muted=True,
            wrap=True,
        )
        line.setContentsMargins(24, 0, 0, 4)
        column.addWidget(line)
        column.addSpacing(8)
        column.addWidget(heading("What it will take"))
        self.cost = label(size=theme.SMALL, wrap=True)
        self.cost.setAccessibleName("Estimate")
        column.addWidget(self.cost)
        self.measure = MeasureButton(context)
        self.measure.changed.connect(self.changed.emit)
        column.addWidget(self.measure, 0, Qt.AlignmentFlag.AlignLeft)
        column.addStretch(1)
        right, column = card()
        column.addWidget(heading("Suites"))
        self.tree = SuiteTree()
        self.tree.ticks_changed.connect(self.changed.emit)
        column.addWidget(self.tree, 1)
        self.words = label(size=theme.SMALL, muted=True, wrap=True)
        column.addWidget(self.words)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(16)
        row.addWidget(left, 1)
        row.addWidget(right, 1)

    def read_suites(self) -> None:
        """The shipped suites and the user's own; one that cannot be read is left out, and the Suites page says why."""
        own: dict[str, Suite] = {}
        for path in sorted(own_suites().glob("*.yaml")):
            try:
                own[str(path)] = read_suite(path)
            except ForeshotError:
                continue
        shipped = {suite.id: suite for suite in list_suites()}
        self.tree.set_suites(grouped(shipped, own))
        self.suites = {**shipped, **own}

    @property
    def preset(self) -> str:
        checked = self.presets.checkedButton()
        return str(checked.property("preset")) if checked is not None else "quick"

    def chosen(self) -> tuple[str, ...]:
        """Ids or files of what is ticked; empty where that is every shipped suite."""
        ticked = self.tree.ticked()
        shipped = {key for key in self.suites if not key.endswith(".yaml")}
        return () if set(ticked) == shipped else ticked

    def missing(self) -> str:
        """Why the audit cannot go on; empty where it can."""
        return "" if not self.suites or self.tree.ticked() else "Tick at least one suite."

    def show_cost(self, models: dict[Role, ModelChoice], in_words: bool) -> list[str]:
        """Show and return the estimate for each model; ``in_words``: suites are read from written answers."""
        picked = [self.suites[key] for key in self.tree.ticked() if key in self.suites]
        read = spoken(picked)
        items = sum(len(suite.items) for suite in picked)
        self.words.setText(
            f"{len(read.suites)} of {len(picked)} can be read from written answers, {len(read.prompts()):,} prompts."
            if in_words
            else f"{len(picked)} suites, {items:,} items a model."
        )
        lines = []
        for role, choice in models.items():
            name = "Model" if len(models) == 1 else role.capitalize()
            parts, rate = [estimates.memory_words(choice, precision(choice))], self.context.rate(choice)
            if role != "baseline":
                scan = estimates.time_words(self.context.runs_dir, choice, self.preset, self.power.number, rate)
                parts.append(f"scan: {scan}" if scan else "")
            if in_words:
                parts.append(
                    f"suites: {len(read.prompts()):,} answers of up to {max(read.prompts().values(), default=0)} tokens"
                )
            else:
                suites = estimates.suite_words(self.context.runs_dir, choice, picked, rate)
                parts.append(f"suites: {suites}" if suites else "")
            lines.append(f"{name} · " + ("; ".join(part for part in parts if part) or "its files are still being read"))
        lines.append("One model is in memory at a time. What is finished is kept when you stop.")
        self.cost.setText("\n\n".join(lines))
        rough = [choice for choice, said in zip(models.values(), lines, strict=False) if estimates.ROUGH in said]
        self.measure.offer(rough[0] if rough else None)
        return lines


class StartStep(QWidget):
    """The audit in words before it begins, and as a command."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.will = label(wrap=True)
        self.takes = label(wrap=True)
        self.wont = label(wrap=True)
        self.command = label(wrap=True)
        self.command.setObjectName("code")
        self.command.setFont(theme.mono_font())
        self.command.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.command.setAccessibleName("The same as a command")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(12)
        for title, words in (
            ("This audit will", self.will),
            ("It will take", self.takes),
            ("It will not be able to say", self.wont),
        ):
            column.addWidget(heading(title))
            column.addWidget(words)
            column.addSpacing(8)
        head = QHBoxLayout()
        head.addWidget(heading("The same as a command"), 1)
        self.copy = button("Copy", self._copy)
        head.addWidget(self.copy)
        column.addLayout(head)
        column.addWidget(self.command)
        column.addStretch(1)

    def show_spec(self, spec: AuditSpec, command: str, suites: int, cost: Sequence[str]) -> None:
        self.will.setText("\n".join(f"• {line}" for line in will(spec, suites)))
        self.takes.setText("\n".join(f"• {line}" for line in cost))
        self.wont.setText("\n".join(f"• {line}" for line in wont(spec)))
        self.command.setText(command)

    def _copy(self) -> None:
        from PySide6.QtGui import QGuiApplication

        QGuiApplication.clipboard().setText(self.command.text())


def will(spec: AuditSpec, suites: int) -> list[str]:
    """What is done, part by part."""
    canaries = f", and {2 * spec.power} canaries in private copies of it" if spec.power else ""
    names = {
        "scan": f"scan the {{}} for triggers ({spec.preset}){canaries}",
        "suite": f"run {suites} suites on the {{}}",
    }
    lines = ["read the files of every model; nothing in them is executed, and no model is changed"]
    for role, kind in spec.parts:
        if kind in names:
            lines.append(names[kind].format(role if spec.student else "model"))
    if spec.student:
        lines.append("try on each model the triggers that were found in another")
    lines.append("put all of it into one scorecard, which opens at the end and can be saved as PDF")
    if spec.teacher_answers:
        lines[1] = f"read {Path(spec.teacher_answers).name} in place of the teacher's answers"
    return lines


def wont(spec: AuditSpec) -> list[str]:
    """The gaps that are known before anything is run."""
    power = [] if spec.power else ["what its scans would have found in these models: no canary is planted"]
    if spec.student is None:
        return ["anything about transfer: there is one model alone", *power]
    lines = power
    if spec.baseline is None:
        lines.append("whether distillation brought a risk: there is no baseline")
    if spec.teacher_answers:
        lines.append("whether the teacher has triggers, and whether the answers are its own")
    answers = msgspec.structs.astuple(spec.pipeline)
    unknown = sum(not answer for answer in answers)
    if unknown:
        lines.append(f"what the pipeline explains: {unknown} of {len(answers)} questions about it are not answered")
    lines.append("that a model is free of backdoors: no scan can")
    return lines
