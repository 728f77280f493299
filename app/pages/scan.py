"""Scan: set one up, watch its stages and candidates, read what a finding is made of."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from PySide6.QtCore import QEvent, QModelIndex, QObject, Qt, QTimer
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QHeaderView, QSplitter, QVBoxLayout, QWidget

from app import theme
from app.context import Context, ModelChoice
from app.estimates import ROUGH, memory_words, time_words
from app.pages.base import Page
from app.tables.candidates import EVIDENCE, CandidateTable, identity
from app.tables.rows import table_view
from app.tables.scan_side import Side, read_events, read_report, take_report
from app.tables.scan_stations import scan_stations, share_of
from app.widgets.basic import button, card, heading, label, scrolled
from app.widgets.finding import FindingDetail
from app.widgets.measure_button import MeasureButton
from app.widgets.power_box import PowerBox
from app.widgets.stations import Stations
from core.errors import ForeshotError
from core.runs.annotations import Action, Annotation, annotate, read_annotations
from core.runs.events import Event, Progress, Samples
from core.runs.folder import RunFolder, new_run_id
from core.specs import AskSpec, AuditSpec, LoadOptions, ScanSpec
from core.types import Dtype, ModelRef, Quant, Slot

PRECISIONS: Final[tuple[tuple[str, Dtype, Quant], ...]] = (
    ("as stored (auto)", "auto", "none"),
    ("bf16", "bf16", "none"),
    ("fp32", "fp32", "none"),
    ("fp16", "fp16", "none"),
    ("int8", "auto", "int8"),
    ("nf4", "auto", "nf4"),
)
PRESETS: Final = ("quick", "standard", "deep")
FLUSH_MS: Final = 120
NARROW: Final = 680
"""Pixels of the side of the table below which stage, z and controls are left out."""
_SAID: Final = {"promote": "promoted", "dismiss": "dismissed"}
_ROLES: Final = ("teacher", "student")


class ScanPage(Page):
    name = "scan"
    title = "Scan"
    icon = "scan"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.sides: dict[str, Side] = {}
        self.role = ""  # which side is shown; "" is the only one of a plain scan
        self.run_id = ""
        self.run_path = Path()
        self.audit = False
        self.ended = False
        self.stations = Stations()
        self.detail = FindingDetail()
        self.detail.judged.connect(self._judge)
        self.detail.try_it.asked.connect(self._ask)
        self.asked: dict[str, tuple[str, str]] = {}  # run id of a try → trigger and slot of the finding
        self.flush = QTimer(self, interval=FLUSH_MS)
        self.flush.timeout.connect(self._flush)
        self._build()
        self._show_estimate()
        self._show_side()

    # building

    def _build(self) -> None:
        self.model_box = QComboBox()
        self.model_box.setAccessibleName("Model to scan")
        self.preset_box = QComboBox()
        self.preset_box.setAccessibleName("Preset")
        self.preset_box.addItems(list(PRESETS))
        self.precision_box = QComboBox()
        self.precision_box.setAccessibleName("Precision")
        self.precision_box.addItems([name for name, _dtype, _quant in PRECISIONS])
        self.power_box = PowerBox()
        self.estimate = label(size=theme.SMALL, muted=True, wrap=True)
        self.estimate.setAccessibleName("Estimate")
        self.measure = MeasureButton(self.context)
        self.measure.changed.connect(self._show_estimate)
        self.start = button("Start scan", self.start_scan, primary=True, tip="Ctrl+Return")
        self.model_box.currentIndexChanged.connect(lambda _at: self._take_precision())
        for box in (self.model_box, self.preset_box, self.precision_box, self.power_box):
            box.currentIndexChanged.connect(lambda _at: self._show_estimate())
        self.setup, column = card(margin=12)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.model_box)
        row.addWidget(self.preset_box)
        row.addWidget(self.precision_box)
        row.addWidget(self.power_box)
        row.addWidget(self.estimate, 1)
        row.addWidget(self.measure)
        row.addWidget(self.start)
        column.addLayout(row)

        self.line, column = card(margin=12)
        column.addWidget(self.stations)

        self.left, column = card()
        head = QHBoxLayout()
        self.candidates_title = label(bold=True)
        self.count = label(muted=True)
        self.role_buttons = {role: button(role.capitalize(), partial(self.show_role, role)) for role in _ROLES}
        head.addWidget(self.candidates_title)
        head.addWidget(self.count, 1)
        for role, made in self.role_buttons.items():
            made.setCheckable(True)
            made.setAccessibleName(f"Show the scan of the {role}")
            made.setStyleSheet("QPushButton:checked { background: palette(highlight); font-weight: 600; }")
            head.addWidget(made)
        column.addLayout(head)
        self.view = table_view(CandidateTable(), "Candidates", row_height=26)
        self.view.setSortingEnabled(True)
        self.view.horizontalHeader().setSortIndicator(EVIDENCE, Qt.SortOrder.AscendingOrder)
        self.view.setMinimumHeight(120)
        column.addWidget(self.view, 3)
        self.sentence = label(wrap=True)
        self.unseen_title = heading("What this scan could not see")
        self.unseen = label(muted=True, wrap=True, size=theme.SMALL)
        self.unseen.setAccessibleName("What this scan could not see")
        inside = QWidget()
        foot = QVBoxLayout(inside)
        foot.setContentsMargins(0, 0, 8, 0)
        for words in (self.sentence, self.unseen_title, self.unseen):
            foot.addWidget(words)
        foot.addStretch(1)
        self.said = scrolled(inside)
        self.said.setAccessibleName("What the scan says")
        self.said.setMaximumHeight(230)
        column.addWidget(self.said, 2)

        self.right, column = card()
        column.addWidget(self.detail)
        self.split = QSplitter(Qt.Orientation.Horizontal)
        self.split.setHandleWidth(14)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(self.left)
        self.split.addWidget(self.right)
        self.split.setSizes([760, 500])
        self.left.installEventFilter(self)

        self.empty, column = card(margin=40)
        column.addStretch(1)
        self.empty_words = label(size=theme.LEAD, wrap=True)
        self.empty_words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.empty_words)
        self.choose = button("Open a model…", lambda: self.context.choose_requested.emit("teacher"))
        column.addWidget(self.choose, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(2)

        outer = QVBoxLayout(self)
        outer.setContentsMargins(20, 16, 20, 16)
        outer.setSpacing(12)
        outer.addWidget(self.setup)
        outer.addWidget(self.line)
        outer.addWidget(self.split, 1)
        outer.addWidget(self.empty, 1)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self.left and event.type() == QEvent.Type.Resize:
            self._fit_columns()
        return super().eventFilter(watched, event)

    def _fit_columns(self) -> None:
        """The candidate itself is read first: where it is narrow, what else a row says makes room."""
        narrow = self.left.width() < NARROW
        for column in (1, 3, 5):
            self.view.setColumnHidden(column, narrow)

    # setting up

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        held = self.model_box.currentData()
        self.model_box.clear()
        for role, choice in (("teacher", teacher), ("student", student)):
            if choice is not None:
                self.model_box.addItem(f"{role}: {choice.name}", role)
        self.model_box.setCurrentIndex(max(0, self.model_box.findData(held)))
        self.model_box.setVisible(self.model_box.count() > 0)
        self._take_precision()
        self._show_estimate()
        self._show_side()

    def choice(self) -> ModelChoice | None:
        """The model that the set-up row names."""
        return self.context.student if self.model_box.currentData() == "student" else self.context.teacher

    def _take_precision(self) -> None:
        choice = self.choice()
        if choice is not None:
            wanted = (choice.load.dtype, choice.load.quant)
            at = next((n for n, p in enumerate(PRECISIONS) if (p[1], p[2]) == wanted or p[2] == wanted[1] != "none"), 0)
            self.precision_box.setCurrentIndex(at)

    def _show_estimate(self) -> None:
        choice = self.choice()
        self.start.setEnabled(choice is not None)
        if choice is None:
            self.estimate.setText("Open a model first: drop a folder on the window, or Ctrl+O.")
            self.measure.offer(None)
            return
        name, dtype, quant = PRECISIONS[self.precision_box.currentIndex()]
        choice = replace(choice, load=msgspec.structs.replace(choice.load, dtype=dtype, quant=quant))
        preset, power = self.preset_box.currentText(), self.power_box.number
        time = time_words(self.context.runs_dir, choice, preset, power, self.context.rate(choice))
        self.measure.offer(choice if ROUGH in time else None)
        parts = [memory_words(choice, name), time]
        words = " · ".join(part for part in parts if part)
        self.estimate.setText(words or "No estimate: the files of this model are not read yet.")

    def start_scan(self) -> None:
        """Queue the scan that the set-up row describes."""
        choice = self.choice()
        if choice is None:
            self.context.choose_requested.emit("teacher")
            return
        _name, dtype, quant = PRECISIONS[self.precision_box.currentIndex()]
        load = LoadOptions(device=choice.load.device, dtype=dtype, quant=quant, force=choice.load.force)
        spec = ScanSpec(
            model=choice.ref.path,
            adapter=choice.ref.adapter,
            preset=self.preset_box.currentText(),
            power=self.power_box.number,
            load=load,
        )
        run_id = self.context.submit(spec)
        if run_id:
            self._follow(run_id, audit=False)

    def event(self, event: QEvent) -> bool:
        # the window binds Ctrl+Return too (audit); on this page the key belongs to the scan
        if event.type() == QEvent.Type.ShortcutOverride and _is_start(cast(QKeyEvent, event)):
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if _is_start(event):
            self.start.click()
        else:
            super().keyPressEvent(event)

    # following a run

    def _follow(self, run_id: str, *, audit: bool) -> None:
        self.run_id, self.audit, self.ended = run_id, audit, False
        self.run_path = self.context.run_folder(run_id)
        self.sides = {role: Side() for role in _ROLES} if audit else {"": Side()}
        self.show_role("teacher" if audit else "")

    def on_started(self, run_id: str) -> None:
        folder = self.context.folders.get(run_id)
        if folder is not None and isinstance(folder.spec, ScanSpec | AuditSpec) and run_id != self.run_id:
            self._follow(run_id, audit=isinstance(folder.spec, AuditSpec))

    def on_event(self, run_id: str, event: Event) -> None:
        if run_id == self.run_id:
            self._take(event)
        elif run_id in self.asked and isinstance(event, Progress) and self.asked[run_id] == self._shown_finding():
            self.detail.try_it.say(f"{event.task}: {share_of(event):.0%}".replace("%", " %"), busy=True)

    def _take(self, event: Event) -> None:
        if isinstance(event, Progress):
            role, _, stage = event.stage.rpartition("/")
            if role in self.sides:
                self.sides[role].progress[stage] = event
                self._show_stations()
        elif isinstance(event, Samples):
            role, _, table = event.table.rpartition("/")
            if table == "findings" and role in self.sides:
                self.sides[role].findings += event.rows
            elif table == "candidates" and role in self.sides:
                self.sides[role].waiting += event.rows
                if not self.flush.isActive():
                    self.flush.start()

    def _flush(self) -> None:
        for side in self.sides.values():
            side.table.append(side.waiting)
            side.waiting = []
        self.flush.stop()
        self._show_count()
        if not self.ended and self.role in self.sides and self.sides[self.role].table.rows:
            self.detail.hint("Choose a candidate to see what it does.")

    def on_finished(self, run_id: str, outcome: object) -> None:
        if run_id == self.run_id:
            self.open_run(self.context.run_folder(run_id))
        elif run_id in self.asked:
            self._answered(run_id)
        self._show_estimate()

    # what a person does with a finding

    def _finding(self) -> dict[str, Any] | None:
        side, at = self.sides.get(self.role), self.view.currentIndex().row()
        if side is None or not 0 <= at < len(side.table.rows):
            return None
        row = side.table.rows[at]
        return next((found for found in side.findings if identity(found) == identity(row)), None)

    def _shown_finding(self) -> tuple[str, str] | None:
        finding = self._finding()
        return identity(finding) if finding is not None else None

    def _judge(self, action: Action, reason: str) -> None:
        """Append to the run what a person says of the finding that is shown."""
        finding = self._finding()
        if finding is None:
            return
        trigger, slot = identity(finding)
        said = Annotation(action=action, trigger=trigger, slot=slot, reason=reason, role=self.role)
        try:
            annotate(self.run_path, said)
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
        self._mark_judged()
        self._show_annotations()

    def _show_annotations(self) -> None:
        shown, said = self._shown_finding(), read_annotations(self.run_path)
        self.detail.set_annotations(one for one in said if (one.trigger, one.slot) == shown and one.role == self.role)

    def _mark_judged(self) -> None:
        """In every table, the last word that was said of a row."""
        last = {(one.role, one.trigger, one.slot): _SAID[one.action] for one in read_annotations(self.run_path)}
        for (role, trigger, slot), word in last.items():
            if role in self.sides and self.sides[role].table.find(trigger, slot) >= 0:
                self.sides[role].table.append([{"trigger": trigger, "slot": slot, "said": word}])

    def _ask(self, prompt: str) -> None:
        """Queue one prompt on the model of the shown finding."""
        finding, folder = self._finding(), self.run_path
        if finding is None:
            return
        try:
            spec = RunFolder.open(folder).spec
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        if isinstance(spec, AuditSpec):
            student = self.role == "student"
            ref = ModelRef.parse((spec.student or spec.teacher) if student else spec.teacher)
            load = spec.student_load if student else spec.teacher_load
        else:
            ref, load = spec.ref, spec.load
        trigger, slot = identity(finding)
        ask = AskSpec(
            model=ref.path, adapter=ref.adapter, prompt=prompt, trigger=trigger, slot=cast(Slot, slot), load=load
        )
        try:  # inside the run that it belongs to, so that the history shows scans and not every try
            kept = RunFolder.create(ask, folder / "tries" / new_run_id("ask"))
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        run_id = self.context.submit(ask, folder=kept)
        if run_id:
            self.asked[run_id] = (trigger, slot)
            self.detail.try_it.say("Waiting for the engine…", busy=True)

    def _answered(self, run_id: str) -> None:
        about = self.asked.pop(run_id)
        if about != self._shown_finding():
            return
        report = read_report(self.context.run_folder(run_id))
        answers = (report or {}).get("answers")
        if isinstance(answers, dict):
            self.detail.try_it.show_answers(str(answers.get("without", "")), str(answers.get("with_trigger", "")))
        else:
            self.detail.try_it.say("No answer came: the run did not reach its end.")

    def open_run(self, folder: Path) -> None:
        try:
            run = RunFolder.open(folder)
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        self.run_path = run.path
        audit = isinstance(run.spec, AuditSpec)
        roles = [r for r in _ROLES if r == "teacher" or run.spec.student] if isinstance(run.spec, AuditSpec) else [""]
        if run.id != self.run_id or not self.sides:
            self.run_id, self.audit = run.id, audit
            self.sides = {}
        self.ended = True
        for role in roles:
            side = self.sides.setdefault(role, Side())
            part = run.path / f"{role}-scan" if role else run.path
            report = read_report(part)
            if report is not None:
                take_report(side, report, read_report(run.path / f"{role}-cross") if role else None)
            if audit and "inspect" not in side.progress:
                findings = (run.read_json(f"artifacts/{role}-card.json") or {}).get("findings")
                if isinstance(findings, list):
                    side.progress["inspect"] = Progress("inspect", "Files", 1, 1, note=f"{len(findings)} findings")
        for event in read_events(run.path):
            if isinstance(event, Progress):
                self._take(event)
        self._flush()
        self._mark_judged()
        self.show_role(self.role if self.role in self.sides else roles[0])

    # showing

    def show_role(self, role: str) -> None:
        """Show the side of one model: teacher, student, or "" for the only one."""
        if role not in self.sides:
            return
        self.role = role
        table = self.sides[role].table
        self.view.setModel(table)
        for number, column in enumerate(table.columns):
            if column.width:
                self.view.setColumnWidth(number, column.width)
        self.view.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._fit_columns()
        self.view.selectionModel().currentRowChanged.connect(self._on_row)
        self._show_side()
        if table.rows:
            self.view.selectRow(0)

    def _show_side(self) -> None:
        side = self.sides.get(self.role)
        for widget, shown in ((self.line, side), (self.split, side), (self.empty, side is None)):
            widget.setVisible(bool(shown))
        for role, made in self.role_buttons.items():
            made.setVisible(self.audit and role in self.sides)
            made.setChecked(role == self.role)
        if side is None:
            self._show_empty()
            return
        report = side.report
        weights = (report.get("weights") or {}).get("findings") or ()
        words = [str(report.get("summary", {}).get("sentence", ""))]
        words += [str(row["message"]) for row in weights if row["severity"] != "high"]  # those are in the sentence
        self.sentence.setText("\n".join(filter(None, words)))
        self.sentence.setVisible(bool(self.sentence.text()))
        unseen = [str(line) for line in report.get("could_not_see") or ()]
        if report.get("power"):
            unseen.append(str(report["power"]))
        self.unseen.setText("\n".join(f"–  {line}" for line in unseen))
        self.unseen_title.setVisible(bool(unseen))
        self.unseen.setVisible(bool(unseen))
        self.said.setVisible(bool(self.sentence.text() or unseen))
        self._show_count()
        self._show_stations()
        if not side.table.rows:
            self.detail.clear("Candidates appear here while the scan runs." if not self.ended else self._nothing(side))

    def _nothing(self, side: Side) -> str:
        if side.report:
            return "No candidate stood out from the controls."
        return "This scan did not reach its end. What was finished is kept: resume it from Runs."

    def _show_empty(self) -> None:
        has = self.choice() is not None
        words = (
            "Choose a preset and start the scan: it looks for known triggers that turn every answer into one payload."
            if has
            else "Open a model to scan it for triggers: drop its folder on the window, or press Ctrl+O.\n"
            "A finished scan opens from Runs."
        )
        self.empty_words.setText(words)
        self.choose.setVisible(not has)

    def _show_count(self) -> None:
        side = self.sides.get(self.role)
        if side is None:
            return
        self.candidates_title.setText("Candidates")
        self.count.setText(f"· {len(side.table.rows):,} pairs of trigger and slot, strongest evidence first")

    def _show_stations(self) -> None:
        side = self.sides.get("teacher" if self.audit else "")
        if side is None:
            return
        student = self.sides.get("student") if self.audit else None
        self.stations.set_stations(scan_stations(side, student, ended=self.ended, files=self._files_note(side)))

    def _files_note(self, side: Side) -> str:
        """What is known of the files of a scan whose diary says nothing of them."""
        choice = self.context.teacher
        if choice is not None and choice.card is not None and choice.name == side.report.get("model", {}).get("name"):
            return f"{len(choice.card.findings)} findings"
        return ""

    def _on_row(self, now: QModelIndex, _before: QModelIndex) -> None:
        side = self.sides.get(self.role)
        if side is None or not now.isValid() or now.row() >= len(side.table.rows):
            return
        row = side.table.rows[now.row()]
        others = list(side.table.of_trigger(identity(row)[0]))
        finding = next((f for f in side.findings if identity(f) == identity(row)), None)
        if finding is not None:
            self.detail.show_finding(finding, self.role or "model", others)
            self._show_annotations()
        else:
            self.detail.show_candidate(row, others)


def _is_start(event: QKeyEvent) -> bool:
    return event.modifiers() & Qt.KeyboardModifier.ControlModifier == Qt.KeyboardModifier.ControlModifier and (
        event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier
    )
