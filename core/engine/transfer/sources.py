"""Those who teach in the experiment, and what each one's students learn and are compared on.

sources/NAME/  data.json  held-out.safetensors  cache/  model/ (of a student that teaches the next stage: the student)
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from core.engine.distill.cache import Identity, TeacherCache, capture, data_sha256
from core.engine.distill.data import Example, Pair, Rows, make_examples, read_rows
from core.engine.distill.evaluate import HeldOut
from core.engine.distill.export import export
from core.engine.distill.side import Side
from core.engine.distill.vocabulary import check_meaning, common_size, fingerprint
from core.engine.lm import LanguageModel, load_model
from core.engine.transfer.canaries import dosed
from core.engine.transfer.copies import load_copy
from core.runs.events import Emitter
from core.runs.folder import write_atomic
from core.specs.canary import CanaryPlan, CanarySpec
from core.specs.canary_cells import Cell, stage_of, taught_by
from core.specs.loading import LoadOptions
from core.types import ModelRef


class Source(NamedTuple):
    """A teacher: ``clean``, or a ``sham`` or ``canary`` copy; ``share`` is that of the ladder, in its prompts.

    With a ``stage``, the student at the end of that stage, in this ``run``, of what began with such a teacher.
    """

    kind: str
    copy: int = 0
    share: float = 0.0
    run: int = 0
    stage: int = 0

    @property
    def name(self) -> str:
        known = "clean" if self.kind == "clean" else f"{self.kind}-{self.copy}"
        known += f"@{self.share:g}" if self.share else ""
        return known + (f"-run-{self.run}-stage-{self.stage}" if self.stage else "")


def source_of(plan: CanaryPlan, cell: Cell) -> Source:
    """Who teaches this student. Direct students are compared with the clean teacher, and learn from nobody."""
    kind = "clean" if cell.arm in ("clean", "direct") else cell.arm
    source = Source(kind, cell.run % plan.copies if kind != "clean" else 0, cell.share)
    before = taught_by(plan, cell)
    if before is None:
        return source
    return source._replace(run=cell.run, stage=stage_of(plan, before.variant, before.init))


class Data(msgspec.Struct):
    """What one teacher's students learn and are compared on."""

    train: list[Example]
    held_out: list[Example]
    same: bool
    vocabulary: int
    teacher_vocabulary: int
    identity: Identity


class Sources:
    """All teachers of one experiment.

    Args:
        place: where their sides are kept. copies: where the planted copies are.
        sha: hashes of the given models by role, known before the first is prepared.
    """

    def __init__(self, spec: CanarySpec, place: Path, copies: Path, sha: dict[str, str], emitter: Emitter) -> None:
        self.spec, self.plan, self.place, self.copies, self.sha = spec, spec.plan, place, copies, sha
        self.emitter = emitter
        self._rows: Rows | None = None

    def is_ready(self, source: Source) -> bool:
        return (self.place / source.name / "data.json").exists()

    def prepare(self, source: Source, show: Callable[[LanguageModel], None] | None = None) -> None:
        """Let a teacher answer, and keep its side of the rows; ``show`` measures it while it is in memory.

        Raises InputError where most of its answers are empty or repeat themselves, or none can be used.
        """
        plan, place = self.plan, self.place / source.name
        teacher = self.load(source, self.spec.student_load if source.stage else self.spec.teacher_load)
        if show is not None:
            show(teacher)
        student = load_model(ModelRef.parse(self.spec.student), self.spec.student_load, self.emitter)
        same = check_meaning(teacher, student, plan.loss.kind)
        pair = Pair(teacher, student, same)
        rows = self._rows = self._rows or read_rows(plan.data, plan.seed)
        train = make_examples(
            dosed(rows.train, plan, source.share), plan.data, pair, plan.seed, self.emitter, source.name
        ).examples
        kept = make_examples(rows.held_out, plan.data, pair, plan.seed + 1, self.emitter, f"{source.name}/held-out")
        size = common_size(teacher, student)
        sizes = (size, size) if same else (len(student.tokenizer), len(teacher.tokenizer))
        student.close()
        side = Side(teacher, sizes[1])
        place.mkdir(parents=True, exist_ok=True)
        HeldOut.read(side, kept.examples, plan.budget, same, place / "held-out.safetensors")
        identity = Identity(
            teacher=f"{self.sha['teacher']} {source.name} {teacher.precision}",
            tokenizer=fingerprint(teacher.tokenizer),
            data=data_sha256(train),
            vocabulary=sizes[0],
            mode=plan.cache.mode,
            k=min(plan.cache.k, sizes[0]),
            precision=plan.cache.precision,
            temperatures=(plan.loss.temperature,),
            seed=plan.seed,
        )
        if plan.loss.kind != "ce":
            capture(place / "cache", side, train, identity, plan.budget, self.emitter, source.name)
        data = Data(train, kept.examples, same, sizes[0], sizes[1], identity)
        write_atomic(place / "data.json", msgspec.json.encode(data))
        teacher.close()

    def load(self, source: Source, load: LoadOptions) -> LanguageModel:
        """The given teacher, a copy of it, or a student that was kept."""
        if source.stage:
            return load_model(ModelRef(str(self.place / source.name / "model")), load, self.emitter)
        adapter = None if source.kind == "clean" else self.copies / f"{source.kind}-{source.copy}"
        return load_copy(self.spec, adapter, load, self.emitter)

    def data(self, source: Source) -> Data:
        return msgspec.json.decode((self.place / source.name / "data.json").read_bytes(), type=Data)

    def held_out(self, source: Source, data: Data) -> HeldOut:
        path = self.place / source.name / "held-out.safetensors"
        return HeldOut.open(path, data.held_out, data.teacher_vocabulary, data.same)

    def cache(self, source: Source, data: Data) -> TeacherCache:
        return TeacherCache(self.place / source.name / "cache", data.identity)

    # students that teach the next stage

    def keep(self, source: Source, student: LanguageModel) -> None:
        """Keep a trained student as a teacher, with its LoRA merged in where it has one.

        Raises EnvironmentFault where the disk does not take it.
        """
        if self.plan.trainable.mode == "lora":
            student.model = student.model.merge_and_unload()
        note = "A student of a canary experiment that teaches the next stage; deleted with it.\n"
        export(student, self.place / source.name / "model", note)

    def drop(self, source: Source) -> None:
        """A stage's teacher has taught: its weights and its side of the rows make room."""
        shutil.rmtree(self.place / source.name, ignore_errors=True)
