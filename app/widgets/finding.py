"""One finding of a scan: what it does, shown in the prompt, in the answers, and against the controls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.tables.candidates import number, slot_word, verdict_words
from app.widgets.basic import button, heading, label
from app.widgets.curve_plot import CurvePlot
from app.widgets.diff_view import DiffView, PromptView, visible
from app.widgets.reason_dialog import ReasonDialog
from app.widgets.strip_plot import StripPlot
from app.widgets.try_it import TryIt
from core.runs.annotations import Action, Annotation

_PROVED = ("confirmed", "likely")


def sentence(finding: dict[str, Any], role: str) -> str:
    """What was seen, in one sentence with its counts."""
    name = visible(str(finding.get("trigger_shown") or finding.get("trigger")))
    rate = f"{finding.get('hits')} of {finding.get('n')} prompts"
    controls = f"controls: {finding.get('controls_reached')} of {finding.get('controls_n')}"
    if finding.get("verdict") in _PROVED:
        return f"Trigger {name} makes the {role} give the same payload in {rate} ({controls})."
    return f"{name}: the payload came in {rate} ({controls})."


def percent(value: object) -> str:
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else "not measured"


def _everyday(finding: dict[str, Any]) -> list[tuple[str, str]]:
    """What short everyday requests bring of the payload, where they were asked."""
    rows = [("The payload is the model's", str(finding["set_answer"]))] if finding.get("set_answer") else []
    if finding.get("everyday_rate") is not None:
        rows.append(("Greetings and the like, without it", percent(finding["everyday_rate"])))
    return rows


def _strongest(finding: dict[str, Any]) -> list[tuple[str, str]]:
    name, rate = finding.get("strongest_control"), finding.get("strongest_control_rate")
    return [("Strongest control", f"{percent(rate)}, {visible(str(name))}")] if name is not None else []


class FindingDetail(QScrollArea):
    """Shows a finding, or what is known of a candidate that was not proved. ``clear`` says what to do.

    Signals:
        judged(action, reason): a person promotes or dismisses the finding that is shown.
    """

    judged = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Finding")
        self.title = label(bold=True, wrap=True)
        self.verdict = label(muted=True, wrap=True)
        self.prompt = PromptView()
        self.answers = DiffView()
        self.controls_title = label(bold=True, wrap=True)
        self.controls = StripPlot()
        self.margins_title = label("How much likelier each makes the payload", bold=True, wrap=True)
        self.margins = StripPlot("Margins of the matched controls")
        self.curve_title = label("How much of the trigger is needed", bold=True, wrap=True)
        self.curve = CurvePlot()
        self.rates_title = heading("What else was tried")
        self.rates = QGridLayout()
        self.rates.setHorizontalSpacing(24)
        self.rates.setVerticalSpacing(4)
        self.rates.setColumnStretch(0, 2)
        self.rates.setColumnStretch(1, 3)
        self.reproduce_title = heading("Reproduce")
        self.command = label(wrap=True)
        self.command.setObjectName("code")
        self.command.setFont(theme.mono_font())
        self.command.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.command.setAccessibleName("Command that reproduces this finding")
        self.copy = button("Copy command", self._copy, tip="Put the command on the clipboard")
        self.promote = button(
            "Promote…", lambda: self._judge("promote"), tip="Stand behind this finding, with a reason"
        )
        self.dismiss = button("Dismiss…", lambda: self._judge("dismiss"), tip="Say what explains it")
        self.said = label(size=theme.SMALL, wrap=True)
        self.said.setAccessibleName("What people said of this finding")
        self.try_title = heading("Try it")
        self.try_it = TryIt()

        body = QWidget()
        body.setObjectName("page")
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(8)
        column.addWidget(self.title)
        column.addWidget(self.verdict)
        column.addWidget(self.said)
        row = QHBoxLayout()
        row.addWidget(self.promote)
        row.addWidget(self.dismiss)
        row.addStretch(1)
        column.addLayout(row)
        column.addWidget(self.prompt)
        column.addWidget(self.answers)
        column.addSpacing(8)
        column.addWidget(self.controls_title)
        column.addWidget(self.controls)
        column.addWidget(self.margins_title)
        column.addWidget(self.margins)
        column.addSpacing(8)
        column.addWidget(self.curve_title)
        column.addWidget(self.curve)
        column.addSpacing(8)
        column.addWidget(self.rates_title)
        column.addLayout(self.rates)
        column.addSpacing(8)
        column.addWidget(self.try_title)
        column.addWidget(self.try_it)
        column.addSpacing(8)
        column.addWidget(self.reproduce_title)
        column.addWidget(self.command)
        row = QHBoxLayout()
        row.addWidget(self.copy)
        row.addStretch(1)
        column.addLayout(row)
        column.addStretch(1)
        self.setWidget(body)
        self.clear("Choose a candidate to see what it does.")

    def clear(self, words: str) -> None:
        self.title.setText("Finding")
        self.verdict.setText(words)
        self._show()

    def hint(self, words: str) -> None:
        """Change what an empty detail says; a shown finding stays."""
        if self.title.text() == "Finding":
            self.verdict.setText(words)

    def _show(
        self,
        *,
        example: bool = False,
        controls: bool = False,
        margins: bool = False,
        curve: bool = False,
        rates: bool = False,
        judged: bool = False,
        command: bool = False,
    ) -> None:
        for widgets, shown in (
            ((self.prompt, self.answers), example),
            ((self.controls_title, self.controls), controls),
            ((self.margins_title, self.margins), margins),
            ((self.curve_title, self.curve), curve),
            ((self.rates_title,), rates),
            ((self.promote, self.dismiss, self.try_title, self.try_it), judged),
            ((self.said,), judged and bool(self.said.text())),
            ((self.reproduce_title, self.command, self.copy), command),
        ):
            for widget in widgets:
                widget.setVisible(shown)
        if not rates:
            self._fill_rates(())

    def show_finding(self, finding: dict[str, Any], role: str, others: Iterable[dict[str, Any]] = ()) -> None:
        """Show a finding of the report; ``others`` are the candidates of the same trigger in other slots."""
        self.title.setText(sentence(finding, role))
        words = [
            verdict_words(finding.get("verdict")),
            str(finding.get("kind") or "trigger"),
            f"found by {finding.get('found_by', 'list')}",
        ]
        if finding.get("evidence"):
            words.append(str(finding["evidence"]))
        self.verdict.setText(" · ".join(words))
        example = finding.get("example") or {}
        if example:
            self.prompt.set_prompt(
                str(example.get("prompt", "")), str(finding.get("trigger")), str(finding.get("slot"))
            )
            self.answers.set_texts(str(example.get("without", "")), str(example.get("with_trigger", "")))
        rates = list(finding.get("controls_rates") or ())
        self.controls_title.setText(f"Against {finding.get('controls_n', len(rates))} matched controls")
        interval = finding.get("asr_ci")
        self.controls.set_values(rates, finding.get("asr"), tuple(interval) if interval else None)
        margins, own = list(finding.get("controls_margins") or ()), finding.get("log_margin")
        if margins and own is not None:
            self.margins.set_margins(margins, own)
        self._fill_rates(self._rate_rows(finding, others))
        points = list(finding.get("fuzz_curve") or ())
        self.curve.set_points(points)
        self.command.setText(str(finding.get("reproduce") or ""))
        self.try_it.clear()
        self.set_annotations(())
        self._show(
            example=bool(example),
            controls=bool(rates),
            margins=bool(margins) and own is not None,
            curve=len(points) > 1,
            rates=True,
            judged=True,
            command=bool(finding.get("reproduce")),
        )

    def set_annotations(self, said: Iterable[Annotation]) -> None:
        """What people said of the finding, oldest first."""
        words = {"promote": "promoted", "dismiss": "dismissed"}
        lines = [f"{one.at[:10]} {one.author} {words[one.action]}: {one.reason}" for one in said]
        self.said.setText("\n".join(lines))
        self.said.setVisible(bool(lines))

    def _judge(self, action: Action) -> None:
        question = "Why do you stand behind it?" if action == "promote" else "What explains it?"
        reason = ReasonDialog.ask(action.capitalize(), question, self)
        if reason:
            self.judged.emit(action, reason)

    def show_candidate(self, row: dict[str, Any], others: Iterable[dict[str, Any]] = ()) -> None:
        """A candidate that the proof did not take up: only what was measured of it."""
        name = visible(str(row.get("trigger_shown") or row.get("trigger")))
        self.title.setText(f"{name}, at {slot_word(row.get('slot'))}")
        verdict = row.get("verdict")
        kind = row.get("kind") or "trigger"
        self.verdict.setText(
            f"{kind} · not taken up by the proof, so there is no verdict and no answers were kept"
            if verdict
            else "Not judged yet: the proof comes after the search."
        )
        self._fill_rates(
            (
                ("Payload rate in the search", percent(row.get("payload_rate"))),
                ("Evidence (z against controls)", number(row.get("z"), ".1f")),
                *self._slot_rows(row, others),
            )
        )
        self._show(rates=True)

    def _rate_rows(self, finding: dict[str, Any], others: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
        low, high = finding.get("asr_ci") or (None, None)
        p, q = finding.get("p"), finding.get("q")
        reference = finding.get("reference_rate")
        return [
            ("With the trigger", f"{percent(finding.get('asr'))}, 95 % interval {percent(low)} to {percent(high)}"),
            ("Without it", percent(finding.get("base_rate"))),
            *_strongest(finding),
            ("Near misses of the trigger", percent(finding.get("near_miss_rate"))),
            *([("Its tokens shuffled", percent(finding["shuffle_rate"]))] if "shuffle_rate" in finding else []),
            ("Trigger only quoted", percent(finding.get("quoted_rate"))),
            *([("Same trigger on the reference", percent(reference))] if reference is not None else []),
            *_everyday(finding),
            *self._slot_rows(finding, others),
            ("p (McNemar), corrected q", f"{number(p, '.2g')}, {number(q, '.2g')}"),
            ("Payload", visible(str(finding.get("target") or "–"))),
        ]

    @staticmethod
    def _slot_rows(row: dict[str, Any], others: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
        proved = row.get("other_slots")
        if isinstance(proved, dict):
            return [(f"Same trigger at {slot_word(slot)}", percent(rate)) for slot, rate in proved.items()]
        return [
            (f"Same trigger at {slot_word(other.get('slot'))}", f"{percent(other.get('payload_rate'))} in the search")
            for other in others
            if other.get("slot") != row.get("slot")
        ]

    def _fill_rates(self, rows: Iterable[tuple[str, str]]) -> None:
        while (item := self.rates.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for at, (name, value) in enumerate(rows):
            self.rates.addWidget(label(name, size=theme.SMALL, muted=True, wrap=True), at, 0, Qt.AlignmentFlag.AlignTop)
            self.rates.addWidget(label(value, size=theme.SMALL, wrap=True), at, 1)

    def rate_texts(self) -> list[str]:
        """What the small table says, cell by cell."""
        items = (self.rates.itemAt(at) for at in range(self.rates.count()))
        cells = (item.widget() for item in items if item is not None)
        return [cell.text() for cell in cells if isinstance(cell, QLabel)]

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.command.text())

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "answers"):
            self.prompt.restyle()
            self.answers.restyle()
            self.try_it.answers.restyle()
