"""Start: two places to drop models on, what can be done with them, and what was done lately."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QHBoxLayout, QStackedWidget, QVBoxLayout, QWidget

from app import theme
from app.context import Context, ModelChoice
from app.pages.base import Page
from app.tables.history import recent_table
from app.tables.rows import table_view
from app.widgets.action_card import ActionCard
from app.widgets.basic import heading, label
from app.widgets.drop_target import DropTarget, Still
from core.runs.events import Event
from core.types import Role

if TYPE_CHECKING:
    from app.guide import AuditGuide

RECENT = 6
_CENTRE = Qt.AlignmentFlag.AlignHCenter


class StartPage(Page):
    name = "start"
    title = "Start"
    icon = "start"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.targets: dict[Role, DropTarget] = {}
        pair = QHBoxLayout()
        pair.setSpacing(0)
        roles: tuple[Role, Role] = ("teacher", "student")
        for role in roles:
            target = DropTarget(role, partial(context.choose_requested.emit, role))
            target.dropped.connect(lambda paths, role=role: context.paths_dropped.emit(paths, role))
            self.targets[role] = target
            if role == "student":
                pair.addWidget(Still())
            pair.addWidget(target, 1)

        self.cards = QHBoxLayout()
        self.cards.setSpacing(12)

        self.model = recent_table()
        self.recent = table_view(self.model, "Recent runs", row_height=26)
        self.recent.horizontalHeader().hide()
        self.recent.setStyleSheet("QTableView, QTableView::item { background: transparent; }")
        self.recent.activated.connect(self._open_recent)
        self.recent.clicked.connect(self._open_recent)
        self.recent_title = heading("Recent")

        whole = QVBoxLayout()
        whole.setSpacing(0)
        whole.addStretch(2)
        whole.addWidget(label("Which risks came over?", size=theme.HERO, bold=True), 0, _CENTRE)
        whole.addSpacing(12)
        whole.addWidget(
            label("Drop a teacher and its student. Everything stays on this machine.", size=theme.LEAD, muted=True),
            0,
            _CENTRE,
        )
        whole.addSpacing(32)
        whole.addLayout(pair)
        whole.addSpacing(32)
        whole.addLayout(self.cards)
        whole.addSpacing(32)
        whole.addWidget(self.recent_title)
        whole.addSpacing(8)
        whole.addWidget(self.recent)
        whole.addStretch(3)
        home = QWidget()
        home.setLayout(whole)
        self.guide: AuditGuide | None = None
        self.stack = QStackedWidget()
        self.stack.addWidget(home)
        self.stack.setMaximumWidth(960)
        outer = QHBoxLayout(self)
        outer.setContentsMargins(40, 16, 40, 16)
        outer.addStretch(1)
        outer.addWidget(self.stack, 20)
        outer.addStretch(1)
        if context.reader is not None:
            context.reader.card_ready.connect(lambda _ref: self._show_pair())
        self.refresh()

    def add_cards(self, audit: QAction, scan: QAction, distil: QAction, demo: QAction) -> None:
        """What can be done from here; called by the window, which owns the actions."""
        self.action_cards = [
            ActionCard(audit, "in four steps, to one scorecard"),
            ActionCard(scan, "triggers and file findings"),
            ActionCard(distil, "a teacher into a smaller student"),
            ActionCard(demo, "a planted trigger in a small model"),
        ]
        for made in self.action_cards:
            self.cards.addWidget(made)

    def begin_audit(self) -> AuditGuide:
        """Open the guided audit; it is made on first sight."""
        from app.guide import AuditGuide  # reads YAML

        if self.guide is None:
            self.guide = AuditGuide(self.context)
            self.guide.closed.connect(self.show_home)
            self.stack.addWidget(self.guide)
        self.stack.setCurrentWidget(self.guide)
        self.guide.begin()
        return self.guide

    def show_home(self) -> None:
        self.stack.setCurrentIndex(0)
        self.refresh()

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        self._show_pair()

    def _show_pair(self) -> None:
        reader = self.context.reader
        for role, choice in (("teacher", self.context.teacher), ("student", self.context.student)):
            error = reader.error(choice.ref) if reader is not None and choice is not None else None
            self.targets[cast(Role, role)].show_choice(choice, error)
        if self.guide is not None:
            self.guide.models.refresh()

    def refresh(self) -> None:
        """Read the recents anew."""
        index = self.context.index
        running = self.context.running
        self.model.set_rows(index.list(running=running, limit=RECENT) if index is not None else [])
        count = len(self.model.rows)
        self.recent.setVisible(count > 0)
        self.recent_title.setVisible(count > 0)
        self.recent.setFixedHeight(26 * max(1, count) + 4)

    def on_started(self, run_id: str) -> None:
        self.refresh()

    def on_event(self, run_id: str, event: Event) -> None:
        if self.guide is not None:
            self.guide.on_event(run_id, event)

    def on_finished(self, run_id: str, outcome: object) -> None:
        self.refresh()
        if self.guide is not None:
            self.guide.on_finished(run_id, outcome)

    def _open_recent(self, index: QModelIndex) -> None:
        path: Path = self.model.rows[index.row()].path
        self.context.open_run(path)
