"""The canary experiment: register, plant, let every copy teach, train the students of all arms, judge, delete.

registration.json  items.jsonl  copies/ (adapters)  sources/NAME/ (data, cache and held-out rows of each teacher)
"""

from __future__ import annotations

import datetime
import math
import shutil
import time
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from core import __version__
from core.catalog import inspect_model
from core.engine.distill.batches import plan_steps
from core.engine.distill.checkpoint import Engine
from core.engine.distill.data import Example
from core.engine.distill.evaluate import Metrics, capability, degenerate_share, evaluate
from core.engine.distill.side import Side
from core.engine.distill.students import build_student
from core.engine.distill.train import Learner, Trainer, make_trainable
from core.engine.lm import LanguageModel, load_model
from core.engine.resources import peak_rss_bytes
from core.engine.transfer.adapter import IGNORE, encode_row
from core.engine.transfer.canaries import measure
from core.engine.transfer.copies import canary_rows, free, plant_copies
from core.engine.transfer.relearn import steps_to_relearn
from core.engine.transfer.sources import Source, Sources, source_of
from core.errors import InputError
from core.runs.events import Emitter, Progress, Samples, State
from core.runs.folder import RunFolder, write_atomic
from core.specs.canary import CanarySpec, Init, canary_sha256, check_canaries, write_canary_plan
from core.specs.canary_cells import Cell, cells, check_cuts, init_of, taught_by, teaches
from core.specs.distill import Evaluation, LossPlan, Stage
from core.types import ModelRef
from core.verdicts.canary import (
    Point,
    Shown,
    Trained,
    cannot_teach,
    judge_canaries,
    not_learned,
    observed,
)

ANSWERED = 24
"""Held-out prompts that a student answers, at most, to see whether it still speaks: of eight, two loops void a run."""
NOT_RELEARNED = (
    "How fast a student learns the canary again was not measured: a student that does not show it may hold it still."
)
LIMITS = (
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
    shutil.rmtree(lab.sources.place, ignore_errors=True)
    return report | {"timing": {"wall_s": round(time.monotonic() - started, 1)}, "peak_rss_bytes": peak_rss_bytes()}


class _Lab:
    def __init__(self, spec: CanarySpec, folder: RunFolder, emitter: Emitter) -> None:
        self.spec, self.plan, self.folder, self.emitter = spec, spec.plan, folder, emitter
        self.copies = folder.path / "copies"
        self.sha: dict[str, str] = {}
        self.sources = Sources(spec, folder.path / "sources", self.copies, self.sha, emitter)

    @property
    def one_source(self) -> bool:
        return self.sha["teacher"] == self.sha["student"]

    def register(self) -> None:
        """The plan's hash and the models', on disk before anything is measured."""
        self.emitter.emit(State("loading"))
        cards = []
        for role, model in (("teacher", self.spec.teacher), ("student", self.spec.student)):
            self.emitter.emit(Progress("files", f"Files of the {role}", 0, 1))
            card = inspect_model(ModelRef.parse(model), hash_files=True)
            self.sha[role] = card.weights_sha256 or card.fingerprint
            cards.append(card)
        check_cuts(self.plan, *cards)
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
        plan, wanted = self.plan, [Source("clean")]
        for copy in range(plan.copies):
            wanted += [Source("sham", copy), Source("canary", copy)]
            wanted += [Source("canary", copy, share) for share in plan.ladder]
        for number, source in enumerate(wanted):
            self.emitter.emit(Progress("sources", "Teachers", number, len(wanted), "teachers", note=source.name))
            if not self.sources.is_ready(source):
                self.sources.prepare(source, None if source.share else partial(self._show, source))
                free()
        self.emitter.emit(Progress("sources", "Teachers", len(wanted), len(wanted), "teachers"))

    def _show(self, source: Source, teacher: LanguageModel) -> None:
        found = []
        for canary in self.plan.canaries:
            key = f"shown/{source.name}/{canary.id}"
            if key not in self.folder.done():
                seen = measure(canary, self.plan, teacher, near=True, emitter=self.emitter)._asdict()
                found.append(Shown(key=key, source=source.kind, copy=source.copy, canary=canary.id, **seen))
        self._keep(found)

    # students

    def train(self, cell: Cell) -> None:
        """One student, from its source to its last point. An interrupted one is begun anew.

        The student of a stage is kept until it has taught the next, or could not.
        """
        source = source_of(self.plan, cell)
        why = self._taught(cell, source)
        if why:
            self._keep([_untaught(cell, why)])
        else:
            self._train(cell, source)
        if source.stage:
            self.sources.drop(source)

    def _train(self, cell: Cell, source: Source) -> None:
        started = time.monotonic()
        plan, copy, seed = self.plan, cell.run % self.plan.copies, self.plan.seed + cell.run
        data = self.sources.data(source)
        held_out = self.sources.held_out(source, data)
        student, init = self._start(cell, source)
        examples, loss, cache = data.train, plan.loss, None
        if cell.arm == "direct":
            examples, loss = self._direct(student, copy), LossPlan(kind="ce")
        elif loss.kind != "ce":
            cache = self.sources.cache(source, data)
        # the same rows choose what is cut in every arm, so that all arms start alike
        build_student(student, init.student(), self.sources.data(Source("clean")).train, seed)
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
            Learner(side, stage, None, cache, seed), stage, every, examples, held_out, self.sources.place, seed,
            cell.key, self.emitter, lambda _rows: None,
        )  # fmt: skip
        trainer.watch = watch
        outcome = trainer.run(start)
        end = outcome.engine.evaluations[-1]
        if outcome.why == "nothing to learn":
            watch.look(outcome.engine, final=True)
        end.degenerate = degenerate_share(side, data.held_out[:ANSWERED], plan.data.answer_tokens, self.emitter)
        trained = _trained(cell, start, end, outcome.engine, outcome.why, started, self._again(cell, student))
        following = teaches(plan, cell)
        if following is not None and not not_learned(trained, plan.gates):
            self.sources.keep(source_of(plan, following), student)
        self._keep([*watch.points, trained])
        student.close()

    def _start(self, cell: Cell, source: Source) -> tuple[LanguageModel, Init]:
        """What this student is made of, not cut yet, and what is to be done with it."""
        init, before = init_of(self.plan, cell), taught_by(self.plan, cell)
        if before is not None and self.plan.cut_from_previous:
            return self.sources.load(source, self.spec.student_load), init.after(init_of(self.plan, before))
        if cell.variant == "self":
            return self.sources.load(source, self.spec.student_load), init
        return load_model(ModelRef.parse(self.spec.student), self.spec.student_load, self.emitter), init

    def _taught(self, cell: Cell, source: Source) -> str:
        """Let the student of the stage before answer, where one teaches. Returns why it cannot; empty where it can."""
        before = taught_by(self.plan, cell)
        if before is None or self.sources.is_ready(source):
            return ""
        trained = msgspec.convert(self.folder.done()[before.key], Trained)
        why = cannot_teach(trained, source.stage, self.plan.gates)
        if why:
            return why
        try:
            self.sources.prepare(source)
        except InputError as error:
            if error.code not in ("degenerate_teacher", "no_data"):
                raise
            return f"stage {source.stage} of it cannot teach: {error.message.rstrip('.')}"
        free()
        return ""

    def _again(self, cell: Cell, student: LanguageModel) -> dict[str, int | None]:
        """Steps to learn each canary again, of the arms that are compared in it."""
        most = self.plan.measuring.relearn
        if most is UNSET or cell.arm not in ("clean", "sham", "canary") or cell.share:
            return {}
        student.model.eval()
        return {
            canary.id: steps_to_relearn(canary, self.plan, student, most, self.emitter) for canary in self.plan.canaries
        }

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
            "students": _counted(seen.trained, total),
            "could_not_see": [
                *([NOT_RELEARNED] if plan.measuring.relearn is UNSET else []),
                *(sentence.format(copies=shared) for sentence in LIMITS),
            ],
            "deleted": "the planted copies, and the caches made of them"
            + (", and the students that taught a next stage" if "progressive" in plan.variants else ""),
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


def _counted(trained: list[Trained], total: int) -> dict[str, int]:
    untaught = sum(bool(cell.untaught) for cell in trained)
    counts = {"planned": total, "finished": len(trained) - untaught}
    return counts | ({"untaught": untaught} if untaught else {})


def _untaught(cell: Cell, why: str) -> Trained:
    return Trained(
        key=cell.key,
        **cell._asdict(),
        steps=0,
        tokens=0,
        kl_before=None,
        kl_after=None,
        agreement=None,
        broken="",
        ended="not taught",
        wall_s=0.0,
        untaught=why,
    )


def _trained(
    cell: Cell,
    start: Metrics,
    end: Metrics,
    engine: Engine,
    why: str,
    started: float,
    relearned: dict[str, int | None],
) -> Trained:
    return Trained(
        key=cell.key,
        **cell._asdict(),
        steps=engine.step,
        tokens=engine.tokens,
        kl_before=start.kl,
        kl_after=end.kl,
        agreement=end.agreement,
        broken="; ".join(capability(end)["reasons"]),
        ended=why,
        wall_s=round(time.monotonic() - started, 1),
        relearned=relearned,
    )
