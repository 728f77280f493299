"""Two audits of one pair side by side: what changed, whether beyond noise, and what is void."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QDialog, QFileDialog, QFrame, QGridLayout, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from app import theme
from app.widgets.basic import button, label
from app.widgets.interval_strip import MARKS, IntervalStrip, Span, axis_range
from app.widgets.paper import Work
from app.widgets.verdict_row import span
from core.errors import ForeshotError
from core.runs.folder import RunFolder, write_atomic

if TYPE_CHECKING:
    from core.report.compare import ChangeRow, Comparison


class CompareDialog(QDialog):
    """``first`` and ``second`` are run folders, the earlier one first. Signals: ``shown`` when the result stands."""

    shown = Signal()

    def __init__(self, first: Path, second: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.found: Comparison | None = None
        self.setWindowTitle("Compare two audits")
        self.resize(1000, 640)
        self.sentence = label("reading both runs…", size=theme.LEAD, wrap=True)
        self.models = label(size=theme.SMALL, muted=True, wrap=True)
        self.models.setAccessibleName("The models of both audits")
        self.legend = label(
            f"{first.name}, then {second.name} · ● teacher's change  ◆ student's change, 95 % interval; band = δ",
            size=theme.SMALL,
            muted=True,
            wrap=True,
        )
        self.notes = label(size=theme.SMALL, wrap=True)
        self.rule = label(size=theme.SMALL, muted=True, wrap=True)
        self.save_button = button("Save JSON…", self.save)
        self.save_button.setEnabled(False)
        self._build()
        self.work = Work(self)
        self.work.done.connect(self._done)
        self.finished.connect(lambda _result: self.work.wait())

        def compared() -> object:
            from core.report.compare import compare, read_audit

            return compare(read_audit(RunFolder.open(first)), read_audit(RunFolder.open(second)))

        self.work.run("compare", compared)

    def _build(self) -> None:
        inner = QWidget()
        inner.setObjectName("page")
        inside = QVBoxLayout(inner)
        inside.setContentsMargins(0, 0, 8, 0)
        inside.setSpacing(12)
        self.grid = QGridLayout()
        inside.addLayout(self.grid)
        inside.addWidget(self.notes)
        inside.addWidget(self.rule)
        inside.addStretch(1)
        self.grid.setHorizontalSpacing(16)
        self.grid.setVerticalSpacing(8)
        for at, stretch in enumerate((3, 2, 3, 4)):
            self.grid.setColumnStretch(at, stretch)
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setAccessibleName("Rows of both scorecards")
        scroll.setWidget(inner)
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(self.save_button)
        foot.addWidget(button("Close", self.accept, primary=True))
        column = QVBoxLayout(self)
        column.setContentsMargins(20, 16, 20, 16)
        column.setSpacing(10)
        for part in (self.sentence, self.models, self.legend):
            column.addWidget(part)
        column.addWidget(scroll, 1)
        column.addLayout(foot)

    def _done(self, key: object, result: object, error: BaseException | None) -> None:
        if isinstance(error, ForeshotError):
            self.sentence.setText(f"{error.message} {error.hint}")
        elif error is not None:
            self.sentence.setText(f"The two runs could not be compared: {error}.")
        elif key == "compare":
            self._show(result)  # type: ignore[arg-type]
        self.shown.emit()

    def _show(self, found: Comparison) -> None:
        from core.report.compare_text import model_words

        self.found = found
        self.sentence.setText(found.sentence)
        self.models.setText("\n".join(model_words(each) for each in found.models))
        spans = [span(side.difference) for row in found.rows for side in row.sides.values() if side.word != "identical"]
        axis = axis_range(spans, max((row.margin for row in found.rows), default=0.05))
        for row in found.rows:
            self._add(row, axis)
        self.notes.setText("\n".join(found.notes))
        self.notes.setVisible(bool(found.notes))
        self.rule.setText(found.rule)
        self.save_button.setEnabled(True)

    def _add(self, row: ChangeRow, axis: tuple[float, float]) -> None:
        from core.report.compare_text import side_words, verdict_words

        at = self.grid.rowCount()
        title = QVBoxLayout()
        title.setSpacing(0)
        title.addWidget(label(row.title, bold=True, wrap=True))
        title.addWidget(label(row.measure, size=theme.SMALL, muted=True, wrap=True))
        self.grid.addLayout(title, at, 0)
        verdict = verdict_words(row)
        marks = [f"{MARKS.get(word, '')} {word}".strip() for word in verdict.split(" → ")]
        self.grid.addWidget(label("\n→ ".join(marks), wrap=True), at, 1, Qt.AlignmentFlag.AlignVCenter)
        # where every item came out the same there is no interval to show
        changes = {
            role: Span(0.0) if side.word == "identical" else span(side.difference) for role, side in row.sides.items()
        }
        if any(changes.values()):
            strip = IntervalStrip()
            strip.set_values(changes.get("teacher"), changes.get("student"), row.margin, axis)
            self.grid.addWidget(strip, at, 2, Qt.AlignmentFlag.AlignVCenter)
        lines = [row.void] if row.void else [f"{role}: {side_words(side)}" for role, side in row.sides.items()]
        self.grid.addWidget(label("\n".join(lines), size=theme.SMALL, wrap=True), at, 3, Qt.AlignmentFlag.AlignVCenter)

    def save(self) -> None:
        """Ask where, then write the comparison as JSON."""
        if self.found is None:
            return
        import msgspec

        start = str(Path.home() / f"compare-{self.found.first}-{self.found.second}.json")
        text, _kind = QFileDialog.getSaveFileName(self, "Save the comparison", start, "JSON (*.json)")
        if text:
            try:
                write_atomic(Path(text), msgspec.json.format(msgspec.json.encode(self.found), indent=1))
            except ForeshotError as error:
                self.sentence.setText(f"{error.message} {error.hint}")
