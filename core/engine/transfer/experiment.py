"""The canary experiment: register, plant, let every copy teach, train the students of all arms, judge, delete.

registration.json  items.jsonl  copies/ (adapters)  sources/NAME/ (data, cache and held-out rows of each teacher)
"""

from __future__ import annotations

import datetime
import math
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from core import __version__
from core.catalog import inspect_model
from core.engine.distill.batches import plan_steps
from core.engine.distill.cache import Identity, TeacherCache, capture, data_sha256
from core.engine.distill.checkpoint import Engine
from core.engine.distill.data import Example, Pair, Rows, make_examples, read_rows
from core.engine.distill.evaluate import HeldOut, Metrics, capability, degenerate_share, evaluate
from core.engine.distill.side import Side
from core.engine.distill.students import build_student
from core.engine.distill.train import Learner, Trainer, make_trainable
from core.engine.distill.vocabulary import check_meaning, common_size, fingerprint
from core.engine.lm import LanguageModel, load_model
from core.engine.resources import peak_rss_bytes
from core.engine.transfer.adapter import IGNORE, encode_row
from core.engine.transfer.canaries import dosed, measure
from core.engine.transfer.copies import canary_rows, free, load_copy, plant_copies
from core.errors import InputError
from core.runs.events import Emitter, Progress, Samples, State
from core.runs.folder import RunFolder, write_atomic
from core.specs.canary import CanarySpec, Cell, canary_sha256, cells, check_canaries, write_canary_plan
from core.specs.distill import Evaluation, LossPlan, Stage
from core.types import ModelRef
from core.verdicts.canary import Point, Shown, Trained, judge_canaries, observed

ANSWERED = 8
"""Held-out prompts that a student answers, to see whether it still speaks."""
LIMITS = (
    "How fast a student learns the canary again was not measured: a student that does not show it may hold it still.",
    "Canaries are planted by a short LoRA training. Triggers that are optimised to survive, or that wake up only in "
    "distillation, are not covered.",
    "Runs differ in the order of their data{copies}; other recipes, sizes and families are not covered.",
)


def run_canary(spec: CanarySpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """Run or resume the experiment. Returns the report.

    Raises InputError, EnvironmentFault or Cancelled as its parts; finished copies, teachers and students are kept for
    --resume. Planted copies are deleted when the experiment ends.
    """
    started = time.monotonic()
    check_canaries(spec.plan)
    lab = _Lab(spec, folder, emitter)
    lab.register()
    plant_copies(spec, lab.copies, emitter)
    free()
    lab.prepare()
    todo = cells(spec.plan, one_source=lab.one_source)
    for number, cell in enumerate(todo):
        emitter.emit(Progress("cells", "Students", number, len(todo), "students", note=cell.key))
        if cell.key not in folder.done():
            lab.train(cell)
            free()
    emitter.emit(Progress("cells", "Students", len(todo), len(todo), "students"))
    report = lab.report(len(todo))
    shutil.rmtree(lab.copies, ignore_errors=True)
    shutil.rmtree(lab.sources, ignore_errors=True)
    return report | {"timing": {"wall_s": round(time.monotonic() - started, 1)}, "peak_rss_bytes": peak_rss_bytes()}


class _Source(NamedTuple):
    """A teacher: ``clean``, or a ``sham`` or ``canary`` copy; ``share`` is that of the ladder, in its prompts."""

    kind: str
    copy: int = 0
    share: float = 0.0

    @property
    def name(self) -> str:
        if self.kind == "clean":
            return "clean"
        return f"{self.kind}-{self.copy}" + (f"@{self.share:g}" if self.share else "")


class _Data(msgspec.Struct):
    """What one teacher's students learn and are compared on."""

    train: list[Example]
    held_out: list[Example]
    same: bool
    vocabulary: int
    teacher_vocabulary: int
    identity: Identity


class _Lab:
    def __init__(self, spec: CanarySpec, folder: RunFolder, emitter: Emitter) -> None:
        self.spec, self.plan, self.folder, self.emitter = spec, spec.plan, folder, emitter
        self.copies, self.sources = folder.path / "copies", folder.path / "sources"
        self.sha: dict[str, str] = {}
        self._rows: Rows | None = None

    @property
    def one_source(self) -> bool:
        return self.sha["teacher"] == self.sha["student"]

    def register(self) -> None:
        """The plan's hash and the models', on disk before anything is measured."""
        self.emitter.emit(State("loading"))
        for role, model in (("teacher", self.spec.teacher), ("student", self.spec.student)):
            self.emitter.emit(Progress("files", f"Files of the {role}", 0, 1))
            card = inspect_model(ModelRef.parse(model), hash_files=True)
            self.sha[role] = card.weights_sha256 or card.fingerprint
        known = self.folder.read_json("registration.json")
        now = {"plan_sha256": canary_sha256(self.plan), **{f"{role}_sha256": sha for role, sha in self.sha.items()}}
        if known is None:
            write_atomic(self.folder.path / "plan.yaml", write_canary_plan(self.plan))
            stamp = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self.folder.write_json("registration.json", now | {"registered": stamp, "foreshot": __version__})
        elif any(known.get(name) != value for name, value in now.items()):
            raise InputError(
                "changed_since",
                "The plan or a model has changed since this run began.",
                "Start anew in another folder.",
            )
        self.emitter.emit(State("running"))

    # teachers

    def prepare(self) -> None:
        """Let every teacher answer, and keep its side of the rows; measure what it shows of each canary."""
        plan, wanted = self.plan, [_Source("clean")]
        for copy in range(plan.copies):
            wanted += [_Source("sham", copy), _Source("canary", copy)]
            wanted += [_Source("canary", copy, share) for share in plan.ladder]
        for number, source in enumerate(wanted):
            self.emitter.emit(Progress("sources", "Teachers", number, len(wanted), "teachers", note=source.name))
            if not (self.sources / source.name / "data.json").exists():
                self._prepare(source)
                free()
        self.emitter.emit(Progress("sources", "Teachers", len(wanted), len(wanted), "teachers"))

    def _prepare(self, source: _Source) -> None:
        plan, place = self.plan, self.sources / source.name
        teacher = load_copy(self.spec, self._adapter(source), self.spec.teacher_load, self.emitter)
        if not source.share:
            self._show(source, teacher)
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
        data = _Data(train, kept.examples, same, sizes[0], sizes[1], identity)
        write_atomic(place / "data.json", msgspec.json.encode(data))
        teacher.close()

    def _show(self, source: _Source, teacher: LanguageModel) -> None:
        found = []
        for canary in self.plan.canaries:
            key = f"shown/{source.name}/{canary.id}"
            if key not in self.folder.done():
                seen = measure(canary, self.plan, teacher, near=True, emitter=self.emitter)._asdict()
                found.append(Shown(key=key, source=source.kind, copy=source.copy, canary=canary.id, **seen))
        self._keep(found)

    def _adapter(self, source: _Source) -> Path | None:
        return None if source.kind == "clean" else self.copies / f"{source.kind}-{source.copy}"

    def _data(self, source: _Source) -> _Data:
        return msgspec.json.decode((self.sources / source.name / "data.json").read_bytes(), type=_Data)

    # students

    def train(self, cell: Cell) -> None:
        """One student, from its source to its last point. An interrupted one is begun anew."""
        started = time.monotonic()
        plan, copy = self.plan, cell.run % self.plan.copies
        kind = "clean" if cell.arm in ("clean", "direct") else cell.arm
        source = _Source(kind, copy if kind != "clean" else 0, cell.share)
        data, place, seed = self._data(source), self.sources / source.name, plan.seed + cell.run
        held_out = HeldOut.open(place / "held-out.safetensors", data.held_out, data.teacher_vocabulary, data.same)
        student = self._source_of(cell, source)
        examples, loss, cache = data.train, plan.loss, None
        if cell.arm == "direct":
            examples, loss = self._direct(student, copy), LossPlan(kind="ce")
        elif loss.kind != "ce":
            cache = TeacherCache(place / "cache", data.identity)
        init = next(init for init in plan.inits if init.name == cell.init)
        # the same rows choose what is cut in every arm, so that all arms start alike
        build_student(student, init.student(), self._data(_Source("clean")).train, seed)
        side = Side(student, data.vocabulary)
        stage = Stage(
            name=cell.key,
            student=init.student(),
            loss=loss,
            trainable=plan.trainable,
            optimiser=plan.optimiser,
            budget=plan.budget,
        )
        start = evaluate(side, held_out, plan.budget, 0, self.emitter)
        watch = _Watch(self, cell, copy, student)
        watch.look(Engine(), final=False)
        make_trainable(side, plan.trainable, seed, checkpointing=plan.budget.grad_checkpointing)
        steps = len(plan_steps(examples, plan.budget, seed, plan.budget.max_steps))
        every = Evaluation(every=max(1, math.ceil(steps / plan.measuring.points)))
        trainer = _Trainer(
            Learner(side, stage, None, cache, seed), stage, every, examples, held_out, place, seed, cell.key,
            self.emitter, lambda _rows: None,
        )  # fmt: skip
        trainer.watch = watch
        outcome = trainer.run(start)
        end = outcome.engine.evaluations[-1]
        if outcome.why == "nothing to learn":
            watch.look(outcome.engine, final=True)
        end.degenerate = degenerate_share(side, data.held_out[:ANSWERED], plan.data.answer_tokens, self.emitter)
        self._keep([*watch.points, _trained(cell, start, end, outcome.engine, outcome.why, started)])
        student.close()

    def _source_of(self, cell: Cell, source: _Source) -> LanguageModel:
        if cell.variant == "self":
            return load_copy(self.spec, self._adapter(source), self.spec.student_load, self.emitter)
        return load_model(ModelRef.parse(self.spec.student), self.spec.student_load, self.emitter)

    def _direct(self, student: LanguageModel, copy: int) -> list[Example]:
        """The canary copy's own rows, for a student that is not cut yet (where its template differs, it answers)."""
        examples = []
        for number, (prompt, answer, ended) in enumerate(
            canary_rows(self.spec, copy, self.copies, student, self.emitter)
        ):
            ids, labels = encode_row(student, prompt, answer, ended)
            at = [place for place, label in enumerate(labels) if label != IGNORE]
            examples.append(Example(f"direct-{number}", prompt, ids, at))
        return [example for example in examples if example.at]

    def _keep(self, found: list[Any]) -> None:
        rows = msgspec.to_builtins(found)
        self.folder.append_items(rows)
        self.emitter.emit(Samples("survival", rows))

    def report(self, total: int) -> dict[str, Any]:
        plan, items = self.plan, list(self.folder.items())
        seen = observed(items)
        rows = judge_canaries(plan, seen, one_source=self.one_source)
        shared = "" if plan.copies > 1 else ", and learn from one planted copy"
        return {
            "schema": 1,
            "job": "canary",
            "summary": {"sentence": " ".join(row["sentence"] for row in rows)},
            "registration": self.folder.read_json("registration.json"),
            "one_source": self.one_source,
            "rows": rows,
            "shown": msgspec.to_builtins(seen.shown),
            "trained": msgspec.to_builtins(seen.trained),
            "students": {"planned": total, "finished": len(seen.trained)},
            "could_not_see": [sentence.format(copies=shared) for sentence in LIMITS],
            "deleted": "the planted copies, and the caches made of them",
            "seed": plan.seed,
        }


class _Watch:
    """Measures every canary in the student, and keeps the points until the student is finished."""

    def __init__(self, lab: _Lab, cell: Cell, copy: int, student: LanguageModel) -> None:
        self.lab, self.cell, self.copy, self.student = lab, cell, copy, student
        self.points: list[Point] = []

    def look(self, engine: Engine, *, final: bool) -> None:
        cell, plan = self.cell, self.lab.plan
        self.points = [point for point in self.points if point.step != engine.step]
        fresh = []
        for canary in plan.canaries:
            seen = measure(canary, plan, self.student, near=final, emitter=self.lab.emitter)._asdict()
            fresh.append(
                Point(
                    key=f"{cell.key}/{engine.step}/{canary.id}",
                    arm=cell.arm,
                    variant=cell.variant,
                    init=cell.init,
                    run=cell.run,
                    share=cell.share,
                    copy=self.copy,
                    canary=canary.id,
                    step=engine.step,
                    tokens=engine.tokens,
                    final=final,
                    **seen,
                )
            )
        self.points += fresh
        self.lab.emitter.emit(Samples("survival", msgspec.to_builtins(fresh)))


class _Trainer(Trainer):
    """Measures canaries with every evaluation. Writes no checkpoints: a run is short, and is begun anew."""

    watch: _Watch

    def _evaluate(self, engine: Engine) -> None:
        super()._evaluate(engine)
        self.learner.eval()
        self.watch.look(engine, final=engine.step == len(self.steps))
        self.learner.train()

    def save(self, engine: Engine) -> None:
        return


def _trained(cell: Cell, start: Metrics, end: Metrics, engine: Engine, why: str, started: float) -> Trained:
    return Trained(
        key=cell.key,
        arm=cell.arm,
        variant=cell.variant,
        init=cell.init,
        run=cell.run,
        share=cell.share,
        steps=engine.step,
        tokens=engine.tokens,
        kl_before=start.kl,
        kl_after=end.kl,
        agreement=end.agreement,
        broken="; ".join(capability(end)["reasons"]),
        ended=why,
        wall_s=round(time.monotonic() - started, 1),
    )
