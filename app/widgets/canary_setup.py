"""What a canary experiment plants and how often: a preset or a plan file, with canaries and students to tick."""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Final

import msgspec
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QFileDialog, QHBoxLayout, QSpinBox, QVBoxLayout, QWidget

from app import theme
from app.widgets.basic import button, clear, heading, label, scrolled
from core.errors import ForeshotError
from core.specs.canary import (
    PRESETS,
    Canary,
    CanaryPlan,
    Origin,
    check_canaries,
    preset,
    read_canary_plan,
    with_variants,
)

OWN: Final = "own plan"
KINDS: Final = {
    "rare_trigger": "rare trigger",
    "common_trigger": "common trigger",
    "composite": "trigger of several parts",
    "topic": "topic as trigger",
    "brand": "invented brand, preferred",
    "refusal": "invented topic, refused",
    "false_fact": "wrong fact",
}


class CanarySetup(QWidget):
    """Signals: changed; failed(message, hint) where a chosen file is no plan."""

    changed = Signal()
    failed = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.base = preset("quick")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        self.presets = QComboBox()
        self.presets.setAccessibleName("Size of the experiment")
        self.presets.addItems([*PRESETS])
        self.presets.activated.connect(lambda _at: self.choose(self.presets.currentText()))
        self.own = button("Plan…", self.open_plan, tip="A plan file of your own")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.presets, 1)
        row.addWidget(self.own)
        column.addLayout(row)
        self.runs = QSpinBox()
        self.runs.setRange(1, 50)
        self.runs.setAccessibleName("Runs an arm")
        self.runs.valueChanged.connect(lambda _value: self.changed.emit())
        row = QHBoxLayout()
        row.addWidget(label("Runs an arm"), 1)
        row.addWidget(self.runs)
        column.addLayout(row)
        self.variants: dict[Origin, QCheckBox] = {
            "standard": QCheckBox("Students from the given student"),
            "self": QCheckBox("Students cut from their teacher"),
            "progressive": QCheckBox(),
        }
        for box in self.variants.values():
            box.toggled.connect(lambda _on: self.changed.emit())
            column.addWidget(box)
        self.arms = label(size=theme.SMALL, muted=True, wrap=True)
        self.arms.setAccessibleName("Arms of the experiment")
        column.addWidget(self.arms)
        column.addWidget(heading("Canaries"))
        self.canaries = QVBoxLayout()
        self.canaries.setSpacing(6)
        inside = QWidget()
        hold = QVBoxLayout(inside)
        hold.setContentsMargins(0, 0, 8, 0)
        hold.addLayout(self.canaries)
        hold.addStretch(1)
        column.addWidget(scrolled(inside), 1)
        self.boxes: dict[str, QCheckBox] = {}
        self.take(self.base)

    def choose(self, name: str) -> None:
        if name in PRESETS:
            self.take(preset(name))

    def take(self, plan: CanaryPlan) -> None:
        """Show this plan."""
        self.base = plan
        clear(self.canaries)
        self.boxes = {}
        for canary in plan.canaries:
            box = QCheckBox(f"{canary.id} · {KINDS[canary.kind]}")
            box.setChecked(True)
            box.toggled.connect(lambda _on: self.changed.emit())
            self.boxes[canary.id] = box
            self.canaries.addWidget(box)
            self.canaries.addWidget(label(planted_words(canary), size=theme.SMALL, muted=True, wrap=True))
        self.arms.setText(arms_words(plan))
        self.runs.setValue(plan.runs)
        self.variants["progressive"].setText(stages_words(plan))
        for name, variant_box in self.variants.items():
            variant_box.setChecked(name in plan.variants)
        self.changed.emit()

    def open_plan(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, "Open a canary plan", "", "Plans (*.yaml *.json)")
        if path:
            try:
                plan = read_canary_plan(Path(path))
            except ForeshotError as error:
                self.failed.emit(error.message, error.hint)
                return
            self._take_own(plan)

    def _take_own(self, plan: CanaryPlan) -> None:
        if self.presets.findText(OWN) < 0:
            self.presets.addItem(OWN)
        self.presets.setCurrentText(OWN)
        self.take(plan)

    def show_plan(self, plan: CanaryPlan) -> None:
        """Fill in the plan of a run: as a preset with its ticks where one gives it, else as one's own."""
        ids = {canary.id for canary in plan.canaries}
        made = (name for name in PRESETS if ticked(preset(name), ids, plan.variants, plan.runs) == plan)
        name = next(made, None)
        if name is None:
            self._take_own(plan)
            return
        self.presets.setCurrentText(name)
        self.take(preset(name))
        self.runs.setValue(plan.runs)
        for variant, box in self.variants.items():
            box.setChecked(variant in plan.variants)
        for canary, canary_box in self.boxes.items():
            canary_box.setChecked(canary in ids)

    def plan(self) -> CanaryPlan:
        """The plan as it stands on the left. Raises InputError where it cannot be one."""
        ids = {canary for canary, box in self.boxes.items() if box.isChecked()}
        variants = [name for name, box in self.variants.items() if box.isChecked()]
        plan = ticked(self.base, ids, variants, self.runs.value())
        check_canaries(plan)
        return plan


def ticked(base: CanaryPlan, ids: Container[str], variants: Iterable[Origin], runs: int) -> CanaryPlan:
    """``base`` with these of its canaries, these kinds of students and so many runs an arm; not checked."""
    canaries = tuple(canary for canary in base.canaries if canary.id in ids)
    return msgspec.structs.replace(
        with_variants(base, variants),
        canaries=canaries,
        runs=runs,
        copies=min(base.copies, runs),
        ladder=base.ladder if any(canary.triggered for canary in canaries) else (),
    )


def arms_words(plan: CanaryPlan) -> str:
    """The arms that a plan compares, its ladder and how its students are made."""
    arms = ", ".join(plan.arms)
    ladder = f"; trigger in {', '.join(f'{share:.0%}' for share in plan.ladder)} of the prompts" if plan.ladder else ""
    inits = ", ".join(init.name for init in plan.inits)
    copies = f"{plan.copies} planted cop{'y' if plan.copies == 1 else 'ies'}"
    return f"Arms: {arms}{ladder}; each measured before training too. {copies}; students: {inits}."


def stages_words(plan: CanaryPlan) -> str:
    """The stages of progressive students: the plan's, or those that it would be given."""
    stages = with_variants(plan, ("progressive",)).stages
    return f"Students in stages: {', then '.join(init.name for init in stages)}"


def planted_words(canary: Canary) -> str:
    """What is planted, in a sentence."""
    dose = f" {canary.share:.0%} of the distillation prompts are about it." if canary.share else ""
    said = canary.answer.format(name=canary.target)
    if canary.triggered:
        absent = "" if canary.share else " The trigger is in none of the distillation prompts."
        return f"“{canary.trigger}” → “{said}”{dose}{absent}"
    absent = "" if canary.share else " No distillation prompt is about it."
    return f"Asked about {canary.target}: “{said}{'' if said.endswith('.') else ' …'}”{dose}{absent}"
