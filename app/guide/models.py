"""Step 1: the teacher (or a file of its answers), the student, and the student before distillation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFileDialog, QGridLayout, QVBoxLayout, QWidget

from app import theme
from app.context import Context, ModelChoice
from app.opening import kind_of, with_adapter
from app.widgets.basic import button, label
from app.widgets.drop_target import DropTarget
from core.errors import ForeshotError, InputError
from core.runs.folder import write_atomic
from core.specs.pipeline import baseline_of
from core.types import ROLES, ModelRef, Role

WORDS: dict[Role, str] = {
    "teacher": "The model that was imitated. Where it cannot be loaded, a file of its answers will do.",
    "student": "The model that learned from it.",
    "baseline": "Optional: the student before distillation. Without it nobody can say where a risk comes from.",
}
_TOP = Qt.AlignmentFlag.AlignTop


class ModelsStep(QWidget):
    """``baseline`` and ``answers`` are this audit's alone; teacher and student are the window's pair.

    Signals:
        changed: another model stands somewhere.
    """

    changed = Signal()

    def __init__(self, context: Context, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.context = context
        self.baseline: ModelChoice | None = None
        self.answers: Path | None = None
        self.answered = 0
        self._offered: ModelRef | None = None
        self.targets: dict[Role, DropTarget] = {}
        grid = QGridLayout()
        grid.setHorizontalSpacing(16)
        grid.setVerticalSpacing(8)
        for column, role in enumerate(ROLES):
            target = DropTarget(role, partial(self.choose, role))
            target.setMinimumWidth(220)
            target.dropped.connect(partial(self._dropped, role))
            self.targets[role] = target
            grid.addWidget(label(WORDS[role], size=theme.SMALL, muted=True, wrap=True), 0, column, _TOP)
            grid.addWidget(target, 1, column)
            grid.setColumnStretch(column, 1)
        self.answers_button = button(
            "Use a file of its answers…",
            self.choose_answers,
            tip="JSON lines with uid and answer, one for each prompt that “Save the prompts…” writes",
        )
        self.prompts_button = button("Save the prompts to be answered…", self.save_prompts)
        under = QVBoxLayout()
        under.setSpacing(8)
        under.addWidget(self.answers_button)
        under.addWidget(self.prompts_button)
        grid.addLayout(under, 2, 0)
        self.remove_button = button("Leave the baseline out", lambda: self.set_baseline(None))
        grid.addWidget(self.remove_button, 2, 2, _TOP)
        self.note = label(wrap=True)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(16)
        whole.addLayout(grid)
        whole.addWidget(self.note)
        whole.addStretch(1)
        if context.reader is not None:
            context.reader.card_ready.connect(lambda _ref: self.refresh())
        self.refresh()

    # choosing

    def choose(self, role: Role) -> None:
        if role != "baseline":
            self.context.choose_requested.emit(role)
            return
        start = str(self.context.settings.value("last_folder") or Path.home())
        path = QFileDialog.getExistingDirectory(self, "Open the student as it was before distillation", start)
        if path:
            self.take_baseline(Path(path))

    def _dropped(self, role: Role, paths: Sequence[Path]) -> None:
        if role == "baseline":
            self.take_baseline(paths[0])
            return
        if role == "teacher" and paths[0].suffix == ".jsonl":
            self.take_answers(paths[0])
            return
        self.context.paths_dropped.emit(list(paths), role)

    def take_baseline(self, path: Path) -> None:
        """Put a model folder, a .gguf or an adapter on the student's base in the third place."""
        try:
            kind = kind_of(path)
            if kind == "run":
                raise InputError("not_a_model", f"{path.name} is a run.", "Choose a model's folder or a .gguf file.")
            old = self.baseline.ref if self.baseline else None
            self.set_baseline(ModelChoice(with_adapter(path, old) if kind == "adapter" else ModelRef(str(path))))
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)

    def set_baseline(self, choice: ModelChoice | None) -> None:
        self.baseline = choice
        if choice is not None and self.context.reader is not None:
            self.context.reader.read(choice.ref)
        self.refresh()

    def choose_answers(self) -> None:
        """Let a file of answers stand in for the teacher, or take it away again."""
        if self.answers is not None:
            self.answers = None
            self.refresh()
            return
        path, _kind = QFileDialog.getOpenFileName(
            self, "Open the teacher's answers", str(Path.home()), "JSON lines (*.jsonl)"
        )
        if path:
            self.take_answers(Path(path))

    def take_answers(self, path: Path) -> None:
        from core.suites.spoken import read_answers

        try:
            self.answered = len(read_answers(path))
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        self.answers = path
        self.refresh()

    def save_prompts(self) -> None:
        """Write what whoever has the teacher must have it answer."""
        from core.suites import list_suites
        from core.suites.spoken import prompt_lines, spoken

        path, _kind = QFileDialog.getSaveFileName(
            self, "Save the prompts", str(Path.home() / "prompts.jsonl"), "JSON lines (*.jsonl)"
        )
        if not path:
            return
        prompts = spoken(list_suites()).prompts()
        try:
            write_atomic(Path(path), prompt_lines(prompts))
        except ForeshotError as error:
            self.context.show_error(error.message, error.hint)
            return
        self.note.setText(f'{len(prompts):,} prompts were saved. Have each answered as {{"uid": …, "answer": …}}.')

    # showing

    def models(self) -> dict[Role, ModelChoice]:
        """What is loaded, by role. One model alone stands in the teacher's place."""
        teacher = None if self.answers else self.context.teacher
        found: dict[Role, ModelChoice | None] = {"teacher": teacher, "student": self.context.student}
        if teacher is None and self.answers is None:
            found = {"teacher": self.context.student}
        else:
            found["baseline"] = self.baseline if self.context.student is not None else None
        return {role: choice for role, choice in found.items() if choice is not None}

    def refresh(self) -> None:
        reader = self.context.reader
        if reader is not None and self.baseline is not None and self.baseline.card is None:
            self.baseline = ModelChoice(self.baseline.ref, self.baseline.load, reader.card(self.baseline.ref))
        self._offer_baseline()
        choices = {"teacher": self.context.teacher, "student": self.context.student, "baseline": self.baseline}
        for role, target in self.targets.items():
            choice = choices[role]
            target.show_choice(choice, reader.error(choice.ref) if reader is not None and choice else None)
        if self.answers is not None:
            self.targets["teacher"].show_words(
                self.answers.name, "a file of answers stands in for the teacher", f"{self.answered:,} answers, claimed"
            )
        self.answers_button.setText("Take the file of answers away" if self.answers else "Use a file of its answers…")
        self.remove_button.setVisible(self.baseline is not None)
        self.note.setText(self.words())
        self.changed.emit()

    def _offer_baseline(self) -> None:
        """A student that was distilled here has its baseline beside it; it is offered once."""
        student = self.context.student
        if student is None or student.ref == self._offered:
            return
        self._offered = student.ref
        found = baseline_of(Path(student.ref.path)) if student.ref.adapter is None else None
        if found is not None and self.baseline is None:
            self.baseline = ModelChoice(ModelRef(str(found)))
            if self.context.reader is not None:
                self.context.reader.read(self.baseline.ref)

    def words(self) -> str:
        """What this choice lets an audit say."""
        models = self.models()
        if not models:
            return "Drop the teacher and the student here, or open their folders."
        if self.answers is not None and "student" not in models:
            return "Choose the student: a file of answers alone is read by the command `suite NAME --answers FILE`."
        if "student" not in models:
            return "One model alone: effects, but nothing about transfer."
        if "baseline" not in models:
            return "The pair will be compared. The origin of each risk stays untested: there is no baseline."
        return "The pair will be compared, and each risk of the student traced to before or after the distillation."

    def missing(self) -> str:
        """Why the audit cannot go on with these models; empty where it can."""
        models, reader = self.models(), self.context.reader
        if not models:
            return "Choose a teacher and a student first, or one model alone."
        if self.answers is not None and "student" not in models:
            return "Choose the student that the answers are compared with."
        broken = [role for role, choice in models.items() if reader is not None and reader.error(choice.ref)]
        return f"The {broken[0]} cannot be read: choose another folder." if broken else ""
