"""The frame of the guided audit: four steps with Back and Next, then the progress of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from app import theme
from app.context import Context
from app.guide.models import ModelsStep
from app.guide.pipeline import PipelineStep
from app.guide.plan import PlanStep, StartStep
from app.guide.progress import ProgressView
from app.widgets.basic import button, label, scrolled
from app.widgets.stations import Station, Stations
from core.runs.events import Event
from core.specs import AuditSpec, LoadOptions, Pipeline, command_line
from core.specs.pipeline import told_by
from core.types import ModelRef

STEPS: Final = ("Models", "Pipeline", "What to run", "Start")
RUNNING: Final = len(STEPS)
ASKED_OF_PAIRS: Final = "Pipeline"


class AuditGuide(QWidget):
    """Leads to an ``AuditSpec`` and submits it.

    Signals:
        closed: back to where it was opened from.
    """

    closed = Signal()

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.context = context
        self.step = 0
        self._told: ModelRef | None = None  # the student whose files were asked for answers
        self.models = ModelsStep(context)
        self.pipeline = PipelineStep()
        self.plan = PlanStep(context)
        self.last = StartStep()
        self.progress = ProgressView(context)
        self._build()
        self.progress.resumed.connect(lambda: self.go(RUNNING))
        self.models.changed.connect(self._show)
        self.plan.changed.connect(self._show)
        self.go(0)

    def _build(self) -> None:
        self.title = label("Audit", size=theme.TITLE, bold=True)
        self.stations = Stations()
        self.stack = QStackedWidget()
        for made in (self.models, self.pipeline, self.plan, self.last, self.progress):
            scroll = scrolled(made)
            scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            self.stack.addWidget(scroll)
        self.leave = button("Leave", self.closed.emit, tip="Back to Start (Esc); your answers stay")
        self.back = button("Back", self.backward, tip="Alt+Left")
        self.next = button(
            "Next", self.forward, primary=True, tip="Alt+Right; Ctrl+Return starts with what is answered so far"
        )
        foot = QHBoxLayout()
        foot.setSpacing(8)
        self.why = label(muted=True, wrap=True)
        self.why.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.why.setAccessibleName("What is missing before the next step")
        foot.addWidget(self.leave)
        foot.addWidget(self.why, 1)
        foot.addWidget(self.back)
        foot.addWidget(self.next)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(16)
        column.addWidget(self.title)
        column.addWidget(self.stations)
        column.addWidget(self.stack, 1)
        column.addLayout(foot)
        for keys, does in (
            ("Alt+Right", self.forward),
            ("Alt+Left", self.backward),
            ("Escape", self.closed.emit),
        ):
            QShortcut(QKeySequence(keys), self, does, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)

    # the steps

    def begin(self) -> None:
        """Show the first step, or the run that is going on."""
        if self.progress.run_id in self.context.running:
            self.go(RUNNING)
            return
        self.models.refresh()
        self.go(0)

    def forward(self) -> None:
        if self.step == RUNNING - 1:
            self.start()
        elif self.step < RUNNING and self._may_go_on():
            self.go(self.step + (2 if self.step == 0 and self._alone() else 1))

    def backward(self) -> None:
        self.go(self.step - (2 if self.step == 2 and self._alone() else 1))

    def _alone(self) -> bool:
        """One model: there is no distillation to be asked about."""
        return self.context.student is None or (len(self.models.models()) == 1 and self.models.answers is None)

    def go(self, step: int) -> None:
        """Show a step; 0 to 3, or ``RUNNING``."""
        if step < 0 or (self.step == RUNNING and step != RUNNING and self.progress.run_id in self.context.running):
            return
        self.step = step
        student = self.context.student
        if step == 1 and student is not None and student.ref != self._told:
            self._told = student.ref
            self.pipeline.offer(told_by(Path(student.ref.path)))
        if step == 2 and not self.plan.suites:
            self.plan.read_suites()
        self.stack.setCurrentIndex(step)
        self._show()
        shown = self.stack.currentWidget()
        if step < RUNNING and shown is not None and self.isVisible():
            first = self.next if step in (0, RUNNING - 1) and self._may_go_on() else shown
            first.setFocus(Qt.FocusReason.OtherFocusReason)
            if first is shown:
                shown.focusNextChild()
        elif step == RUNNING and self.isVisible():
            self.progress.take_focus()

    def _missing(self) -> str:
        """Why there is no next step yet; empty where there is one."""
        return self.models.missing() or (self.plan.missing() if self.step >= 2 else "")

    def _may_go_on(self) -> bool:
        return not self._missing()

    def _show(self) -> None:
        running, alone = self.step == RUNNING, bool(self.models.models()) and self._alone()
        states = ["done" if at < self.step else "running" if at == self.step else "waiting" for at in range(len(STEPS))]
        self.stations.set_stations(
            [
                Station(name, name, "only asked of a pair" if name == ASKED_OF_PAIRS and alone else "", state, 0.0)  # type: ignore[arg-type]
                for name, state in zip(STEPS, states, strict=True)
            ]
        )
        self.stations.setVisible(not running)
        self.title.setText("The audit is running" if running and not self.progress.ended else "Audit")
        over = running and self.progress.ended
        self.next.setVisible(not running)
        self.next.setText("Start the audit" if self.step == RUNNING - 1 else "Next")
        self.next.setAccessibleName(self.next.text())
        self.next.setEnabled(self._may_go_on())
        self.why.setText("" if running else self._missing())
        self.leave.setText("Leave it running" if running and not over else "Leave")
        self.leave.setAccessibleName(self.leave.text())
        self.back.setVisible(over or not running)
        self.back.setEnabled(self.step > 0)
        if self.step in (2, 3):
            spec = self.spec()
            cost = self.plan.show_cost(self.models.models(), spec.teacher_answers is not None)
            self.last.show_spec(spec, command_line(spec), len(self.plan.tree.ticked()), cost)

    # the audit

    def spec(self) -> AuditSpec:
        """The audit that the answers describe."""
        models = self.models.models()
        teacher, student, baseline = models.get("teacher"), models.get("student"), models.get("baseline")
        answers = self.models.answers
        return AuditSpec(
            teacher=str(teacher.ref) if teacher else answers.stem if answers else "",
            student=str(student.ref) if student else None,
            baseline=str(baseline.ref) if baseline else None,
            teacher_answers=str(answers) if answers else None,
            preset=self.plan.preset,
            power=self.plan.power.number,
            suites=self.plan.chosen(),
            teacher_load=teacher.load if teacher else LoadOptions(),
            student_load=student.load if student else LoadOptions(),
            baseline_load=(student or baseline).load if baseline and (student or baseline) else LoadOptions(),
            pipeline=self.pipeline.pipeline() if student else Pipeline(),
        )

    def start(self) -> None:
        """Submit the audit and follow it; where one is followed already, only that is shown."""
        if self.step == RUNNING:
            self.begin()
            return
        if not self._may_go_on():
            return
        if not self.plan.suites:
            self.plan.read_suites()
        spec = self.spec()
        run_id = self.context.submit(spec)
        if run_id:
            self.progress.follow(self.context.folders[run_id], spec)
            self.go(RUNNING)

    def on_event(self, run_id: str, event: Event) -> None:
        self.progress.on_event(run_id, event)

    def on_finished(self, run_id: str, outcome: object) -> None:
        self.progress.on_finished(run_id, outcome)
        if run_id == self.progress.run_id:
            self._show()
