"""The recipe of a distillation as a vertical still: teacher, data, loss, student, one under the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.context import ModelChoice
from app.widgets.basic import ElidedLabel, button, label
from app.widgets.recipe_station import RecipeStation
from core.specs import LoadOptions
from core.specs.distill import (
    VARIANTS,
    Budget,
    Cache,
    Data,
    DistillPlan,
    Evaluation,
    LossPlan,
    OnPolicy,
    Optimiser,
    Trainable,
    make_plan,
)
from core.types import Quant

VARIANT_WORDS: Final = {
    "standard": "One stage into the student that you give.",
    "self": "The student is cut from the teacher: what it inherits, it inherits before it learns.",
    "progressive": "Several stages, each student smaller than the one before and taught by it.",
    "task-specific": "Only prompts of one task.",
    "sequence-level": "The teacher's answers are learned as text; no probabilities.",
}
LOSSES: Final = {
    "forward_kl": "forward KL",
    "reverse_kl": "reverse KL",
    "jsd": "Jensen-Shannon",
    "skew_kl": "skew KL",
    "skew_reverse_kl": "skew reverse KL",
    "tvd": "total variation",
    "topk": "top-k with tail",
    "uld": "ULD (other tokens)",
}
BUILDS: Final = {
    "as_is": "as it is",
    "layer_drop": "fewer layers",
    "width_prune": "narrower MLPs",
    "noise": "mixed with noise",
    "fresh": "random weights",
}
PRECISIONS: Final[dict[str, Quant]] = {"as stored": "none", "int8": "int8", "nf4": "nf4"}
TRAINED: Final = {"full": "all weights", "body": "all but embeddings", "lora": "a LoRA"}
NEUTRAL: Final = "Neutral prompts"


class Recipe(QWidget):
    """The form. ``plan`` is what the command line would make of the same choices.

    Signals:
        changed: another recipe. choose_asked(role): a model is missing and wanted.
    """

    changed = Signal()
    choose_asked = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.choices: dict[str, ModelChoice | None] = {"teacher": None, "student": None}
        self.names = {role: ElidedLabel() for role in self.choices}
        self.open = {
            role: button("Open…", lambda role=role: self.choose_asked.emit(role), tip=f"Open the {role}'s folder")  # type: ignore[misc]
            for role in self.choices
        }
        for role, made in self.open.items():
            made.setAccessibleName(f"Open the {role}")
        self._fields()
        self._build()
        self._show()

    # fields

    def _fields(self) -> None:
        self.variant = self._box("Variant", dict(zip(VARIANTS, VARIANTS, strict=True)))
        self.precision = self._box("Teacher's precision", {name: name for name in PRECISIONS})
        self.source = self._box("Prompts", {"": NEUTRAL, "file": "A file of prompts…"})
        self.source.activated.connect(lambda at: self.choose_file() if self.source.itemData(at) == "file" else None)
        self.task = QLineEdit()
        self.task.setPlaceholderText("Words of the task (regular expression)")
        self.task.setAccessibleName("Task")
        self.task.textChanged.connect(lambda _text: self._edited())
        self.answers = self._box("Who answers", {"teacher": "teacher answers", "given": "answers of the file"})
        self.answer_tokens = self._spin("Longest answer, tokens", 4, 1024, 48, " tokens", prefix="answers up to ")
        self.limit = self._spin("Prompts to use", 0, 1_000_000, 0, " prompts", zero="all prompts")
        self.loss = self._box("Loss", LOSSES)
        self.temperature = self._real("Temperature of the loss", 0.1, 10, 1.0, "T ")
        self.alpha = self._real("Weight of the teacher", 0, 1, 1.0, "α ")
        self.build = self._box("How the student is made", BUILDS)
        self.drop_layers = self._spin("Layers to drop", 1, 200, 6, " layers less")
        self.keep_width = self._spin("Width kept", 5, 95, 75, " % of the width")
        self.noise = self._spin("Noise", 1, 100, 30, " % noise")
        self.stages = self._spin("Stages", 2, 9, 2, " stages")
        self.trained = self._box("What is trained", TRAINED)
        self.rank = self._spin("Rank of the LoRA", 1, 512, 16, "", prefix="rank ")
        self.epochs = self._spin("Passes over the data", 1, 100, 1, "", prefix="passes: ")
        self.steps = self._spin("Steps at most", 0, 10_000_000, 0, " steps", zero="no limit of steps")
        self.rate = self._real("Learning rate", 0.000001, 1, 2e-4, "rate ", decimals=6, step=5e-5)
        self.own = self._spin(
            "Own answers in a last stage", 0, 100, 0, " % own answers at the end", zero="no stage on own answers"
        )
        self.cache = self._box(
            "Teacher while training", {"": "teacher in memory", "cache": "teacher cached, then freed"}
        )
        self.keep = self._box("Checkpoints", {"": "keep only the end", "keep": "keep a student at each evaluation"})

    def _box(self, name: str, items: dict[str, str]) -> QComboBox:
        made = QComboBox()
        made.setAccessibleName(name)
        made.setToolTip(name)
        made.setMinimumContentsLength(8)
        for key, words in items.items():
            made.addItem(words, key)
        made.currentIndexChanged.connect(lambda _at: self._edited())
        return made

    def _spin(
        self, name: str, low: int, high: int, value: int, suffix: str, *, prefix: str = "", zero: str = ""
    ) -> QSpinBox:
        made = QSpinBox()
        made.setRange(low, high)
        made.setValue(value)
        made.setSuffix(suffix)
        made.setPrefix(prefix)
        made.setSpecialValueText(zero)
        made.setMinimumHeight(24)
        made.setAccessibleName(name)
        made.setToolTip(name)
        made.valueChanged.connect(lambda _value: self._edited())
        return made

    def _real(
        self, name: str, low: float, high: float, value: float, prefix: str, *, decimals: int = 2, step: float = 0.1
    ) -> QDoubleSpinBox:
        made = QDoubleSpinBox()
        made.setDecimals(decimals)
        made.setRange(low, high)
        made.setSingleStep(step)
        made.setValue(value)
        made.setPrefix(prefix)
        made.setMinimumHeight(24)
        made.setAccessibleName(name)
        made.setToolTip(name)
        made.valueChanged.connect(lambda _value: self._edited())
        return made

    def _build(self) -> None:
        self.about = label(size=theme.SMALL, muted=True, wrap=True)
        teacher, data = RecipeStation("teacher", "Teacher"), RecipeStation("data", "Data")
        loss, student = RecipeStation("loss", "Loss"), RecipeStation("student", "Student")
        teacher.row(self.names["teacher"], self.precision, self.open["teacher"])
        data.row(self.source, self.limit)
        self.task_row = data.row(self.task)
        self.answers_row = data.row(self.answers, self.answer_tokens)
        self.loss_words = label("cross entropy on the teacher's text", muted=True, wrap=True)
        loss.column.addWidget(self.loss_words)
        self.loss_row = loss.row(self.loss, self.temperature, self.alpha)
        self.student_row = student.row(self.names["student"], self.open["student"])
        self.build_row = student.row(self.build, self.drop_layers, self.keep_width, self.noise)
        student.row(self.stages)
        student.row(self.trained, self.rank)
        student.row(self.epochs, self.steps)
        student.row(self.own)
        student.row(self.cache)
        student.row(self.keep, self.rate)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(0)
        column.addWidget(self.variant)
        column.addSpacing(4)
        column.addWidget(self.about)
        column.addSpacing(12)
        for station in (teacher, data, loss, student):
            column.addWidget(station)
        column.addStretch(1)

    # state

    def set_pair(self, teacher: ModelChoice | None, student: ModelChoice | None) -> None:
        if teacher is not None and teacher != self.choices["teacher"]:
            with QSignalBlocker(self.precision):
                self.precision.setCurrentIndex(max(0, list(PRECISIONS.values()).index(teacher.load.quant)))
        self.choices = {"teacher": teacher, "student": student}
        self._edited()

    def choose_file(self) -> None:
        """Ask for a file of prompts; what is chosen becomes an entry of the box."""
        path, _kind = QFileDialog.getOpenFileName(self, "Prompts", "", "Prompts (*.jsonl *.csv *.txt);;All files (*)")
        if path:
            self.add_file(Path(path))
        else:
            self.source.setCurrentIndex(0)

    def add_file(self, path: Path) -> None:
        self.source.insertItem(1, path.name, str(path))
        self.source.setItemData(1, str(path), Qt.ItemDataRole.ToolTipRole)
        self.source.setCurrentIndex(1)

    def key(self, box: QComboBox) -> str:
        return str(box.currentData())

    def missing(self) -> str:
        """The role of a model that this variant needs and that is not there; "" where none is missing."""
        needed: Sequence[str] = ("teacher",) if self.key(self.variant) == "self" else ("teacher", "student")
        return next((role for role in needed if self.choices[role] is None), "")

    def made_of(self) -> ModelChoice | None:
        """What the student is made of."""
        return self.choices["teacher" if self.key(self.variant) == "self" else "student"]

    def plan(self) -> DistillPlan:
        """The plan of these choices. Raises InputError where they contradict each other; needs both models."""
        teacher, source = self.choices["teacher"], self.made_of()
        assert teacher is not None
        assert source is not None
        variant = self.key(self.variant)
        file = self.key(self.source)
        load = LoadOptions(
            device=teacher.load.device,
            dtype=teacher.load.dtype,
            quant=PRECISIONS[self.key(self.precision)],
            force=teacher.load.force,
        )
        data = Data(
            sources=(file,) if file not in ("", "file") else Data().sources,
            answers=self.key(self.answers),  # type: ignore[arg-type]
            answer_tokens=self.answer_tokens.value(),
            keep=self.task.text() if variant == "task-specific" else "",
            limit=self.limit.value(),
        )
        made = self.key(self.build)
        lora = self.key(self.trained) == "lora"
        return make_plan(
            variant,  # type: ignore[arg-type]
            str(teacher.ref),
            str(source.ref),
            teacher_load=load,
            data=data,
            build=None if made == "as_is" and variant in ("self", "progressive") else made,  # type: ignore[arg-type]
            drop_layers=self.drop_layers.value(),
            keep_width=self.keep_width.value() / 100,
            noise=self.noise.value() / 100,
            loss=LossPlan(
                kind=self.key(self.loss),  # type: ignore[arg-type]
                temperature=self.temperature.value(),
                alpha=self.alpha.value(),
            ),
            cache=Cache() if self.key(self.cache) and variant != "sequence-level" else None,
            trainable=Trainable(mode="lora", rank=self.rank.value())
            if lora
            else Trainable(mode=self.key(self.trained)),  # type: ignore[arg-type]
            optimiser=Optimiser(rate=self.rate.value()),
            budget=Budget(epochs=self.epochs.value(), max_steps=self.steps.value()),
            evaluation=Evaluation(every=EVALUATE_EVERY, keep=bool(self.key(self.keep))),
            stages=self.stages.value(),
            on_policy=OnPolicy(share=self.own.value() / 100, tokens=self.answer_tokens.value())
            if self.own.value()
            else None,
        )

    def _edited(self) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        """Only what matters to the variant is on the page."""
        variant, made = self.key(self.variant), self.key(self.build)
        own = variant in ("self", "progressive")
        if own and made == "as_is":
            with QSignalBlocker(self.build):
                self.build.setCurrentIndex(self.build.findData("layer_drop"))
            made = "layer_drop"
        self.about.setText(VARIANT_WORDS[variant])
        for role, name in self.names.items():
            choice = self.choices[role]
            name.setText(choice.name if choice is not None else f"no {role} yet")
            self.open[role].setText("Change…" if choice is not None else "Open…")
        own_file = self.key(self.source) not in ("", "file")
        sequence = variant == "sequence-level"
        shown: dict[QWidget, bool] = {
            self.task_row: variant == "task-specific",
            self.answers: own_file,
            self.loss_row: not sequence,
            self.loss_words: sequence,
            self.cache: not sequence,
            self.student_row: variant != "self",
            self.drop_layers: made == "layer_drop",
            self.keep_width: made == "width_prune",
            self.noise: made == "noise",
            self.stages: variant == "progressive",
            self.rank: self.key(self.trained) == "lora",
        }
        if not own_file:
            with QSignalBlocker(self.answers):
                self.answers.setCurrentIndex(0)
        for widget, visible in shown.items():
            widget.setVisible(visible)


EVALUATE_EVERY: Final = 20
