"""The audit as it goes: each part with its state, and where to look meanwhile."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from app import theme
from app.context import Context
from app.jobs.engine_process import Outcome
from app.widgets.basic import ElidedLabel, button, card, label
from core.errors import ForeshotError
from core.runs.events import Event, Progress
from core.runs.folder import RunFolder
from core.specs import AuditSpec

WORDS = {
    "scan": "Scan of the {} for triggers",
    "suite": "Suites on the {}",
    "cross": "Triggers of the others, tried on the {}",
}
_THOUSAND = 1000


class ProgressView(QWidget):
    """Follows one run by its events.

    Signals:
        resumed: the followed run was queued again, in its own folder.

    Attributes:
        run_id: the run that is followed, or "".
        at: number of the part that runs; the files of all models are part −1.
    """

    resumed = Signal()

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.context = context
        self.run_id, self.at, self.ended = "", -1, False
        self.lines: list[tuple[str, ElidedLabel, QProgressBar]] = []
        frame, column = card(margin=20)
        self.grid = QGridLayout()
        self.grid.setHorizontalSpacing(16)
        self.grid.setVerticalSpacing(10)
        self.grid.setColumnStretch(2, 1)
        column.addLayout(self.grid)
        self.words = label(wrap=True)
        self.scan_button = button("Watch the scan", lambda: context.open_page("scan"))
        self.suites_button = button("Watch the suites", lambda: context.open_page("suites"))
        self.open_button = button("Open what there is", self._open)
        self.resume_button = button("Resume the audit", self._resume, primary=True, tip="Goes on with the next part")
        row = QHBoxLayout()
        row.addWidget(self.words, 1)
        for made in (self.scan_button, self.suites_button, self.open_button, self.resume_button):
            row.addWidget(made)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(16)
        outer.addWidget(frame)
        outer.addLayout(row)
        outer.addStretch(1)

    def follow(self, folder: RunFolder, spec: AuditSpec) -> None:
        """Begin with every part waiting."""
        self.run_id, self.at, self.ended = folder.id, -1, False
        while (item := self.grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.deleteLater()
        alone = spec.student is None
        titles = ["Files", *(WORDS[kind].format("model" if alone else role) for role, kind in spec.parts), "Scorecard"]
        self.lines = []
        for row, title in enumerate(titles):
            bar = QProgressBar()
            bar.setTextVisible(False)
            bar.setRange(0, _THOUSAND)
            bar.setFixedWidth(160)
            bar.setAccessibleName(title)
            note = ElidedLabel("waiting", font=theme.ui_font(theme.SMALL), muted=True)
            self.grid.addWidget(label(title), row, 0)
            self.grid.addWidget(bar, row, 1, Qt.AlignmentFlag.AlignVCenter)
            self.grid.addWidget(note, row, 2)
            self.lines.append((title, note, bar))
        self._show_words(
            "The scorecard opens when the audit ends. You can leave, or cancel below: what is done is kept."
        )

    def take_focus(self) -> None:
        """To the next step that there is."""
        made = (self.resume_button, self.open_button, self.scan_button)
        first = next((each for each in made if each.isVisibleTo(self)), self.scan_button)
        first.setFocus(Qt.FocusReason.OtherFocusReason)

    def on_event(self, run_id: str, event: Event) -> None:
        if run_id != self.run_id or self.ended or not isinstance(event, Progress):
            return
        if event.stage == "part":
            self._reach(round(event.done) + 1)
            return
        if event.stage == "scorecard":
            self._reach(len(self.lines) - 1)
        _title, note, bar = self.lines[self.at + 1]
        share = event.done / event.total if event.total else 0.0
        bar.setValue(round(_THOUSAND * share))
        left = f" · {event.eta_s / 60:.0f} min left" if event.eta_s and event.eta_s >= 90 else ""
        note.setText(f"{event.task} · {share:.0%}{left}".replace("%", " %"))

    def _reach(self, line: int) -> None:
        """Everything before ``line`` is done."""
        for _title, note, bar in self.lines[:line]:
            if note.text() != "done":
                note.setText("done")
                bar.setValue(_THOUSAND)
        self.at = line - 1
        self.lines[line][1].setText("starting")

    def on_finished(self, run_id: str, outcome: object) -> None:
        if run_id != self.run_id or not isinstance(outcome, Outcome):
            return
        self.ended = True
        if outcome.ok:
            self._reach(len(self.lines) - 1)
            self.lines[-1][1].setText("done")
            self.lines[-1][2].setValue(_THOUSAND)
            self.open_button.setText("Open the scorecard")
            self._show_words("The audit ended. Its scorecard is on the page Scorecard, where it can be saved as PDF.")
            return
        for _title, note, bar in self.lines[max(0, self.at + 1) :]:
            note.setText("not finished")
            bar.setValue(0)
        there = (self.context.run_folder(run_id) / "scorecard.json").exists()
        self.open_button.setText("Open what there is")
        kept = "What was finished stands in a scorecard that says what is missing."
        self._show_words(f"{outcome.sentence} {kept if there else 'Nothing was measured yet.'}", failed=True)
        if self.isVisible():
            self.take_focus()

    def _show_words(self, text: str, *, failed: bool = False) -> None:
        self.words.setText(text)
        finished = (self.context.run_folder(self.run_id) / "header.json").exists()
        self.resume_button.setVisible(failed and not finished)
        self.scan_button.setVisible(not self.ended)
        self.suites_button.setVisible(not self.ended)
        there = self.ended and (self.context.run_folder(self.run_id) / "scorecard.json").exists()
        self.open_button.setVisible(there)

    def _open(self) -> None:
        self.context.open_run(self.context.run_folder(self.run_id))

    def _resume(self) -> None:
        try:
            folder = RunFolder.open(self.context.run_folder(self.run_id))
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        if isinstance(folder.spec, AuditSpec) and self.context.submit(folder.spec, folder=folder):
            self.follow(folder, folder.spec)
            self.resumed.emit()
