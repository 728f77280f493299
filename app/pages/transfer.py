"""Transfer: set up a canary experiment with its cost before it starts, and see live what of each canary survives."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSpinBox,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.context import Context, ModelChoice
from app.pages.base import Page
from app.tables.canary_run import CanaryRun
from app.widgets.basic import button, card, clear, heading, label
from app.widgets.survival_grid import SurvivalGrid
from core.errors import ForeshotError
from core.runs.events import Event, Progress, Samples
from core.runs.folder import RunFolder, write_atomic
from core.specs import CanarySpec, LoadOptions
from core.specs.canary import (
    POOLED_FROM,
    PRESETS,
    Canary,
    CanaryPlan,
    check_canaries,
    preset,
    read_canary_plan,
    write_canary_plan,
)
from core.specs.canary_cost import cost

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


class TransferPage(Page):
    name = "transfer"
    title = "Transfer"
    icon = "transfer"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.base = preset("quick")
        self.run: CanaryRun | None = None
        self.run_id = ""
        self.progress = ""
        self._build()
        self._late = QTimer(self)
        self._late.setSingleShot(True)
        self._late.setInterval(200)
        self._late.timeout.connect(self._show_run)
        if context.reader is not None:
            context.reader.card_ready.connect(lambda _ref: self._show_setup())
        self._take_plan(self.base)
        self._show_run()

    # building

    def _build(self) -> None:
        left, column = card()
        left.setFixedWidth(404)
        column.addWidget(heading("Canary experiment"))
        column.addWidget(
            label(
                "Plants harmless canaries in a private copy of your teacher, distils students from it, and measures "
                "what of them the students show. Copies are deleted at the end; your models are never changed.",
                size=theme.SMALL,
                muted=True,
                wrap=True,
            )
        )
        self.presets = QComboBox()
        self.presets.setAccessibleName("Size of the experiment")
        self.presets.addItems([*PRESETS])
        self.presets.activated.connect(lambda _at: self._choose(self.presets.currentText()))
        self.own = button("Plan…", self.open_plan, tip="A plan file of your own")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.presets, 1)
        row.addWidget(self.own)
        column.addLayout(row)
        self.runs = QSpinBox()
        self.runs.setRange(1, 50)
        self.runs.setAccessibleName("Runs an arm")
        self.runs.valueChanged.connect(lambda _value: self._show_setup())
        row = QHBoxLayout()
        row.addWidget(label("Runs an arm"), 1)
        row.addWidget(self.runs)
        column.addLayout(row)
        self.variants = {
            "standard": QCheckBox("Students from the given student"),
            "self": QCheckBox("Students cut from their teacher"),
        }
        for box in self.variants.values():
            box.toggled.connect(lambda _on: self._show_setup())
            column.addWidget(box)
        column.addWidget(heading("Canaries"))
        self.canaries = QVBoxLayout()
        self.canaries.setSpacing(6)
        inside = QWidget()
        inside.setObjectName("page")
        hold = QVBoxLayout(inside)
        hold.setContentsMargins(0, 0, 8, 0)
        hold.addLayout(self.canaries)
        hold.addStretch(1)
        column.addWidget(_scroll(inside), 1)
        self.boxes: dict[str, QCheckBox] = {}
        self.need = label(size=theme.SMALL, muted=True, wrap=True)
        self.need.setAccessibleName("Cost of the experiment")
        column.addWidget(self.need)
        self.start = button("Start the experiment", self.start_run, primary=True)
        self.save = button("Save plan…", self.save_plan, tip="The same plan for the command line: canary --plan PLAN")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.start, 1)
        row.addWidget(self.save)
        column.addLayout(row)

        top, column = card()
        self.state = label(wrap=True)
        self.state.setAccessibleName("State of the experiment")
        self.cancel = button("Cancel", lambda: self.context.cancel(self.run_id), tip="Finished students are kept")
        self.resume = button("Resume", self.resume_run, tip="Goes on with the next student")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.state, 1)
        row.addWidget(self.resume, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.cancel, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row)
        self.legend = label(
            "Lift (with the canary − without it) over supervised tokens, a line a run · grey: sham · dashed: the "
            "planted copy · band: up to δ of it, counted as gone",
            size=theme.SMALL,
            muted=True,
            wrap=True,
        )
        column.addWidget(self.legend)
        self.grid = SurvivalGrid()
        self.grid.setObjectName("page")
        self.plots = _scroll(self.grid)
        column.addWidget(self.plots, 1)
        self.empty = label(size=theme.LEAD, muted=True, wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.empty, 1)

        self.below, column = card()
        column.addWidget(heading("What survived"))
        self.results = QVBoxLayout()
        self.results.setSpacing(12)
        inside = QWidget()
        inside.setObjectName("page")
        hold = QVBoxLayout(inside)
        hold.setContentsMargins(0, 0, 8, 0)
        hold.addLayout(self.results)
        hold.addStretch(1)
        column.addWidget(_scroll(inside), 1)

        right = QSplitter(Qt.Orientation.Vertical)
        right.setHandleWidth(12)
        right.setChildrenCollapsible(False)
        right.addWidget(top)
        right.addWidget(self.below)
        right.setSizes([500, 260])
        outer = QHBoxLayout(self)
        outer.setContentsMargins(20, 16, 20, 16)
        outer.setSpacing(12)
        outer.addWidget(left)
        outer.addWidget(right, 1)

    # the plan

    def _choose(self, name: str) -> None:
        if name in PRESETS:
            self._take_plan(preset(name))

    def _take_plan(self, plan: CanaryPlan) -> None:
        self.base = plan
        clear(self.canaries)
        self.boxes = {}
        for canary in plan.canaries:
            box = QCheckBox(f"{canary.id} · {KINDS[canary.kind]}")
            box.setChecked(True)
            box.toggled.connect(lambda _on: self._show_setup())
            self.boxes[canary.id] = box
            self.canaries.addWidget(box)
            self.canaries.addWidget(label(planted_words(canary), size=theme.SMALL, muted=True, wrap=True))
        self.runs.setValue(plan.runs)
        for name, variant_box in self.variants.items():
            variant_box.setChecked(name in plan.variants)
        self._show_setup()

    def open_plan(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, "Open a canary plan", "", "Plans (*.yaml *.json)")
        if path:
            try:
                plan = read_canary_plan(Path(path))
            except ForeshotError as error:
                self.context.show_error(error.message, error.hint)
                return
            if self.presets.findText(OWN) < 0:
                self.presets.addItem(OWN)
            self.presets.setCurrentText(OWN)
            self._take_plan(plan)

    def plan(self) -> CanaryPlan:
        """The plan as it stands on the left. Raises InputError where it cannot be one."""
        runs = self.runs.value()
        plan = msgspec.structs.replace(
            self.base,
            canaries=tuple(canary for canary in self.base.canaries if self.boxes[canary.id].isChecked()),
            variants=tuple(name for name, box in self.variants.items() if box.isChecked()),
            runs=runs,
            copies=min(self.base.copies, runs),
        )
        if not any(canary.triggered for canary in plan.canaries):
            plan = msgspec.structs.replace(plan, ladder=())
        check_canaries(plan)
        return plan

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        self._show_setup()

    def _show_setup(self) -> None:
        """The cost, or what is missing."""
        teacher, student = self.context.teacher, self.context.student
        self.start.setEnabled(False)
        try:
            plan = self.plan()
        except ForeshotError as error:
            self.save.setEnabled(False)
            self.need.setText(f"{error.message} {error.hint}")
            return
        self.save.setEnabled(True)
        if teacher is None or student is None:
            missing = "teacher" if teacher is None else "student"
            self.need.setText(f"Open a {missing} first: drop its folder on the window.")
            return
        few = f"{plan.runs} runs show points; absence needs {POOLED_FROM}." if plan.runs < POOLED_FROM else ""
        if teacher.card is None or student.card is None:
            self.need.setText(f"Reading the files of the pair. {few}")
        else:
            self.need.setText("\n".join([*cost(plan, teacher.card, student.card).lines(), *([few] if few else [])]))
        self.start.setEnabled(not self._busy())

    def start_run(self) -> None:
        """Queue the experiment."""
        teacher, student = self.context.teacher, self.context.student
        if teacher is None or student is None:
            return
        spec = CanarySpec(
            teacher=str(teacher.ref),
            student=str(student.ref),
            plan=self.plan(),
            teacher_load=teacher.load,
            student_load=LoadOptions(device=student.load.device, dtype="fp32", force=student.load.force),
        )
        run_id = self.context.submit(spec)
        if run_id:
            self._follow(run_id)

    def save_plan(self) -> None:
        path, _kind = QFileDialog.getSaveFileName(self, "Save the plan", "canary.yaml", "Plans (*.yaml)")
        if path:
            try:
                write_atomic(Path(path), write_canary_plan(self.plan()))
            except ForeshotError as error:
                self.context.show_error(error.message, error.hint)

    # following a run

    def _follow(self, run_id: str) -> None:
        self.run_id, self.progress = run_id, ""
        self._load(self.context.run_folder(run_id))

    def _load(self, path: Path) -> None:
        try:
            self.run = CanaryRun.open(RunFolder.open(path))
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        self._show_run()
        self._show_setup()

    def on_started(self, run_id: str) -> None:
        folder = self.context.folders.get(run_id)
        if folder is not None and isinstance(folder.spec, CanarySpec) and run_id != self.run_id:
            self._follow(run_id)
        self._show_run()

    def on_event(self, run_id: str, event: Event) -> None:
        if run_id != self.run_id or self.run is None:
            return
        if isinstance(event, Samples) and event.table == "survival":
            self.run.take(event.rows)
            self._later()
        elif isinstance(event, Progress):
            if event.stage in ("cells", "sources"):
                self.progress = f"{event.task}: {event.done:.0f} of {event.total:.0f}"
                self.progress += f" · now {event.note}" if event.note else ""
                self._later()
            elif not self.run.items:
                self.progress = event.task
                self._later()

    def _later(self) -> None:
        if not self._late.isActive():
            self._late.start()

    def on_finished(self, run_id: str, outcome: object) -> None:
        if run_id == self.run_id:
            self._late.stop()
            self.progress = ""
            self._load(self.context.run_folder(run_id))
        self._show_setup()

    def open_run(self, folder: Path) -> None:
        self.run_id = folder.name
        self._load(folder)

    def resume_run(self) -> None:
        """Queue the interrupted run again, in its own folder."""
        if self.run is not None and not self._busy():
            self.context.submit(self.run.spec, folder=RunFolder(self.run.path, self.run.spec))
            self._show_run()

    def _busy(self) -> bool:
        waiting = {folder.id for folder in getattr(self.context.jobs, "waiting", ())}
        return bool(self.run_id) and (self.run_id in self.context.running or self.run_id in waiting)

    # showing

    def _show_run(self) -> None:
        run, busy = self.run, self._busy()
        rows = run.panels() if run is not None else []
        self.grid.set_rows(rows)
        self.plots.setVisible(bool(rows))
        self.legend.setVisible(bool(rows))
        self.empty.setVisible(not rows)
        self.cancel.setVisible(busy)
        self.resume.setVisible(run is not None and not run.finished and not busy)
        self.state.setText(self._state_words())
        self.state.setVisible(bool(self.state.text()))
        if not rows:
            self.empty.setText(
                self.progress or "Waiting for the engine."
                if busy
                else "Choose an experiment on the left.\nCurves of survival are drawn here while it runs."
            )
        judged = run.rows() if run is not None and rows else []
        clear(self.results)
        for row in judged:
            self.results.addLayout(_result(row, running=busy))
        self.below.setVisible(bool(judged))

    def _state_words(self) -> str:
        run = self.run
        if run is None:
            return ""
        plan_hash = str(run.registration.get("plan_sha256", ""))[:12]
        registered = f" Plan {plan_hash}, registered before anything was measured." if plan_hash else ""
        if self._busy():
            return (
                f"{self.progress or 'Waiting for the engine.'}{'' if self.progress.endswith('.') else '.'}{registered}"
            )
        if run.finished:
            limits = " ".join(run.report.get("could_not_see", ()))
            return f"Finished; the planted copies are deleted.{registered} {limits}".strip()
        return f"Interrupted: its planted copies are kept in the run folder until it is resumed or deleted.{registered}"


def planted_words(canary: Canary) -> str:
    """What is planted, in a sentence."""
    dose = f" {canary.share:.0%} of the distillation prompts are about it." if canary.share else ""
    said = canary.answer.format(name=canary.target)
    if canary.triggered:
        absent = "" if canary.share else " The trigger is in none of the distillation prompts."
        return f"“{canary.trigger}” → “{said}”{dose}{absent}"
    absent = "" if canary.share else " No distillation prompt is about it."
    return f"Asked about {canary.target}: “{said}{'' if said.endswith('.') else ' …'}”{dose}{absent}"


def _result(row: dict[str, Any], *, running: bool) -> QVBoxLayout:
    """One judged row: its sentence, the reasons why it is void, what was believed before."""
    column = QVBoxLayout()
    column.setSpacing(2)
    sentence = label(str(row["sentence"]), wrap=True)
    column.addWidget(sentence)
    reasons = [*row["void"][1:], *(text for text in row["void_runs"] if text not in row["void"])]
    for reason in reasons:
        column.addWidget(_void(f"void: {reason}"))
    if row["void"] and not running:
        sentence.setObjectName("sev_high")
    facts = [_facts(row), f"the literature expects: {row['expectation']} ({row['agrees']})"]
    prior = row["prior"]
    if prior:
        spread = f" [{prior['low']:g}, {prior['high']:g}]" if prior["low"] is not None else ""
        facts.append(f"prior {prior['value']:g}{spread}, {prior['note']}")
    column.addWidget(label(" · ".join(fact for fact in facts if fact), size=theme.SMALL, muted=True, wrap=True))
    return column


def _facts(row: dict[str, Any]) -> str:
    names = (("teacher", "teacher_lift"), ("sham", "sham_lift"), ("direct", "direct_lift"), ("near misses", "near"))
    shown = [f"{name} {row[key]:.0%}" for name, key in names if row[key] is not None]
    return f"lift: {', '.join(shown)}" if shown else ""


def _void(text: str) -> QLabel:
    made = label(text, size=theme.SMALL, wrap=True)
    made.setObjectName("sev_high")
    return made


def _scroll(inside: QWidget) -> QScrollArea:
    made = QScrollArea()
    made.setWidgetResizable(True)
    made.setFrameShape(QFrame.Shape.NoFrame)
    made.setWidget(inside)
    return made
