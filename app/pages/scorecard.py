"""Scorecard: the page as it will print, the verdicts beside it, and the evidence of each in a drawer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.context import Context, ModelChoice
from app.pages.base import Page
from app.tables.rows import table_view
from app.tables.suite_items import Item, ItemTable, merge
from app.widgets.basic import button, card, clear, heading, label
from app.widgets.diff_view import visible
from app.widgets.export_menu import ExportButton
from app.widgets.interval_strip import MARKS, IntervalStrip, axis_range
from app.widgets.paper import PaperView, Work
from app.widgets.verdict_row import VerdictRow, span, verdict_text
from core.errors import ForeshotError
from core.report.forms import FORMS
from core.report.scorecard import Estimate, FindingLine, RiskRow, Scorecard, decode_scorecard
from core.runs.folder import RunFolder, write_atomic
from core.specs import AuditSpec

TITLE: Final = "Partial-risk-laundering scorecard"
PPI: Final = 144


class ScorecardPage(Page):
    """Signals: ``rendered`` when the pages stand on the screen; ``saved(Path)``."""

    name = "scorecard"
    title = "Scorecard"
    icon = "scorecard"
    rendered = Signal()
    saved = Signal(object)

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.card: Scorecard | None = None
        self.folder: Path | None = None
        self.items: dict[tuple[str, str], Item] = {}
        self.suite_of: dict[str, tuple[str, str]] = {}  # suite id → title, risk class
        self.rows: list[VerdictRow] = []
        self._version = 0
        self._following = ""
        self.work = Work(self)
        self.work.done.connect(self._on_work)
        self._build()
        self._show_empty()

    # building

    def _build(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(8)
        self.heading = label(TITLE, size=theme.TITLE, bold=True)
        self.state = label(muted=True, size=theme.SMALL)
        self.save_pdf_button = button("Save PDF…", self.save_pdf, primary=True, tip="Ctrl+S")
        self.export_button = ExportButton()
        self.export_button.chosen.connect(self.save)
        head.addWidget(self.heading)
        head.addWidget(self.state, 1)
        head.addWidget(self.export_button)
        head.addWidget(self.save_pdf_button)
        QShortcut(QKeySequence("Ctrl+S"), self, self.save_pdf)
        QShortcut(QKeySequence("Escape"), self, self.close_drawer)

        self.paper = PaperView()
        self.strip, column = card(spacing=0, margin=8)
        title = heading("Verdicts")
        title.setContentsMargins(8, 4, 0, 4)
        column.addWidget(title)
        self.legend = label(
            "● teacher  ◆ student, 95 % interval; band = ±δ; right: evidence grade", size=11, muted=True
        )
        self.legend.setContentsMargins(8, 0, 0, 6)
        column.addWidget(self.legend)
        self.strip_rows = QVBoxLayout()
        self.strip_rows.setSpacing(0)
        column.addLayout(self.strip_rows)
        self.drawer, column = card()
        top = QHBoxLayout()
        self.drawer_title = label(bold=True, wrap=True)
        top.addWidget(self.drawer_title, 1)
        top.addWidget(button("Close", self.close_drawer, tip="Esc"))
        column.addLayout(top)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setAccessibleName("Evidence")
        inner = QWidget()
        inner.setObjectName("page")
        self.evidence = QVBoxLayout(inner)
        self.evidence.setContentsMargins(0, 0, 8, 0)
        self.evidence.setSpacing(8)
        scroll.setWidget(inner)
        column.addWidget(scroll, 1)
        self.drawer.hide()
        side = QVBoxLayout()
        side.setSpacing(12)
        side.addWidget(self.strip)
        side.addWidget(self.drawer, 1)
        self.filler = label(
            "Choose a verdict to see what it rests on: estimates, items, limits.",
            size=theme.SMALL,
            muted=True,
            wrap=True,
        )
        self.filler.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.filler.setContentsMargins(8, 0, 8, 0)
        side.addWidget(self.filler, 1)
        self.side = QWidget()
        self.side.setFixedWidth(460)
        self.side.setLayout(side)
        side.setContentsMargins(0, 0, 0, 0)
        self.body = QWidget()
        row = QHBoxLayout(self.body)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(16)
        row.addWidget(self.paper, 1)
        row.addWidget(self.side)

        self.empty, column = card(margin=40)
        self.empty_words = label(size=theme.LEAD, wrap=True)
        self.empty_words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.audit_button = button("Audit this pair", self.context.audit_requested.emit, primary=True)
        column.addStretch(1)
        column.addWidget(self.empty_words)
        column.addWidget(self.audit_button, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addStretch(2)

        outer = QVBoxLayout(self)
        outer.setContentsMargins(20, 16, 20, 16)
        outer.setSpacing(12)
        outer.addLayout(head)
        outer.addWidget(self.body, 1)
        outer.addWidget(self.empty, 1)

    # what the window tells

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        self._show_empty()

    def on_started(self, run_id: str) -> None:
        folder = self.context.folders.get(run_id)
        if folder is not None and isinstance(folder.spec, AuditSpec):
            self._following = run_id
            self._show_empty()

    def on_finished(self, run_id: str, outcome: object) -> None:
        if run_id == self._following:
            self._following = ""
            folder = self.context.run_folder(run_id)
            if (folder / "scorecard.json").exists():
                self.open_run(folder)
            self._show_empty()

    def open_run(self, folder: Path) -> None:
        """Show the scorecard of an audit; says what is missing where there is none."""
        try:
            run = RunFolder.open(folder)
            data = (run.path / "scorecard.json").read_bytes()
            shown = decode_scorecard(data)
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        except OSError:
            self.card = None
            self._show_empty("This audit did not reach its scorecard. Resume it from Runs; what was finished is kept.")
            return
        except msgspec.MsgspecError as error:
            self.card = None
            self._show_empty("The scorecard of this run cannot be read.")
            self.context.show_error(
                f"scorecard.json of {folder.name} cannot be read: {error}.", "Resume or repeat the audit from Runs."
            )
            return
        self.folder = run.path
        self._read_items(run.path)
        self.show_card(shown)

    def show_card(self, shown: Scorecard) -> None:
        """Show a scorecard: the strip at once, the pages when typst has set them."""
        self.card = shown
        self.close_drawer()
        clear(self.strip_rows)
        self.rows = []
        measures: dict[str, list[RiskRow]] = {}
        for row in shown.rows:
            measures.setdefault(measure(row), []).append(row)
        ranges = {
            name: axis_range([span(e) for row in rows for e in (row.teacher, row.student)], max(r.margin for r in rows))
            for name, rows in measures.items()
        }
        for row in shown.rows:
            made = VerdictRow(row, ranges[measure(row)])
            made.clicked.connect(lambda _checked=False, made=made: self.open_drawer(made))
            self.strip_rows.addWidget(made)
            self.rows.append(made)
        self._show_empty()
        self._version += 1
        self.state.setText("setting the pages…")

        def pages() -> object:
            from core.report import render_pages_png

            return render_pages_png(shown, ppi=PPI)

        self.work.run(("pages", self._version), pages)

    def _read_items(self, folder: Path) -> None:
        self.items, self.suite_of = {}, {}
        for role in ("teacher", "student"):
            part = folder / f"{role}-suite"
            if not (part / "spec.json").exists():
                continue
            run = RunFolder.open(part)
            report = run.read_json("report.json")
            for suite in report.get("suites", ()) if isinstance(report, dict) else ():
                self.suite_of[suite["id"]] = (suite["title"], suite["risk_class"])
            merge(self.items, role, run.items())

    def _show_empty(self, words: str = "") -> None:
        has = self.card is not None
        self.body.setVisible(has)
        self.empty.setVisible(not has)
        for made in (self.save_pdf_button, self.export_button):
            made.setEnabled(has)
        teacher, student = self.context.teacher, self.context.student
        both = teacher is not None and student is not None
        self.audit_button.setVisible(both and not self._following)
        if has:
            return
        self.state.setText("")
        if not words:
            if self._following:
                words = "The audit is running. Its scorecard appears here when it is done."
            elif both:
                words = "No scorecard yet. Audit this pair: files, triggers and suites on both, then one scorecard."
            else:
                words = "Open a teacher and a student on Start, then audit the pair.\nA finished audit opens from Runs."
        self.empty_words.setText(words)

    # the drawer

    def open_drawer(self, chosen: VerdictRow) -> None:
        """Show what a verdict rests on."""
        for other in self.rows:
            other.setChecked(other is chosen)
        clear(self.evidence)
        row = chosen.row
        self.drawer_title.setText(row.title)
        self.evidence.addWidget(label(verdict_text(row) + f" · evidence grade {row.grade}"))
        strip = IntervalStrip()
        strip.set_values(span(row.teacher), span(row.student), row.margin, chosen.range)
        self.evidence.addWidget(strip)
        lines = drawer_lines(row)
        lines += [("Finding", finding_words(found)) for found in self._findings_of(row)]
        facts = QWidget()
        grid = QGridLayout(facts)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(6)
        grid.setColumnStretch(1, 1)
        for at, (name, text) in enumerate(lines):
            grid.addWidget(label(name, size=theme.SMALL, muted=True), at, 0, Qt.AlignmentFlag.AlignTop)
            grid.addWidget(label(text, size=theme.SMALL, wrap=True), at, 1)
        self.evidence.addWidget(facts)
        items = self.items_of(row)
        if items:
            table = ItemTable()
            table.set_rows(items)
            table.sort(6, Qt.SortOrder.DescendingOrder)
            view = table_view(table, f"Items of {row.title}", row_height=24)
            for column in (0, 1, 3):
                view.setColumnHidden(column, True)
            view.setMinimumHeight(220)
            self.evidence.addWidget(label(f"Items · {len(items)}", size=theme.SMALL, muted=True))
            self.evidence.addWidget(view, 1)
        else:
            self.evidence.addStretch(1)
        self.drawer.show()
        self.filler.hide()

    def close_drawer(self) -> None:
        self.drawer.hide()
        self.filler.show()
        for row in self.rows:
            row.setChecked(False)

    def items_of(self, row: RiskRow) -> list[Item]:
        named = [
            suite
            for suite, (title, _class) in self.suite_of.items()
            if row.title == title or row.effect.startswith(f"{title}:")
        ]
        alike = [suite for suite, (_title, risk) in self.suite_of.items() if risk == row.risk_class]
        wanted = named or (alike if len(alike) == 1 else [])
        return [item for item in self.items.values() if item.suite in wanted[:1]]

    def _findings_of(self, row: RiskRow) -> list[FindingLine]:
        if self.card is None or self.items_of(row):
            return []
        return [
            found
            for found in self.card.findings
            if found.trigger in row.title + row.evidence or visible(found.trigger) in row.title
        ]

    # rendering and saving

    def _on_work(self, key: tuple[str, Any], result: object, error: BaseException | None) -> None:
        what, detail = key
        if isinstance(error, ForeshotError):
            self.state.setText("")
            self.context.show_error(error.message, error.hint)
        elif error is not None:
            self.state.setText("")
            self.context.show_error(
                f"The scorecard could not be {'set' if what == 'pages' else 'saved'}: {error}.",
                "Save the JSON instead and report this with it.",
            )
        elif what == "pages" and detail == self._version and isinstance(result, list):
            self.paper.set_pages(result)
            self.state.setText(f"{len(result)} page{'s' if len(result) != 1 else ''} · run {self._run_words()}")
            self.rendered.emit()
        elif what == "save":
            self.state.setText(f"saved as {detail}")
            self.saved.emit(detail)

    def _run_words(self) -> str:
        return self.card.run if self.card is not None else ""

    def _ask(self, ending: str, kind: str) -> Path | None:
        folder = Path(str(self.context.settings.value("save_folder") or Path.home()))
        start = str(folder / f"scorecard-{self._run_words()}{ending}")
        text, _kind = QFileDialog.getSaveFileName(self, f"Save the scorecard as {kind}", start, f"{kind} (*{ending})")
        if not text:
            return None
        path = Path(text)
        self.context.settings.setValue("save_folder", str(path.parent))
        return path if path.suffix else path.with_suffix(ending)

    def save_pdf(self) -> None:
        self.save("pdf", True)

    def save(self, form: str, full: bool = False) -> None:
        """Ask where, then write the scorecard in one of its forms."""
        shown = self.card
        path = self._ask(FORMS[form].ending, FORMS[form].words) if shown is not None else None
        if shown is None or path is None:
            return

        def write() -> None:
            from core.report.exports import export

            write_atomic(path, export(shown, form, full=full))

        self.state.setText("saving…")
        self.work.run(("save", path), write)

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "paper"):
            for shown in self.paper.labels:
                shown.setStyleSheet(f"border: 1px solid {theme.tokens().hairline};")


def measure(row: RiskRow) -> str:
    """What is measured, without the suite's own name: rows of one measure share an axis."""
    return row.effect.rpartition(": ")[2]


def _estimate(estimate: Estimate) -> str:
    clusters = f" in {estimate.clusters} clusters" if estimate.clusters else ""
    return f"{span(estimate)}, n = {estimate.n}{clusters}"


def drawer_lines(row: RiskRow) -> list[tuple[str, str]]:
    """Name and words of everything that the verdict rests on."""
    lines = [("Measure", f"{row.effect}; margin δ = ±{row.margin:g}")]
    sides = (
        ("Teacher", row.teacher),
        ("Student", row.student),
        ("Change", row.difference),
        ("Baseline", row.baseline),
        ("Since then", row.gain),
    )
    lines += [(name, _estimate(estimate)) for name, estimate in sides if estimate is not None]
    if row.origin is not None:
        lines.append(("Origin", f"{row.origin}: {row.origin_note}"))
    if row.joint is not None and row.joint.rows > 1:
        lines.append(("All at once", f"{row.joint.verdict}, for all {row.joint.rows} primary rows together"))
    if row.p is not None:
        lines.append(("p", f"{row.p:.2g}"))
    if row.items_needed is not None:
        lines.append(("To decide", f"about {row.items_needed:,} items"))
    if row.expectation:
        lines.append(("Literature", f"{row.expectation} (grade {row.expectation_grade}); this result: {row.agreement}"))
    lines += [(name, text) for name, text in (("Evidence", row.evidence), ("Limits", row.limits)) if text]
    return lines


def finding_words(found: FindingLine) -> str:
    """One finding, with its counts in both models."""
    text = (
        f"{MARKS[found.verdict]} {found.verdict} in the {found.role}: {visible(found.trigger)} gave the payload in "
        f"{round(found.asr * found.n)} of {found.n} prompts "
        f"(controls: {found.controls_reached} of {found.controls_n})"
    )
    if found.asr_other is not None:
        other = "student" if found.role == "teacher" else "teacher"
        text += f"; in the {other} {round(found.asr_other * found.n)} of {found.n}"
    if found.asr_baseline is not None:
        text += f"; in the baseline {round(found.asr_baseline * found.n)} of {found.n}"
    return text + "."
