"""Transfer: set up a canary experiment with its cost before it starts, and see live what of each canary survives."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QFileDialog, QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from app import theme
from app.context import Context, ModelChoice
from app.pages.base import Page
from app.tables.canary_run import CanaryRun
from app.widgets.basic import button, card, clear, heading, label, scrolled
from app.widgets.canary_results import result_words
from app.widgets.canary_setup import CanarySetup
from app.widgets.survival_grid import SurvivalGrid
from core.errors import ForeshotError
from core.runs.events import Event, Progress, Samples
from core.runs.folder import RunFolder, write_atomic
from core.specs import CanarySpec, LoadOptions
from core.specs.canary import POOLED_FROM, CanaryPlan, write_canary_plan
from core.specs.canary_cells import check_cuts
from core.specs.canary_cost import cost


class TransferPage(Page):
    name = "transfer"
    title = "Transfer"
    icon = "transfer"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
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
        self._show_setup()
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
        self.setup = CanarySetup()
        self.setup.changed.connect(self._show_setup)
        self.setup.failed.connect(lambda message, hint: self.context.show_error(message, hint))
        column.addWidget(self.setup, 1)
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
            "Lift (with the canary − without it) over supervised tokens · thin with dots: a run of the arm · wide with "
            "squares: a sham run · dotted with ✕: a void run · dashed: the planted copy · band: up to δ of it, counted "
            "as gone",
            size=theme.SMALL,
            muted=True,
            wrap=True,
        )
        column.addWidget(self.legend)
        self.grid = SurvivalGrid()
        self.plots = scrolled(self.grid)
        column.addWidget(self.plots, 1)
        self.empty = label(size=theme.LEAD, muted=True, wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.empty, 1)

        self.below, column = card()
        column.addWidget(heading("What survived"))
        self.results = QVBoxLayout()
        self.results.setSpacing(12)
        inside = QWidget()
        hold = QVBoxLayout(inside)
        hold.setContentsMargins(0, 0, 8, 0)
        hold.addLayout(self.results)
        hold.addStretch(1)
        column.addWidget(scrolled(inside), 1)

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

    # the experiment

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        self._show_setup()

    def _show_setup(self) -> None:
        """The cost, or what is missing."""
        teacher, student = self.context.teacher, self.context.student
        self.start.setEnabled(False)
        try:
            plan = self.setup.plan()
            if teacher and student and teacher.card and student.card:
                check_cuts(plan, teacher.card, student.card)
        except ForeshotError as error:
            self.save.setEnabled(False)
            self.need.setText(f"{error.message} {error.hint}")
            return
        self.save.setEnabled(True)
        if teacher is None or student is None:
            missing = "teacher" if teacher is None else "student"
            self.need.setText(f"Open a {missing} first: drop its folder on the window.")
            return
        busy = self.context.busy(self.run_id)
        again = self._is_shown(plan)
        self.start.setText("Repeat from the beginning" if again else "Start the experiment")
        self.start.setToolTip("In a new folder; the run that is shown stays as it is" if again else "")
        few = f"{plan.runs} runs show points; absence needs {POOLED_FROM}." if plan.runs < POOLED_FROM else ""
        if teacher.card is None or student.card is None:
            self.need.setText(f"Reading the files of the pair. {few}")
        else:
            self.need.setText("\n".join([*cost(plan, teacher.card, student.card).lines(), *([few] if few else [])]))
        if busy:
            self.need.setText(f"{self.need.text()}\nThe experiment on the right is running: it has to end first.")
        self.start.setEnabled(not busy)

    def _is_shown(self, plan: CanaryPlan) -> bool:
        """Whether the set-up is the one of the run on the right."""
        teacher, student, run = self.context.teacher, self.context.student, self.run
        if teacher is None or student is None or run is None:
            return False
        return (plan, str(teacher.ref), str(student.ref)) == (run.spec.plan, run.spec.teacher, run.spec.student)

    def start_run(self) -> None:
        """Queue the experiment."""
        teacher, student = self.context.teacher, self.context.student
        if teacher is None or student is None:
            return
        spec = CanarySpec(
            teacher=str(teacher.ref),
            student=str(student.ref),
            plan=self.setup.plan(),
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
                write_atomic(Path(path), write_canary_plan(self.setup.plan()))
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
        """Show a run, and fill the set-up with its plan; the pair is put in its places by the window."""
        self.run_id = folder.name
        self._load(folder)
        if self.run is not None and self.run.path == folder:
            self.setup.show_plan(self.run.spec.plan)

    def resume_run(self) -> None:
        """Queue the interrupted run again, in its own folder."""
        if self.run is not None and not self.context.busy(self.run_id):
            self.context.submit(self.run.spec, folder=RunFolder(self.run.path, self.run.spec))
            self._show_run()

    # showing

    def _show_run(self) -> None:
        run, busy = self.run, self.context.busy(self.run_id)
        judged = run.rows() if run is not None else []
        rows = run.panels(judged) if run is not None else []
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
        clear(self.results)
        for row in judged if rows else ():
            self.results.addLayout(result_words(row, running=busy))
        self.below.setVisible(bool(rows))

    def _state_words(self) -> str:
        run = self.run
        if run is None:
            return ""
        plan_hash = str(run.registration.get("plan_sha256", ""))[:12]
        registered = f" Plan {plan_hash}, registered before anything was measured." if plan_hash else ""
        if self.context.busy(self.run_id):
            return (
                f"{self.progress or 'Waiting for the engine.'}{'' if self.progress.endswith('.') else '.'}{registered}"
            )
        kept = " Its planted copies are kept in the run folder." if any(run.path.glob("copies/*")) else ""
        if run.fault:
            return f"Ended without a result: {run.fault}{kept}{registered}"
        if run.finished:
            limits = " ".join(run.report.get("could_not_see", ()))
            return f"Finished{'.' + kept if kept else '; the planted copies are deleted.'}{registered} {limits}".strip()
        return f"Interrupted; it can be resumed.{kept}{registered}"
