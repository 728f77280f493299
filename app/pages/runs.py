"""Runs: what was done, with its sentence; open it, resume it, compare two, or copy the command that does it again."""

from __future__ import annotations

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication, QShowEvent
from PySide6.QtWidgets import QAbstractItemView, QHBoxLayout, QLineEdit, QVBoxLayout, QWidget

from app import theme
from app.context import Context
from app.pages.base import Page
from app.tables.history import history_table, status
from app.tables.rows import table_view
from app.widgets.basic import ElidedLabel, button, card, label
from app.widgets.compare_dialog import CompareDialog
from core.errors import ForeshotError
from core.runs.folder import RunFolder
from core.runs.index import RunRow
from core.specs import command_line


class RunsPage(Page):
    name = "runs"
    title = "Runs"
    icon = "runs"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search models, jobs and results")
        self.search.setAccessibleName("Search runs")
        self.search.setClearButtonEnabled(True)
        self.search.setFixedWidth(340)
        self.search.textChanged.connect(lambda _text: self.refresh(sync=False))
        self.model = history_table()
        self.table = table_view(self.model, "Runs", row_height=32)
        self.table.activated.connect(lambda _index: self.open_chosen())
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.table.selectionModel().currentRowChanged.connect(lambda *_: self._show_chosen())
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._show_chosen())
        self.count = label(muted=True)
        self.empty = label(
            "No run yet. Drop a teacher and a student on Start, then press “Audit this pair”.", muted=True, wrap=True
        )
        self.open = button("Open", self.open_chosen, primary=True, tip="Enter")
        self.resume = button("Resume", self.resume_chosen, tip="Goes on where it stopped; nothing is done twice")
        self.compare = button("Compare", self.compare_chosen)
        self.copy = button("Copy command", self.copy_command, tip="The command line that does the same")
        self.folder = button("Show folder", self.show_folder)
        self.says = label(wrap=True)
        self.command = ElidedLabel(font=theme.mono_font(), muted=True)
        self._build()
        self.refresh()

    def _build(self) -> None:
        frame, column = card(margin=12)
        top = QHBoxLayout()
        top.addWidget(self.search)
        top.addSpacing(8)
        top.addWidget(self.count)
        top.addStretch(1)
        column.addLayout(top)
        column.addWidget(self.empty)
        column.addWidget(self.table, 1)
        self.foot, foot = card()
        foot.addWidget(self.says)
        foot.addWidget(self.command)
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        for made in (self.open, self.resume, self.compare, self.copy, self.folder):
            buttons.addWidget(made)
        buttons.addStretch(1)
        foot.addLayout(buttons)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(20, 20, 20, 20)
        outer.setSpacing(12)
        outer.addWidget(frame, 1)
        outer.addWidget(self.foot)

    # the list

    def refresh(self, *, sync: bool = True) -> None:
        """Read the index anew (``sync``: the folders too), keeping what was chosen."""
        index = self.context.index
        if index is None:
            return
        if sync:
            index.sync()
        chosen = self.chosen()
        rows = index.list(running=self.context.running, search=self.search.text().strip())
        self.model.set_rows(rows)
        self.empty.setVisible(not rows and not self.search.text())
        self.count.setText(f"{len(rows)} run{'s' if len(rows) != 1 else ''}")
        if rows:
            at = next((n for n, r in enumerate(rows) if chosen is not None and r.path == chosen.path), 0)
            self.table.setCurrentIndex(self.model.index(at, 0))
        self._show_chosen()

    def chosen(self) -> RunRow | None:
        row = self.table.currentIndex().row()
        return self.model.rows[row] if 0 <= row < len(self.model.rows) else None

    def _show_chosen(self) -> None:
        row = self.chosen()
        self.foot.setVisible(row is not None)
        if row is None:
            return
        self.says.setText(f"{status(row)}  ·  {row.summary}" if row.summary else status(row))
        self.command.setText(self._command(row))
        self.open.setEnabled(row.status in ("done", "running", "interrupted"))
        self.resume.setVisible(row.status == "interrupted")
        pair = self.chosen_pair()
        self.compare.setVisible(row.job == "audit")
        self.compare.setEnabled(pair is not None)
        self.compare.setToolTip(
            "What changed between the two, and whether beyond noise"
            if pair
            else "Choose two finished audits: hold Ctrl and click, or Shift with the arrow keys"
        )

    def chosen_pair(self) -> tuple[RunRow, RunRow] | None:
        """Two chosen audits that ended, the earlier one first."""
        rows = [self.model.rows[index.row()] for index in self.table.selectionModel().selectedRows()]
        if len(rows) != 2 or any(row.job != "audit" or row.status != "done" for row in rows):
            return None
        first, second = sorted(rows, key=lambda row: row.created)
        return first, second

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    def on_started(self, run_id: str) -> None:
        self.refresh(sync=True)

    def on_finished(self, run_id: str, outcome: object) -> None:
        self.refresh(sync=True)

    # what can be done with one

    def open_chosen(self) -> None:
        row = self.chosen()
        if row is not None:
            self.context.open_run(row.path)

    def resume_chosen(self) -> None:
        """Queue the interrupted run again, in its own folder."""
        row = self.chosen()
        if row is None or row.status != "interrupted":
            return
        try:
            folder = RunFolder.open(row.path)
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        self.context.submit(folder.spec, folder=folder)

    def compare_chosen(self) -> None:
        """Open what changed between the two chosen audits."""
        pair = self.chosen_pair()
        if pair is not None:
            CompareDialog(pair[0].path, pair[1].path, self).open()

    def copy_command(self) -> None:
        row = self.chosen()
        if row is not None:
            QGuiApplication.clipboard().setText(self._command(row))

    def show_folder(self) -> None:
        row = self.chosen()
        if row is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(row.path)))

    @staticmethod
    def _command(row: RunRow) -> str:
        try:
            return command_line(RunFolder.open(row.path).spec)
        except ForeshotError as error:
            return error.message
