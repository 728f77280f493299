"""Distil: a recipe as a still, what it needs, its curves while it runs, and the students that came out to scan."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app import estimates, theme
from app.context import Context, ModelChoice
from app.pages.base import Page
from app.tables.distil_run import Checkpoint, DistilRun, checkpoint_table
from app.tables.rows import table_view
from app.tables.soft_labels import SoftText
from app.widgets.basic import button, card, clear, gigabytes, heading, label, scrolled
from app.widgets.live_curves import Curve, LiveCurves
from app.widgets.recipe import Recipe
from app.widgets.soft_labels import SoftLabels
from core.errors import ForeshotError
from core.runs.events import Event, Log, Progress, Samples
from core.runs.folder import RunFolder, write_atomic
from core.specs import DistillSpec, LoadOptions, ScanSpec, SoftLabelsSpec
from core.specs.distill import DistillPlan, write_plan

LOSS: Final = "Loss, per supervised token"
KL: Final = "KL(teacher ‖ student) on held-out prompts, nats per token"
AGREEMENT: Final = "Most probable token agrees, held-out prompts"
ULD: Final = "Distance of sorted probabilities on held-out prompts"
TABS: Final = ("Training", "Soft labels")
METRICS: Final = {KL: "kl", AGREEMENT: "agreement", ULD: "uld"}


class DistilPage(Page):
    name = "distil"
    title = "Distil"
    icon = "distil"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.run: DistilRun | None = None
        self.run_id = ""
        self.soft_id = ""
        self.paused = False
        self.estimate = estimates.DistillEstimate()
        self._build()
        self._late = QTimer(self)  # typing into a field does not read files at each key
        self._late.setSingleShot(True)
        self._late.setInterval(150)
        self._late.timeout.connect(self._show_estimate)
        self.recipe.changed.connect(self._late.start)
        if context.reader is not None:
            context.reader.card_ready.connect(lambda _ref: self._late.start())
        self._show_estimate()
        self._show()

    # building

    def _build(self) -> None:
        left, column = card()
        left.setFixedWidth(404)
        column.addWidget(heading("Recipe"))
        self.recipe = Recipe()
        self.recipe.choose_asked.connect(self.context.choose_requested.emit)
        recipe = scrolled(self.recipe)
        recipe.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        column.addWidget(recipe, 1)
        self.need = label(size=theme.SMALL, muted=True, wrap=True)
        self.need.setAccessibleName("Memory and time")
        column.addWidget(self.need)
        self.helps = QVBoxLayout()
        self.helps.setSpacing(4)
        column.addLayout(self.helps)
        self.start = button("Distil", self.start_run, primary=True)
        self.save = button("Save plan…", self.save_plan, tip="The same plan for the command line: distill PLAN.yaml")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.start, 1)
        row.addWidget(self.save)
        column.addLayout(row)

        top, column = card()
        self.state = label(wrap=True)
        self.state.setAccessibleName("State of the distillation")
        self.pause = button("Pause", self.toggle_pause, tip="Stands still between two batches; models stay in memory")
        self.cancel = button("Cancel", self.cancel_run, tip="Writes a checkpoint and frees the memory")
        self.resume = button("Resume", self.resume_run, tip="Goes on from the last checkpoint")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.state, 1)
        for made in (self.pause, self.resume, self.cancel):
            row.addWidget(made, 0, Qt.AlignmentFlag.AlignTop)
        column.addLayout(row)
        self.curves = LiveCurves(
            (Curve(LOSS), Curve(KL, dots=True), Curve(AGREEMENT, dots=True, percent=True), Curve(ULD, dots=True))
        )
        column.addWidget(self.curves, 1)
        self.empty = label(size=theme.LEAD, muted=True, wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.empty, 1)

        self.below, column = card()
        self.table = checkpoint_table()
        self.view = table_view(self.table, "Checkpoints", row_height=26)
        self.view.selectionModel().currentRowChanged.connect(lambda *_: self._show_chosen())
        self.scan = button("Scan this one", self.scan_chosen, tip="A quick scan of this student")
        self.place = button("Use as student", self.use_chosen, tip="Puts it into the student's place, for an audit")
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(heading("Checkpoints"), 1)
        row.addWidget(self.place)
        row.addWidget(self.scan)
        column.addLayout(row)
        column.addWidget(self.view, 1)

        right = QSplitter(Qt.Orientation.Vertical)
        right.setHandleWidth(12)
        right.setChildrenCollapsible(False)
        right.addWidget(top)
        right.addWidget(self.below)
        right.setSizes([520, 220])
        explorer, column = card()
        self.soft = SoftLabels()
        self.soft.asked.connect(self.read_soft)
        column.addWidget(self.soft)
        self.tabs = QStackedWidget()
        self.tabs.addWidget(right)
        self.tabs.addWidget(explorer)
        row = QHBoxLayout()
        row.setSpacing(8)
        self.tab_buttons = [button(title, partial(self.show_tab, at)) for at, title in enumerate(TABS)]
        for made in self.tab_buttons:
            made.setCheckable(True)
            made.setStyleSheet("QPushButton:checked { background: palette(highlight); font-weight: 600; }")
            row.addWidget(made)
        row.addStretch(1)
        side = QVBoxLayout()
        side.setSpacing(12)
        side.addLayout(row)
        side.addWidget(self.tabs, 1)
        self.show_tab(0)
        outer = QHBoxLayout(self)
        outer.setContentsMargins(20, 16, 20, 16)
        outer.setSpacing(12)
        outer.addWidget(left)
        outer.addLayout(side, 1)

    def show_tab(self, at: int) -> None:
        """Training (0) or soft labels (1)."""
        self.tabs.setCurrentIndex(at)
        for number, made in enumerate(self.tab_buttons):
            made.setChecked(number == at)

    # the recipe

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        self.recipe.set_pair(teacher, student)

    def plan(self) -> DistillPlan | None:
        """The plan of the recipe; None (and a sentence under it) where it cannot be one yet."""
        missing = self.recipe.missing()
        if missing:
            self.need.setText(f"Open a {missing} first: its button above, or drop its folder on the window.")
            return None
        try:
            return self.recipe.plan()
        except ForeshotError as error:
            self.need.setText(f"{error.message} {error.hint}")
            return None

    def _show_estimate(self) -> None:
        clear(self.helps)
        plan = self.plan()
        self.save.setEnabled(plan is not None)
        self.start.setEnabled(plan is not None and not self.context.busy(self.run_id))
        if plan is None:
            return
        teacher, source = self.recipe.choices["teacher"], self.recipe.made_of()
        assert teacher is not None
        assert source is not None
        self.estimate = estimates.distill_estimate(self.context.runs_dir, plan, teacher, source)
        self.need.setText("\n".join(self.estimate.words))
        if self.estimate.remedies:
            self.helps.addWidget(label("What would make it fit:", size=theme.SMALL))
        for remedy in self.estimate.remedies:
            words = label(f"· {remedy.words}: about {gigabytes(remedy.total)}", size=theme.SMALL, muted=True, wrap=True)
            self.helps.addWidget(words)

    def start_run(self) -> None:
        """Queue the distillation that the recipe describes."""
        plan = self.plan()
        if plan is None:
            return
        run_id = self.context.submit(DistillSpec(plan=plan))
        if run_id:
            self._follow(run_id)

    def save_plan(self) -> None:
        plan = self.plan()
        if plan is None:
            return
        path, _kind = QFileDialog.getSaveFileName(self, "Save the plan", "plan.yaml", "Plans (*.yaml)")
        if path:
            try:
                write_atomic(Path(path), write_plan(plan))
            except ForeshotError as error:
                self.context.show_error(error.message, error.hint)

    # following a run

    def _follow(self, run_id: str) -> None:
        self.run_id, self.paused = run_id, False
        self._load(self.context.run_folder(run_id))

    def on_started(self, run_id: str) -> None:
        folder = self.context.folders.get(run_id)
        if folder is not None and isinstance(folder.spec, DistillSpec) and run_id != self.run_id:
            self._follow(run_id)
        self._show()
        self._show_estimate()

    def on_event(self, run_id: str, event: Event) -> None:
        if run_id == self.soft_id and isinstance(event, Progress):
            self.soft.say(f"{event.task}…", busy=True)
        if run_id != self.run_id or self.run is None:
            return
        run = self.run
        if isinstance(event, Samples) and event.table == "training":
            for stage in dict.fromkeys(row["stage"] for row in event.rows):
                self.curves.add(LOSS, run.take_steps(stage, [row for row in event.rows if row["stage"] == stage]))
        elif isinstance(event, Samples) and event.table == "evaluations":
            run.take_evaluations(event.rows)
            self._show_measured()
        elif isinstance(event, Samples) and event.table == "fit":
            run.fit = event.rows[-1]
            self._show_state()
        elif isinstance(event, Progress):
            if event.stage.endswith("/train"):
                run.set_stage_steps(event.stage.removesuffix("/train"), int(event.total))
                self.curves.set_steps(run.total)
            elif not run.losses:
                share = f"{event.done / event.total:.0%}".replace("%", " %") if event.total else ""
                self.empty.setText(f"{event.task}: {share}")
            if event.stage.endswith("/export") and event.done >= event.total:
                self._show_measured()
        elif isinstance(event, Log) and event.level == "info" and not run.losses:
            self.empty.setText(event.message)

    def on_finished(self, run_id: str, outcome: object) -> None:
        if run_id == self.soft_id:
            self._show_soft(self.context.run_folder(run_id))
        if run_id == self.run_id:
            self.paused = False
            self._load(self.context.run_folder(run_id))
        self._show_estimate()

    def open_run(self, folder: Path) -> None:
        try:
            soft = isinstance(RunFolder.open(folder).spec, SoftLabelsSpec)
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        self.show_tab(1 if soft else 0)
        if soft:
            self._show_soft(folder)
        else:
            self.run_id = folder.name
            self._load(folder)

    def _load(self, path: Path) -> None:
        try:
            self.run = DistilRun.open(RunFolder.open(path))
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        self.curves.clear()
        self.curves.add(LOSS, [(float(step), loss) for step, loss in self.run.losses])
        self._show()

    # pause, resume, cancel

    def toggle_pause(self) -> None:
        self.paused = not self.paused
        self.context.pause(self.run_id, self.paused)
        self._show_state()

    def cancel_run(self) -> None:
        self.context.cancel(self.run_id)
        self.state.setText("Ends its batch and writes a checkpoint; Cancel again ends it at once.")

    def resume_run(self) -> None:
        """Queue the interrupted run again, in its own folder."""
        if self.run is not None and not self.context.busy(self.run_id):
            try:
                folder = RunFolder.open(self.run.path)
            except ForeshotError as error:
                self.context.show_error(error.message, error.hint)
                return
            self.context.submit(folder.spec, folder=folder)
            self._show()

    # soft labels

    def read_soft(self, text: str, as_text: bool) -> None:
        """Queue the reading of ``text`` by the pair above; asks for a model that is missing."""
        teacher, student = self.context.teacher, self.context.student
        if teacher is None or student is None:
            self.context.choose_requested.emit("teacher" if teacher is None else "student")
            return
        spec = SoftLabelsSpec(
            teacher=str(teacher.ref),
            student=str(student.ref),
            prompt="" if as_text else text,
            text=text if as_text else "",
            teacher_load=teacher.load,
            student_load=student.load,
        )
        self.soft_id = self.context.submit(spec)
        if self.soft_id:
            self.soft.say("Waiting for the engine.", busy=True)

    def _show_soft(self, path: Path) -> None:
        try:
            found = SoftText.open(RunFolder.open(path))
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            found = None
        if found is not None:
            self.soft.set_text(found)
        else:
            self.soft.say("Nothing was read.")

    # showing

    def _show(self) -> None:
        self._show_measured()
        self._show_state()

    def _show_measured(self) -> None:
        run = self.run
        if run is not None:
            for title, metric in METRICS.items():
                self.curves.add(title, run.measured(metric))
            for stage, offset in run.offsets.items():
                if offset:
                    self.curves.mark(offset, stage)
            self.curves.set_steps(run.total)
            at = self.view.currentIndex().row()
            self.table.set_rows(run.checkpoints())
            rows = len(self.table.rows)
            if rows:
                self.view.setCurrentIndex(self.table.index(at if 0 <= at < rows else rows - 1, 0))
        drawn = run is not None and bool(run.losses or run.evaluations)
        self.curves.setVisible(drawn)
        self.empty.setVisible(not drawn)
        self.below.setVisible(bool(self.table.rows))
        if not drawn:
            self.empty.setText(
                "Waiting for the engine."
                if self.context.busy(self.run_id)
                else "Choose a recipe on the left.\nCurves of loss, KL and agreement are drawn here while it runs."
            )
        self._show_chosen()

    def _show_state(self) -> None:
        run, running, busy = self.run, self.run_id in self.context.running, self.context.busy(self.run_id)
        self.pause.setVisible(running)
        self.pause.setText("Go on" if self.paused else "Pause")
        self.cancel.setVisible(busy)
        self.resume.setVisible(run is not None and run.stopped() and not busy)
        self.state.setText(state_words(run, running=running, waiting=busy, paused=self.paused))
        self.state.setVisible(bool(self.state.text()))

    def chosen(self) -> Checkpoint | None:
        row = self.view.currentIndex().row()
        return self.table.rows[row] if 0 <= row < len(self.table.rows) else None

    def _show_chosen(self) -> None:
        chosen = self.chosen()
        for made in (self.scan, self.place):
            made.setEnabled(chosen is not None and chosen.ref is not None)

    def scan_chosen(self) -> None:
        """Queue a quick scan of the chosen student, and show it."""
        chosen = self.chosen()
        if chosen is None or chosen.ref is None:
            return
        spec = ScanSpec(model=chosen.ref.path, adapter=chosen.ref.adapter, load=self._student_load())
        if self.context.submit(spec):
            self.context.open_page("scan")

    def use_chosen(self) -> None:
        chosen = self.chosen()
        if chosen is not None and chosen.ref is not None:
            self.context.set_pair(self.context.teacher, ModelChoice(chosen.ref, self._student_load()))

    def _student_load(self) -> LoadOptions:
        device = self.run.plan.student_load.device if self.run is not None else "auto"
        return LoadOptions(device=device)


def state_words(run: DistilRun | None, *, running: bool, waiting: bool, paused: bool) -> str:
    """Where a run stands, in a sentence or two."""
    if run is None:
        return ""
    parts = []
    if run.finished:
        parts.append(str((run.report.get("summary") or {}).get("sentence", "This run ended without a student.")))
    elif paused:
        parts.append("Paused between two batches; the models stay in memory. Cancel frees it, and can be resumed.")
    elif running:
        parts.append(f"Distilling ({run.plan.variant}).")
    elif waiting:
        parts.append("Waiting for the device.")
    else:
        parts.append("This run stopped before its end; Resume goes on from its last checkpoint.")
    if run.fit:
        rough = run.fit.get("estimated")
        parts.append(
            f"One step measured a need of {gigabytes(run.fit['need'])} of {gigabytes(run.fit['free'])}"
            + (f" (by the files: {gigabytes(rough)})." if rough else ".")
        )
    stages = list(run.report.get("stages", ()))
    share = stages[-1].get("share_of_ideal") if stages else None
    if share:
        speed = stages[-1]["tokens_per_s"]
        parts.append(f"{speed:,.0f} supervised tokens/s, {share:.0%} of this machine's matrix peak.".replace("%", " %"))
    return " ".join(parts)
