"""Models: what lies in the folders, what fits, what was found in the files and what was not looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.context import Context, ModelChoice
from app.pages.base import Page
from app.tables.models import ModelRow, models_table
from app.tables.rows import table_view
from app.widgets.basic import ElidedLabel, button, card, clear, gigabytes, heading, label
from app.widgets.drop_target import parameters
from app.widgets.fit_bars import FitBars
from app.widgets.lineage import LineageLine, Node
from core.types import ModelRef, Quant, Role

if TYPE_CHECKING:
    from core.catalog import ModelCard

REMEMBERED = 40
_QUANTS: tuple[Quant, ...] = ("none", "int8", "nf4")
_SEVERITY = {"high": "▲ high", "medium": "◆ medium", "low": "● low", "info": "○ note"}
_RANK = {"high": 0, "medium": 1, "low": 2, "info": 3}


class ModelsPage(Page):
    name = "models"
    title = "Models"
    icon = "models"

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.refs: list[ModelRef] = self._remembered()
        self.model = models_table()
        self.table = table_view(self.model, "Models")
        self.table.selectionModel().currentRowChanged.connect(lambda *_: self._show_detail())
        self.empty = label("Drop a model folder here, or open one with Ctrl+O.", muted=True, wrap=True)
        self.detail = QVBoxLayout()
        self.detail.setContentsMargins(0, 0, 0, 0)
        self.detail.setSpacing(12)
        self._shown: tuple[ModelRow | None, ModelChoice | None, ModelChoice | None] | None = None
        self._build()
        if context.reader is not None:
            context.reader.card_ready.connect(lambda _ref: self.refresh())
        self.refresh()

    def _build(self) -> None:
        left, column = card(margin=12)
        top = QHBoxLayout()
        top.addWidget(heading("Models"))
        top.addStretch(1)
        top.addWidget(button("Open folder…", lambda: self.context.choose_requested.emit(""), tip="Ctrl+O"))
        column.addLayout(top)
        column.addWidget(self.empty)
        column.addWidget(self.table, 1)
        column.addStretch(0)

        inner = QWidget()
        inner.setObjectName("page")
        whole = QVBoxLayout(inner)
        whole.setContentsMargins(8, 0, 8, 0)
        whole.addLayout(self.detail)
        whole.addStretch(1)
        scroll = QScrollArea()
        scroll.setWidget(inner)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setAccessibleName("Details of the model")
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.addWidget(left)
        splitter.addWidget(scroll)
        splitter.setSizes([480, 760])
        splitter.setHandleWidth(12)
        splitter.setChildrenCollapsible(False)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(20, 20, 12, 20)
        outer.addWidget(splitter)

    # the list

    def _remembered(self) -> list[ModelRef]:
        stored = self.context.settings.value("models") or []
        return [ModelRef.parse(text) for text in (stored if isinstance(stored, list) else [stored])]

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        for choice in (student, teacher):
            if choice is not None:
                self.refs = [choice.ref, *(r for r in self.refs if r != choice.ref)][:REMEMBERED]
        self.context.settings.setValue("models", [str(ref) for ref in self.refs])
        self.refresh()

    def refresh(self) -> None:
        """Rebuild the list, keeping what was chosen in it."""
        reader = self.context.reader
        row = self.table.currentIndex().row()
        chosen = self.model.rows[row].ref if 0 <= row < len(self.model.rows) else None
        rows = [
            ModelRow(ref, self._place(ref), reader.card(ref) if reader else None, reader.error(ref) if reader else None)
            for ref in self.refs
        ]
        if rows != self.model.rows:
            self.model.set_rows(rows)
        self.empty.setVisible(not rows)
        self.table.setVisible(bool(rows))
        at = next((n for n, r in enumerate(rows) if r.ref == chosen), 0)
        if rows:
            self.table.setCurrentIndex(self.model.index(at, 0))
        self._show_detail()

    def _place(self, ref: ModelRef) -> str:
        places = (("teacher", self.context.teacher), ("student", self.context.student))
        return ", ".join(role for role, choice in places if choice is not None and choice.ref == ref)

    # the detail

    def _show_detail(self) -> None:
        index: QModelIndex = self.table.currentIndex()
        row = self.model.rows[index.row()] if index.isValid() else None
        wanted = (row, self.context.teacher, self.context.student)
        if wanted == self._shown:
            return
        clear(self.detail)
        self._shown = wanted
        if row is None:
            return
        if row.card is None and row.error is None and self.context.reader is not None:
            self.context.reader.read(row.ref)
        self.detail.addWidget(self._head(row))
        if row.error is not None:
            frame, column = card()
            column.addWidget(label(row.error.message, bold=True, wrap=True))
            column.addWidget(label(row.error.hint, wrap=True))
            self.detail.addWidget(frame)
        if row.card is not None:
            self.detail.addWidget(self._fit(row.card))
            self.detail.addWidget(self._findings(row.card))
            self.detail.addWidget(self._pair(row.card))

    def _head(self, row: ModelRow) -> QWidget:
        frame, column = card()
        column.addWidget(label(row.ref.name, size=theme.TITLE, bold=True, wrap=True))
        column.addWidget(ElidedLabel(str(row.ref), font=theme.mono_font(), muted=True))
        buttons = QHBoxLayout()
        buttons.setSpacing(8)
        roles: tuple[Role, Role] = ("teacher", "student")
        for role in roles:
            made = button(f"Use as {role}", partial(self._use, row.ref, role))
            made.setEnabled(role not in row.place)
            buttons.addWidget(made)
        if row.place:
            buttons.addSpacing(8)
            buttons.addWidget(label("load as", muted=True))
            buttons.addWidget(self._quant_box(row))
        buttons.addStretch(1)
        buttons.addWidget(button("Show files", lambda: QDesktopServices.openUrl(QUrl.fromLocalFile(row.ref.path))))
        column.addLayout(buttons)
        if row.card is None:
            if row.error is None:
                column.addWidget(label("Reading its files…", muted=True))
            return frame
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        grid.setColumnStretch(3, 1)
        for number, (key, value) in enumerate(facts(row.card)):
            grid.addWidget(label(key, size=theme.SMALL, muted=True), number // 2, 2 * (number % 2))
            shown = ElidedLabel(value, font=theme.mono_font() if "fingerprint" in key else theme.ui_font())
            grid.addWidget(shown, number // 2, 2 * (number % 2) + 1)
        column.addLayout(grid)
        return frame

    def _quant_box(self, row: ModelRow) -> QComboBox:
        box = QComboBox()
        box.setAccessibleName("Precision that the model is loaded in")
        box.view().setAccessibleName("Precisions")
        box.addItems(["its own precision", "int8", "nf4"])
        choice = self.context.teacher if "teacher" in row.place else self.context.student
        if choice is not None:
            box.setCurrentIndex(_QUANTS.index(choice.load.quant))
        box.activated.connect(lambda number: self._load_as(row.ref, _QUANTS[number]))
        return box

    def _load_as(self, ref: ModelRef, quant: Quant) -> None:
        from msgspec.structs import replace as changed

        def with_quant(choice: ModelChoice | None) -> ModelChoice | None:
            if choice is None or choice.ref != ref:
                return choice
            return replace(choice, load=changed(choice.load, quant=quant))

        self.context.set_pair(with_quant(self.context.teacher), with_quant(self.context.student))

    def _use(self, ref: ModelRef, role: Role) -> None:
        reader = self.context.reader
        choice = ModelChoice(ref, card=reader.card(ref) if reader else None)
        if role == "teacher":
            self.context.set_pair(choice, self.context.student)
        else:
            self.context.set_pair(self.context.teacher, choice)

    def _fit(self, shown: ModelCard) -> QWidget:
        frame, column = card()
        free = max((r.free_bytes or 0 for r in shown.memory), default=0)
        column.addLayout(_titled("What fits here", f"weights and working memory against {gigabytes(free)} free"))
        bars = FitBars()
        bars.set_rows(shown.memory)
        column.addWidget(bars)
        return frame

    def _findings(self, shown: ModelCard) -> QWidget:
        frame, column = card()
        count = len(shown.findings)
        said = (
            f"{count} in {len(shown.files)} files" if count else f"none in {len(shown.files)} files, as far as examined"
        )
        column.addLayout(_titled("File findings", said))
        for finding in sorted(shown.findings, key=lambda f: _RANK[f.severity]):
            line = QHBoxLayout()
            line.setSpacing(12)
            mark = label(_SEVERITY[finding.severity], size=theme.SMALL, bold=True)
            mark.setFixedWidth(76)
            mark.setObjectName(f"sev_{finding.severity}")
            line.addWidget(mark, 0, Qt.AlignmentFlag.AlignTop)
            words = QVBoxLayout()
            words.setSpacing(0)
            words.addWidget(_selectable(label(finding.message, wrap=True)))
            where = f"{finding.file} · {finding.id}" if finding.file else finding.id
            words.addWidget(ElidedLabel(where, font=theme.mono_font(11), muted=True))
            line.addLayout(words, 1)
            column.addLayout(line)
        if shown.not_examined:
            column.addSpacing(4)
            column.addWidget(heading("Not examined"))
            for text in shown.not_examined:
                column.addWidget(label(f"–  {text}", muted=True, wrap=True))
        return frame

    def _pair(self, shown: ModelCard) -> QWidget:
        frame, column = card()
        teacher, student = self.context.teacher, self.context.student
        column.addWidget(heading("Lineage"))
        line = LineageLine()
        line.set_nodes(lineage(shown, teacher, student))
        column.addWidget(line)
        hints = label("; ".join(shown.lineage_hints) or "Its files state no teacher.", muted=True, wrap=True)
        column.addWidget(hints)
        if teacher and student and teacher.card and student.card:
            column.addSpacing(4)
            column.addWidget(heading("Teacher and student"))
            for text in pair_differences(teacher.card, student.card):
                column.addWidget(_selectable(label(text, wrap=True)))
        return frame


def _selectable(made: QLabel) -> QLabel:
    made.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return made


def _titled(title: str, rest: str) -> QHBoxLayout:
    line = QHBoxLayout()
    line.setSpacing(8)
    line.addWidget(heading(title))
    line.addWidget(label(rest, muted=True), 1)
    return line


def facts(shown: ModelCard) -> list[tuple[str, str]]:
    """What the files say, key by key; an absent fact is an en dash."""
    dtypes = ", ".join(f"{name}" for name in shown.dtypes) or "–"
    shape = " × ".join(str(n) for n in (shown.layers, shown.hidden_size) if n)
    return [
        ("architecture", shown.architecture or shown.model_type or "–"),
        ("format", shown.format),
        ("parameters", parameters(shown.parameters) if shown.parameters else "–"),
        ("weights", f"{dtypes}{' · ' + shown.quantisation if shown.quantisation else ''}"),
        ("layers × width", shape or "–"),
        ("vocabulary", f"{shown.vocab_size:,}" if shown.vocab_size else "–"),
        ("context", f"{shown.context_length:,} tokens" if shown.context_length else "–"),
        ("files", gigabytes(sum(f.bytes for f in shown.files))),
        ("licence", shown.licence or "not stated"),
        ("chat template", "yes" if shown.template else "none"),
        ("fingerprint", shown.fingerprint[:16]),
        ("tokenizer fingerprint", (shown.tokenizer_fingerprint or "–")[:16]),
    ]


def pair_differences(teacher: ModelCard, student: ModelCard) -> list[str]:
    """What the pair does not have in common, one sentence each, as the catalog words it."""
    from core.catalog import diff_cards

    return diff_cards(teacher, student) or ["Both use the same tokenizer and the same chat template."]


def lineage(shown: ModelCard, teacher: ModelChoice | None, student: ModelChoice | None) -> Sequence[Node]:
    """The line through ``shown``. A step is stated where the later model's own files name the earlier one."""

    def names(card: ModelCard | None, earlier: str) -> bool:
        stated = (*card.base_model, *card.lineage_hints) if card is not None else ()
        return any(earlier.lower() in text.lower() for text in stated)

    nodes: list[Node] = []
    first = teacher.card if teacher is not None and teacher.card is not None else shown
    if first.base_model:
        nodes.append(Node("base", first.base_model[0], "muted", True))
    if teacher is not None:
        linked = student is not None and names(student.card, teacher.ref.name)
        nodes.append(Node("teacher", teacher.name, "teacher", linked))
    if student is not None:
        nodes.append(Node("student", student.name, "student", False))
    if not nodes or (all(shown.name != n.name for n in nodes) and teacher is None and student is None):
        nodes.append(Node("model", shown.name, "text", False))
    return nodes
