"""Suites: what each measures and cannot, teacher and student over the margin, and the items themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from app import estimates, theme
from app.context import Context, ModelChoice
from app.pages.base import Page
from app.tables.rows import table_view
from app.tables.suite_items import FILTERS, Item, ItemTable, merge, wanted
from app.widgets.basic import button, card, heading, label
from app.widgets.dot_plot import DotPlot, DotRow
from app.widgets.import_dialog import ImportDialog
from app.widgets.interval_strip import Span
from app.widgets.suite_item import SuiteItemDetail
from app.widgets.suite_tree import SuiteTree
from core.errors import ForeshotError
from core.runs.events import Event, Progress, Samples
from core.runs.folder import RunFolder, data_dir
from core.specs import AuditSpec, SuiteSpec
from core.verdicts import class_titles

if TYPE_CHECKING:
    from core.suites import Suite

_ROLES: Final = ("teacher", "student")


class SuitesPage(Page):
    name = "suites"
    title = "Suites"
    icon = "suites"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.runs: dict[str, str] = {}  # run id → role; "" is an audit, whose events name their role
        self.reports: dict[str, dict[str, Any]] = {}
        self.items: dict[tuple[str, str], Item] = {}
        self.suites: dict[str, Suite] = {}  # by id; the user's own by the path of the file
        self.expanded = ""
        self.flush = QTimer(self)
        self.flush.setSingleShot(True)
        self.flush.setInterval(150)
        self.flush.timeout.connect(self._filter)
        self._build()
        self.read_suites()
        self._show()

    def _build(self) -> None:
        left, column = card()
        head = QHBoxLayout()
        head.addWidget(heading("Suites"), 1)
        self.import_button = button("Import…", self.import_set, tip="A data set that you downloaded")
        head.addWidget(self.import_button)
        column.addLayout(head)
        self.tree = SuiteTree()
        self.tree.suite_chosen.connect(lambda _key: self._show_suite())
        self.tree.ticks_changed.connect(self._show_setup)
        column.addWidget(self.tree, 3)
        self.about = label(size=theme.SMALL, muted=True, wrap=True)
        self.about.setAccessibleName("What the suite measures")
        self.limits_title = heading("Limits")
        self.limits = label(size=theme.SMALL, muted=True, wrap=True)
        self.limits.setAccessibleName("Limits of the suite")
        words = QWidget()
        words.setObjectName("page")
        inside = QVBoxLayout(words)
        inside.setContentsMargins(0, 0, 8, 0)
        for widget in (self.about, self.limits_title, self.limits):
            inside.addWidget(widget)
        inside.addStretch(1)
        reading = QScrollArea()
        reading.setWidgetResizable(True)
        reading.setFrameShape(QFrame.Shape.NoFrame)
        reading.setWidget(words)
        column.addWidget(reading, 2)
        self.note = label(size=theme.SMALL, muted=True, wrap=True)
        self.run_button = button("Run on both", self.run_suites, primary=True)
        column.addWidget(self.note)
        column.addWidget(self.run_button)

        self.plot = DotPlot()
        self.plot.row_chosen.connect(self._row_chosen)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        inner = QWidget()
        inner.setObjectName("page")
        hold = QVBoxLayout(inner)
        hold.setContentsMargins(0, 0, 0, 0)
        hold.addWidget(self.plot)
        hold.addStretch(1)
        scroll.setWidget(inner)
        centre, column = card()
        head = QHBoxLayout()
        head.addWidget(heading("Effect with 95 % interval"))
        head.addWidget(label("0 is neutral · the band is the margin δ", muted=True, size=theme.SMALL), 1)
        column.addLayout(head)
        column.addWidget(scroll, 1)
        self.empty = label(size=theme.LEAD, wrap=True)
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self.empty, 1)
        self.plot_scroll = scroll

        below, column = card()
        self.table = ItemTable()
        self.view = table_view(self.table, "Items", row_height=26)
        self.view.setSortingEnabled(True)
        self.view.horizontalHeader().setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search the items")
        self.search.setAccessibleName("Search the items")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(lambda _text: self.flush.start())
        self.kind = QComboBox()
        self.kind.setAccessibleName("Filter the items")
        self.kind.addItems(list(FILTERS))
        self.kind.currentIndexChanged.connect(lambda _at: self._filter())
        self.count = label(muted=True)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(heading("Items"))
        row.addWidget(self.count, 1)
        row.addWidget(self.kind)
        row.addWidget(self.search)
        self.search.setFixedWidth(220)
        column.addLayout(row)
        self.detail = SuiteItemDetail()
        self.view.selectionModel().currentRowChanged.connect(lambda now, _before: self._show_item(now.row()))
        body = QHBoxLayout()
        body.setSpacing(16)
        body.addWidget(self.view, 3)
        body.addWidget(self.detail, 2)
        column.addLayout(body, 1)
        self.below = below

        self.right = QSplitter(Qt.Orientation.Vertical)
        self.right.setHandleWidth(12)
        self.right.setChildrenCollapsible(False)
        self.right.addWidget(centre)
        self.right.addWidget(below)
        self.right.setSizes([400, 330])
        outer = QHBoxLayout(self)
        outer.setContentsMargins(20, 16, 20, 16)
        outer.setSpacing(12)
        left.setFixedWidth(292)
        outer.addWidget(left)
        outer.addWidget(self.right, 1)

    # the suites and what runs them

    def read_suites(self) -> None:
        """Read the shipped suites and the user's own; a broken one is named, and the others are shown."""
        from core import suites  # on first sight of the page: reads YAML

        try:
            self.suites = {suite.id: suite for suite in suites.list_suites()}
        except ForeshotError as error:
            self.suites = {}
            self.context.show_error(error.message, error.hint)
        own: dict[str, Suite] = {}
        for path in sorted(own_suites().glob("*.yaml")):
            try:
                own[str(path)] = suites.read_suite(path)
            except ForeshotError as error:
                self.context.show_error(error.message, error.hint)
        self.tree.set_suites(grouped(self.suites, own))
        self.suites |= own
        self._show_suite()

    def import_set(self) -> None:
        """Let the user import a data set; what comes out joins the tree."""
        dialog = ImportDialog(own_suites(), self)
        if dialog.exec() and dialog.imported is not None:
            self.read_suites()
            self.tree.choose(str(dialog.imported.suite))

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        self._show_setup()
        self._show()

    def chosen(self) -> tuple[str, ...]:
        """Ids (or files) of the suites that are ticked."""
        return self.tree.ticked()

    def models(self) -> dict[str, ModelChoice]:
        pair = (("teacher", self.context.teacher), ("student", self.context.student))
        return {role: choice for role, choice in pair if choice is not None}

    def run_suites(self) -> None:
        """Queue the ticked suites, one job a model."""
        models, chosen = self.models(), self.chosen()
        if not models or not chosen:
            return
        self.reports, self.items, self.runs = {}, {}, {}
        # none named means every shipped one
        suites = () if set(chosen) == {key for key in self.suites if not key.endswith(".yaml")} else chosen
        for role, choice in models.items():
            spec = SuiteSpec(model=choice.ref.path, adapter=choice.ref.adapter, suites=suites, load=choice.load)
            run_id = self.context.submit(spec)
            if run_id:
                self.runs[run_id] = role
        self._show()

    def _show_setup(self) -> None:
        models, chosen = self.models(), self.chosen()
        words = {2: "Run on teacher and student", 1: f"Run on the {next(iter(models), '')}", 0: "Run"}
        self.run_button.setText(words[len(models)])
        self.run_button.setAccessibleName(words[len(models)])
        self.run_button.setEnabled(bool(models and chosen) and not self._busy())
        if not models:
            self.note.setText("Open a teacher and a student first: drop their folders on the window, or Ctrl+O.")
        elif not chosen:
            self.note.setText("Tick at least one suite.")
        else:
            self.note.setText("\n".join(self._before_start(models, chosen)))
        self.note.setVisible(bool(self.note.text()))

    def _before_start(self, models: dict[str, ModelChoice], chosen: tuple[str, ...]) -> list[str]:
        """How much there is to do, how long that took before, and what one model alone cannot tell."""
        picked = [self.suites[key] for key in chosen if key in self.suites]
        items = sum(len(suite.items) for suite in picked)
        lines = [f"{len(chosen)} {'suite' if len(chosen) == 1 else 'suites'}, {items:,} items a model"]
        for role, choice in models.items():
            words = estimates.suite_words(self.context.runs_dir, choice, picked, self.context.rate(choice))
            if words:
                lines.append(f"{role}: {words}")
        if len(models) == 1:
            lines.append("One model alone: effects, but no transfer.")
        return lines

    def _busy(self) -> bool:
        waiting = {folder.id for folder in getattr(self.context.jobs, "waiting", ())}
        return any(run_id in self.context.running or run_id in waiting for run_id in self.runs)

    def _show_suite(self) -> None:
        suite = self.suites.get(self.tree.chosen())
        self.about.setText(about(suite) if suite is not None else "Choose a suite to read what it measures.")
        limits = suite.limits if suite is not None else ""
        self.limits.setText(limits)
        self.limits_title.setVisible(bool(limits))

    # following runs

    def on_started(self, run_id: str) -> None:
        folder = self.context.folders.get(run_id)
        if folder is None or run_id in self.runs:
            self._show_setup()
            return
        if isinstance(folder.spec, AuditSpec):
            self.reports, self.items, self.runs = {}, {}, {run_id: ""}
        elif isinstance(folder.spec, SuiteSpec):
            self.runs[run_id] = self._role_of(folder.spec)
        self._show()

    def on_event(self, run_id: str, event: Event) -> None:
        if run_id not in self.runs:
            return
        if isinstance(event, Samples):
            role, _, table = event.table.rpartition("/")
            if table == "items":
                merge(self.items, role or self.runs[run_id] or "teacher", event.rows)
                if not self.flush.isActive():
                    self.flush.start()
        elif isinstance(event, Progress) and event.stage.rpartition("/")[2] == "suite" and not self.plot.rows:
            share = event.done / event.total if event.total else 0.0
            self.empty.setText(f"{event.task}: {share:.0%}".replace("%", " %"))

    def on_finished(self, run_id: str, outcome: object) -> None:
        if run_id in self.runs:
            self._load(self.context.run_folder(run_id))
        self._show_setup()

    def open_run(self, folder: Path) -> None:
        self._load(folder)

    def _role_of(self, spec: SuiteSpec) -> str:
        student = self.context.student
        return "student" if student is not None and student.ref == spec.ref else "teacher"

    def _load(self, path: Path) -> None:
        try:
            run = RunFolder.open(path)
            if isinstance(run.spec, AuditSpec):
                self.reports, self.items, self.runs = {}, {}, {run.id: ""}
                for role in _ROLES:
                    if (run.path / f"{role}-suite" / "spec.json").exists():
                        self._take(RunFolder.open(run.path / f"{role}-suite"), role)
            elif isinstance(run.spec, SuiteSpec):
                role = self.runs.get(run.id) or self._role_of(run.spec)
                self.runs[run.id] = role
                for item in self.items.values():
                    item.values.pop(role, None)
                self.items = {key: item for key, item in self.items.items() if item.values}
                self._take(run, role)
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
        self._show()

    def _take(self, run: RunFolder, role: str) -> None:
        report = run.read_json("report.json")
        if isinstance(report, dict):
            self.reports[role] = report
        merge(self.items, role, run.items())

    # showing

    def _show(self) -> None:
        rows = dot_rows(self.reports, self.expanded)
        self.plot.set_rows(rows)
        self.plot_scroll.setVisible(bool(rows))
        self.empty.setVisible(not rows)
        if not rows:
            self.empty.setText(self._empty_words())
        self.below.setVisible(bool(self.items) or bool(rows))
        self._show_setup()
        self._filter()

    def _row_chosen(self, number: int) -> None:
        """A suite opens its groups; what is chosen narrows the items down."""
        row = self.plot.rows[number] if 0 <= number < len(self.plot.rows) else None
        expanded = row.suite if row is not None else ""
        if expanded != self.expanded:
            self.expanded = expanded
            rows = dot_rows(self.reports, expanded)
            self.plot.set_rows(rows)
            if row is not None:
                self.plot.mark(rows.index(row))
                self.tree.choose(row.suite)
        self._filter()

    def _show_item(self, at: int) -> None:
        self.detail.show_item(self.table.rows[at] if 0 <= at < len(self.table.rows) else None)

    def _empty_words(self) -> str:
        if self._busy():
            return "Running: effects appear when a model is done, items as they are scored."
        if self.items:
            return "This run did not reach its end, so there are items but no effects. Resume it from Runs."
        if not self.models():
            return "Open a teacher and a student, then run the suites on both.\nA finished audit opens from Runs."
        return "Nothing measured yet. Tick the suites and run them on the models above."

    def _filter(self) -> None:
        self.flush.stop()
        if self.items:
            self.below.setVisible(True)
        at = self.plot.chosen
        row = self.plot.rows[at] if 0 <= at < len(self.plot.rows) else None
        suite, group = (row.suite, row.group) if row is not None else ("", "")
        search, kind = self.search.text(), self.kind.currentIndex()
        shown = [item for item in self.items.values() if wanted(item, search, kind, suite, group)]
        self.table.set_rows(shown)
        header = self.view.horizontalHeader()
        if header.sortIndicatorSection() >= 0:
            self.table.sort(header.sortIndicatorSection(), header.sortIndicatorOrder())
        where = f" in {row.title}" if row is not None else ""
        self.count.setText(f"· {len(shown):,} of {len(self.items):,}{where}")


def own_suites() -> Path:
    """Where imported suites and those of the user's own lie."""
    return data_dir() / "suites"


def grouped(shipped: dict[str, Suite], own: dict[str, Suite]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Class titles in the order of the scorecard, each with its suites; the user's own come last."""
    classes: dict[str, list[tuple[str, str]]] = {}
    for key, suite in shipped.items():
        classes.setdefault(suite.risk_class, []).append((key, suite.title))
    titles = class_titles()
    order = [*titles, *(name for name in classes if name not in titles)]
    groups = [(f"{name} · {titles.get(name, name)}", classes[name]) for name in order if name in classes]
    return [*groups, ("Your own", [(key, suite.title) for key, suite in own.items()])] if own else groups


def about(suite: Suite) -> str:
    """What a suite measures, as its file says it."""
    clusters = len({item.cluster for item in suite.items})
    facts = [
        f"{suite.risk_class} · version {suite.version} · δ = {suite.margin:g}",
        f"{len(suite.items):,} items in {clusters} clusters · {', '.join(suite.languages)}",
        f"{suite.licence} · {suite.provenance}",
    ]
    return f"Measures {suite.measures.rstrip('.')}.\n" + "\n".join(facts)


def _span(suite: dict[str, Any] | None) -> Span | None:
    effect = (suite or {}).get("effect")
    return Span(effect["value"], effect["low"], effect["high"]) if effect else None


def _group_span(group: dict[str, Any] | None) -> Span | None:
    return Span(group["value"], group.get("low"), group.get("high")) if group else None


def dot_rows(reports: dict[str, dict[str, Any]], expanded: str = "") -> list[DotRow]:
    """One row a suite, and the groups of the expanded one; teacher and student joined by suite id and group."""
    by_role = {role: {s["id"]: s for s in report.get("suites", ())} for role, report in reports.items()}
    order = dict.fromkeys(key for role in _ROLES for key in by_role.get(role, {}))
    rows: list[DotRow] = []
    for key in order:
        pair = [by_role.get(role, {}).get(key) for role in _ROLES]
        first = next(suite for suite in pair if suite is not None)
        margin = float(first["margin"])
        detail = f"{first['n']} items in {first['clusters']} clusters · δ = {margin:g}"
        unit = str(first.get("unit", "rate"))
        rows.append(DotRow(key, first["title"], detail, _span(pair[0]), _span(pair[1]), margin, unit=unit))
        if key != expanded and len(order) > 1:
            continue
        groups = [{g["group"]: g for g in (suite or {}).get("groups", ())} for suite in pair]
        for group in dict.fromkeys([*groups[0], *groups[1]]):
            spans = [_group_span(side.get(group)) for side in groups]
            count = next(side[group]["n"] for side in groups if group in side)
            rows.append(DotRow(key, group, f"n = {count}", spans[0], spans[1], margin, group, unit))
    return rows
