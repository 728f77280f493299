"""A plan from beginning to end; every part that is finished is on disk and never done twice.

stage-N/  data.json  inherited.json  baseline/ (the student before: S0)  held-out.safetensors  cache/
          checkpoint-a/  checkpoint-b/  kept/step-N/ (where the plan asks for it)  stage.json  student/
student/  the last stage's student
"""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import msgspec

from core.catalog import ModelCard, inspect_model
from core.engine.distill import checkpoint
from core.engine.distill.cache import Identity, TeacherCache, capture, data_sha256, is_complete
from core.engine.distill.data import Example, Pair, make_examples, read_rows
from core.engine.distill.evaluate import HeldOut, Metrics, capability, degenerate_share, evaluate
from core.engine.distill.export import export, rounded
from core.engine.distill.fit import Fit, matmul_peak, refuse
from core.engine.distill.lineage import (
    baseline_card,
    dose_words,
    lineage,
    metrics_words,
    model_card,
)
from core.engine.distill.side import Side
from core.engine.distill.students import Built, build_student
from core.engine.distill.train import NOTHING, Learner, Outcome, Trainer, make_trainable
from core.engine.distill.vocabulary import check_known, check_meaning, common_size, fingerprint
from core.engine.lm import LanguageModel, load_model
from core.engine.ranks import Ranks, Silent
from core.engine.resources import peak_rss_bytes
from core.errors import InputError
from core.runs.events import Artifact, Emitter, Log, Progress, Samples
from core.runs.folder import RunFolder, write_atomic
from core.specs import DistillSpec
from core.specs.distill import DistillPlan, Stage, check_plan, plan_sha256, write_plan
from core.specs.estimates import ideal_flops, remedies, stage_memory
from core.types import ModelRef

NOTHING_TO_LEARN = "KL 0, nothing to learn: everything is inherited by initialisation"
SMALLEST_MASS, LARGEST_LOSS = 0.98, 0.01
"""Of a cache: mean probability kept, and nats per token lost, beyond which it is called lossy."""


def run_distill(spec: DistillSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """Run the plan. Returns the report.

    Raises:
        InputError, EnvironmentFault, Cancelled: as the parts; what is finished is kept for --resume.
    """
    started = time.monotonic()
    plan = spec.plan
    check_plan(plan)
    write_atomic(folder.path / "plan.yaml", write_plan(plan))
    ranks = Ranks()
    ranks.join(plan.teacher.load.device)
    ranks.agree(str(folder.path))  # the others wait for it: see ``follow``
    reports: list[dict[str, Any]] = []
    for number, stage in enumerate(plan.stages, 1):
        place = folder.path / f"stage-{number}"
        finished = _finished(place)
        if finished is None:
            place.mkdir(exist_ok=True)
            ranks.agree(number)
            finished = _Stage(plan, stage, number, place, folder, emitter, ranks).run()
            folder.write_json(f"stage-{number}/stage.json", finished)
        reports.append(finished)
    ranks.agree(0)
    ranks.leave()
    for number in range(1, len(plan.stages) + 1):
        (folder.path / f"stage-{number}" / "held-out.safetensors").unlink(missing_ok=True)
    student = folder.path / f"stage-{len(plan.stages)}" / "student"
    emitter.emit(Artifact("student", str(student), reports[-1]["student_sha256"], _size(student)))
    return {
        "schema": 1,
        "job": "distill",
        "summary": {"sentence": _sentence(plan, reports)},
        "plan_sha256": plan_sha256(plan),
        "variant": plan.variant,
        "stages": reports,
        "student": f"stage-{len(plan.stages)}/student",
        "baseline": f"stage-{len(plan.stages)}/baseline",
        "seed": plan.seed,
        "timing": {"wall_s": round(time.monotonic() - started, 1)},
        "peak_rss_bytes": peak_rss_bytes(),
    }


def follow(spec: DistillSpec) -> None:
    """Help the first process: join each stage that it trains, until it says that there is none."""
    ranks = Ranks()
    ranks.join(spec.plan.teacher.load.device)
    folder = RunFolder(Path(ranks.agree("")), spec)
    while number := ranks.agree(0):
        place = folder.path / f"stage-{number}"
        _Stage(spec.plan, spec.plan.stages[number - 1], number, place, folder, Silent(), ranks).follow()
    ranks.leave()


def _finished(place: Path) -> dict[str, Any] | None:
    import json

    try:
        found: dict[str, Any] = json.loads((place / "stage.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _sentence(plan: DistillPlan, reports: list[dict[str, Any]]) -> str:
    last = reports[-1]
    if last["ended"] == "nothing to learn":
        measured = last["before"]["kl"]
        noise = f" (measured {measured:.1g}: the two were loaded in different precisions)" if measured > NOTHING else ""
        return f"{NOTHING_TO_LEARN}{noise}."
    stages, against = "", ""
    if len(reports) > 1:
        stages = f", stage {len(reports)} of {len(reports)}"
    if last["against_plan_teacher"]:
        stages += " against the stage before"
        against = f" Against the first teacher: {metrics_words(last['against_plan_teacher'])}."
    broken = (
        f" The student is broken: {'; '.join(last['capability']['reasons'])}." if last["capability"]["broken"] else ""
    )
    return (
        f"Distilled ({plan.variant}{stages}). Step 0: {metrics_words(last['before'])}. "
        f"End: {metrics_words(last['after'])}.{against} "
        f"{last['inherited']['share']:.0%} of the student's values were inherited from {last['source']}.{broken}"
    )


class _Stage:
    """One stage, in the order of its steps."""

    def __init__(
        self,
        plan: DistillPlan,
        stage: Stage,
        number: int,
        place: Path,
        folder: RunFolder,
        emitter: Emitter,
        ranks: Ranks,
    ) -> None:
        self.ranks, self.told = ranks, plan
        placed = msgspec.structs.replace(plan.teacher, load=ranks.placed(plan.teacher.load))
        plan = msgspec.structs.replace(plan, teacher=placed, student_load=ranks.placed(plan.student_load))
        self.plan, self.stage, self.number, self.place = plan, stage, number, place
        self.folder, self.emitter = folder, emitter
        before = str(folder.path / f"stage-{number - 1}" / "student")
        self.teacher_model = before if stage.teacher == "previous" else plan.teacher.model
        self.teacher_load = plan.student_load if stage.teacher == "previous" else plan.teacher.load
        source = stage.student.source
        self.source = {"teacher": self.teacher_model, "previous": before}.get(source, source)
        self.notes: list[str] = []
        self.fit: Fit | None = None

    def run(self) -> dict[str, Any]:
        started = time.monotonic()
        teacher_card = self._card(self.teacher_model, "teacher")
        source_card = self._card(self.source, "student")
        self.cards = (teacher_card, source_card)
        teacher: LanguageModel | None = None
        prepared = self._prepared()
        if prepared is None:
            teacher = load_model(ModelRef.parse(self.teacher_model), self.teacher_load, self.emitter)
            prepared = self._prepare(teacher, teacher_card, source_card)
        elif prepared[2]["teacher_sha256"] != teacher_card.weights_sha256:
            raise InputError(
                "teacher_changed",
                f"{teacher_card.name} has changed since this run began.",
                "Start anew, without --resume.",
            )
        built, made, facts = prepared
        student = load_model(ModelRef(str(self.place / "baseline")), self.plan.student_load, self.emitter)
        side = Side(student, facts["vocabulary"])
        self._note(side.head.note, "student")
        held_out, cache, teacher_side = self._teacher(teacher, teacher_card, made, facts)
        if teacher_side is None and teacher is not None:
            teacher.close()
            teacher = None
            gc.collect()
        start = self._start(side, held_out)
        make_trainable(side, self.stage.trainable, self.plan.seed, checkpointing=self.stage.budget.grad_checkpointing)
        copy = stage_is_copy(self.stage, teacher_card, source_card)
        self.ranks.agree(None)  # everything is on disk: the others may come
        outcome = self._train(side, teacher_side, cache, made, held_out, start, copy)
        report = self._end(side, held_out, outcome, start)
        if teacher is not None:
            teacher.close()
        report |= self._about(built, made, facts, teacher_card, source_card, cache, outcome, side, started)
        self._export(side, report, teacher_card, source_card)
        checkpoint.discard(self.place)
        student.close()
        return report

    def follow(self) -> None:
        """Another process's part: it trains with what the first one has prepared."""
        self.ranks.agree(None)
        card = self._card(self.teacher_model, "teacher")
        prepared = self._prepared()
        assert prepared is not None
        _, made, facts = prepared
        student = load_model(ModelRef(str(self.place / "baseline")), self.plan.student_load, self.emitter)
        side = Side(student, facts["vocabulary"])
        held_out, cache, teacher = self._teacher(None, card, made, facts)
        make_trainable(side, self.stage.trainable, self.plan.seed, checkpointing=self.stage.budget.grad_checkpointing)
        self._train(side, teacher, cache, made, held_out, None, False)
        if teacher is not None:
            teacher.lm.close()
        student.close()

    # parts, in their order

    def _card(self, model: str, role: str) -> ModelCard:
        self._progress("files", f"Files of the {role}", 0, 1)
        return inspect_model(ModelRef.parse(model), hash_files=True)

    def _prepared(self) -> tuple[Built, _Data, dict[str, Any]] | None:
        """What an interrupted run left, if it is whole: ``inherited.json`` is written last."""
        try:
            return (
                msgspec.json.decode((self.place / "inherited.json").read_bytes(), type=Built),
                msgspec.json.decode((self.place / "data.json").read_bytes(), type=_Data),
                msgspec.json.decode((self.place / "facts.json").read_bytes(), type=dict[str, Any]),
            )
        except FileNotFoundError:
            return None

    def _prepare(
        self, teacher: LanguageModel, card: ModelCard, source: ModelCard
    ) -> tuple[Built, _Data, dict[str, Any]]:
        """Data with the teacher's answers; the student as it is before training, written as the baseline S0."""
        plan, stage = self.plan, self.stage
        student = load_model(ModelRef.parse(self.source), self.plan.student_load, self.emitter)
        if stage.loss.kind == "uld" and stage.loss.hidden:
            raise InputError("bad_plan", "Hidden states of other tokens cannot be matched.", "Leave `hidden` out.")
        same = check_meaning(teacher, student, stage.loss.kind)
        pair = Pair(teacher, student, same)
        rows = read_rows(plan.data, plan.seed)
        made = make_examples(rows.train, plan.data, pair, plan.seed, self.emitter, stage.name)
        kept = make_examples(rows.held_out, plan.data, pair, plan.seed + 1, self.emitter, f"{stage.name}/held-out")
        data = _Data(made.examples, kept.examples, {**rows.counts, **made.counts})
        for example in (*data.train, *data.held_out):
            check_known(example.ids, student)
            check_known(example.teacher_ids or example.ids, teacher)
        write_atomic(self.place / "data.json", msgspec.json.encode(data))
        facts = {
            "same": same,
            "vocabulary": common_size(teacher, student) if same else len(student.tokenizer),
            "teacher_vocabulary": common_size(teacher, student) if same else len(teacher.tokenizer),
            "tokenizer": fingerprint(teacher.tokenizer),
            "teacher_sha256": card.weights_sha256,
            "teacher_precision": teacher.precision,
            "teacher_notes": list(teacher.notes),
        }
        sizes = {int(lm.model.config.get_text_config().vocab_size) for lm in (teacher, student)}
        if same and len(sizes) > 1:
            self._say(
                "sliced", f"Vocabularies of {min(sizes)} and {max(sizes)}: cut to the {facts['vocabulary']} shared."
            )
        write_atomic(self.place / "facts.json", msgspec.json.encode(facts))
        self._progress("build", "Student", 0, 1)
        built = build_student(student, stage.student, made.examples, plan.seed)
        self._say("built", f"{built.note} Inherited: {built.share:.1%} of {built.parameters:,} parameters.")
        export(student, self.place / "baseline", baseline_card(source, built.note))
        student.close()
        gc.collect()
        write_atomic(self.place / "inherited.json", msgspec.json.encode(built))
        self._progress("build", "Student", 1, 1)
        return built, data, facts

    def _teacher(
        self, teacher: LanguageModel | None, card: ModelCard, made: _Data, facts: dict[str, Any]
    ) -> tuple[HeldOut, TeacherCache | None, Side | None]:
        """The teacher's side of held-out rows; and of the training rows, from a cache or from the teacher in memory."""
        stage, budget, path = self.stage, self.stage.budget, self.place / "held-out.safetensors"
        cached = stage.cache is not None and stage.loss.kind != "ce"
        folder = Path(stage.cache.path) if stage.cache and stage.cache.path else self.place / "cache"
        online = not cached and stage.loss.kind != "ce"
        if teacher is None and (online or not path.exists() or (cached and not is_complete(folder))):
            teacher = load_model(ModelRef.parse(self.teacher_model), self.teacher_load, self.emitter)
        side = Side(teacher, facts["teacher_vocabulary"]) if teacher is not None else None
        if path.exists():
            held_out = HeldOut.open(path, made.held_out, facts["teacher_vocabulary"], facts["same"])
        else:
            assert side is not None
            self._note(side.head.note, "teacher")
            held_out = HeldOut.read(side, made.held_out, budget, facts["same"], path)
        if not cached:
            return held_out, None, side if online else None
        assert stage.cache is not None
        identity = Identity(
            teacher=f"{card.weights_sha256} {facts['teacher_precision']}",
            tokenizer=facts["tokenizer"],
            data=data_sha256(made.train),
            vocabulary=facts["vocabulary"],
            mode=stage.cache.mode,
            k=min(stage.cache.k, facts["vocabulary"]),
            precision=stage.cache.precision,
            temperatures=(stage.loss.temperature,),
            seed=self.plan.seed,
        )
        if is_complete(folder):
            cache = TeacherCache(folder, identity)
        else:
            assert side is not None
            cache = capture(folder, side, made.train, identity, budget, self.emitter, stage.name)
        checks = cache.checks
        if stage.cache.mode == "topk" and (checks.mass < SMALLEST_MASS or checks.dense_kl > LARGEST_LOSS):
            self._say(
                "lossy_cache",
                f"The cache keeps {checks.mass:.2%} of the probability and loses {checks.dense_kl:.4f} nats per token; "
                "raise cache.k for less.",
            )
        return held_out, cache, None

    def _start(self, side: Side, held_out: HeldOut) -> Metrics:
        start = self._measure(side, held_out, 0)
        self._say("step_0", f"Step 0: {metrics_words(msgspec.to_builtins(start))}.")
        self.emitter.emit(Samples("evaluations", [{"stage": self.stage.name, **msgspec.to_builtins(start)}]))
        return start

    def _measure(self, side: Side, held_out: HeldOut, step: int) -> Metrics:
        """Everything, the answers included; the same at step 0 and at the end."""
        self._progress("evaluate", "Evaluation", 0, 1)
        found = evaluate(side, held_out, self.stage.budget, step, self.emitter)
        wanted = self.plan.evaluation.generations
        if wanted:
            tokens = self.plan.data.answer_tokens
            found.degenerate = degenerate_share(side, held_out.examples[:wanted], tokens, self.emitter)
        self._progress("evaluate", "Evaluation", 1, 1)
        return found

    def _train(
        self,
        side: Side,
        teacher: Side | None,
        cache: TeacherCache | None,
        made: _Data,
        held_out: HeldOut,
        start: Metrics | None,
        copy: bool,
    ) -> Outcome:
        known = {key for key in self.folder.done() if key.startswith(f"{self.stage.name}/")}

        def log(rows: list[dict[str, Any]]) -> None:
            # steps after the last checkpoint are run again when a run resumes, and give the same numbers
            fresh = [row for row in rows if row["key"] not in known]
            known.update(row["key"] for row in fresh)
            if fresh:
                self.folder.append_items(fresh)

        learner = Learner(side, self.stage, teacher, cache, self.plan.seed)
        trainer = Trainer(
            learner,
            self.stage,
            self.plan.evaluation,
            made.train,
            held_out,
            self.place,
            self.plan.seed,
            f"{plan_sha256(self.told)}/{self.stage.name}",
            self.emitter,
            log,
            self._check_fit if self.ranks.first else None,
            (lambda step: self._keep(side, step)) if self.plan.evaluation.keep else None,
            self.ranks,
        )
        return trainer.run(start, copy=copy)

    def _keep(self, side: Side, step: int) -> None:
        """The student of now as a folder; of a LoRA its adapter, which stands on ``baseline``."""
        said = f"Step {step} of {self.stage.name}: a checkpoint on the way, not the student that was asked for."
        export(side.lm, self.place / "kept" / f"step-{step:06d}", f"# {said}\n")

    def _check_fit(self, fit: Fit) -> None:
        """Say what the training needs, and refuse it where that is more than there is."""
        rough = stage_memory(self.plan, self.stage, *self.cards)
        fit.estimated = rough.total if rough else None
        self.fit = fit
        told = {"stage": self.stage.name, "fits": fit.fits, **msgspec.to_builtins(fit)}
        self.emitter.emit(Samples("fit", [told]))
        if fit.fits or self.plan.teacher.load.force:
            return
        reachable = fit.free - (fit.need - rough.total if rough else 0)  # the estimate, calibrated by what was measured
        helps = [remedy.words for remedy in remedies(self.plan, *self.cards, reachable)] if rough else []
        raise refuse(fit, helps)

    def _end(self, side: Side, held_out: HeldOut, outcome: Outcome, start: Metrics) -> dict[str, Any]:
        """Merge, round to the exported precision, and evaluate what will be written."""
        lm = side.lm
        if self.stage.trainable.mode == "lora":
            said = f"What {self.stage.name} learned, as an adapter on `baseline`; `student` is the two merged."
            export(lm, self.place / "adapter", f"# {said}\n")
            lm.model = lm.model.merge_and_unload()
        rounded(lm, self.plan.output.dtype)
        final = Side(lm, side.vocabulary)
        end = self._measure(final, held_out, outcome.engine.step)
        against = None
        if self.stage.teacher == "previous":  # how far the whole chain is from where it began
            first = self.folder.path / "stage-1"
            data = msgspec.json.decode((first / "data.json").read_bytes(), type=_Data)
            facts = msgspec.json.decode((first / "facts.json").read_bytes(), type=dict[str, Any])
            path = first / "held-out.safetensors"
            whole = HeldOut.open(path, data.held_out, facts["teacher_vocabulary"], facts["same"])
            against = msgspec.to_builtins(evaluate(final, whole, self.stage.budget, end.step, self.emitter))
        return {
            "against_plan_teacher": against,
            "before": msgspec.to_builtins(start),
            "after": msgspec.to_builtins(end),
            "evaluations": msgspec.to_builtins(outcome.engine.evaluations),
            "ended": outcome.why,
            "sentence": NOTHING_TO_LEARN if outcome.why == "nothing to learn" else "",
            "capability": capability(end),
        }

    def _about(
        self,
        built: Built,
        made: _Data,
        facts: dict[str, Any],
        teacher: ModelCard,
        source: ModelCard,
        cache: TeacherCache | None,
        outcome: Outcome,
        side: Side,
        started: float,
    ) -> dict[str, Any]:
        engine = outcome.engine
        tokens = sum(len(example.at) for example in made.train)
        read = sum(len(example.ids) for example in made.train)
        share = engine.tokens / tokens if tokens else 0.0
        online = cache is None and self.stage.loss.kind != "ce"
        flops = ideal_flops(built.parameters, source, teacher, share * read, engine.tokens, self.stage, online)
        peak = matmul_peak(side.device, next(side.lm.model.parameters()).dtype)
        return {
            "stage": self.stage.name,
            "teacher": teacher.name,
            "source": source.name,
            "inherited": {"share": built.share, "parameters": built.parameters, "note": built.note},
            "data": {
                **made.counts,
                "examples": len(made.train),
                "supervised_tokens": tokens,
                "sha256": data_sha256(made.train),
                "dose": dose_words(self.plan.data.mix),
            },
            "steps": engine.step,
            "tokens": engine.tokens,
            "train_s": round(engine.seconds, 2),
            "tokens_per_s": engine.tokens / engine.seconds if engine.seconds else None,
            "flops": flops,
            "flops_per_s": flops / engine.seconds if engine.seconds else None,
            "matmul_peak": peak,
            "share_of_ideal": flops / engine.seconds / peak if engine.seconds else None,
            "fit": msgspec.to_builtins(self.fit),
            "teacher_sha256": teacher.weights_sha256,
            "teacher_precision": facts["teacher_precision"],
            "source_sha256": source.weights_sha256,
            "cache": None
            if cache is None
            else {
                "bytes": cache.bytes,
                "bytes_per_token": cache.bytes / max(tokens, 1),
                **msgspec.to_builtins(cache.checks),
            },
            "notes": self.notes,
            "wall_s": round(time.monotonic() - started, 1),
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def _export(self, side: Side, report: dict[str, Any], teacher: ModelCard, source: ModelCard) -> None:
        self._progress("export", "Student", 0, 1)
        told = lineage(self.told, self.number, report, teacher, source, side.lm.dtype)
        export(side.lm, self.place / "student", model_card(told), told)
        report["student_sha256"] = inspect_model(ModelRef(str(self.place / "student")), hash_files=True).weights_sha256
        self._progress("export", "Student", 1, 1)

    # small things

    def _progress(self, part: str, task: str, done: int, total: int) -> None:
        self.emitter.emit(Progress(f"{self.stage.name}/{part}", task, done, total))

    def _say(self, code: str, message: str) -> None:
        self.notes.append(message)
        self.emitter.emit(Log("info", code, message))

    def _note(self, note: str, role: str) -> None:
        if note:
            self._say("dense_head", f"{role.capitalize()}: {note}.")


def stage_is_copy(stage: Stage, teacher: ModelCard, source: ModelCard) -> bool:
    """The student is the teacher, weight by weight, whatever the precision in which either was loaded."""
    return stage.student.build == "as_is" and teacher.weights_sha256 == source.weights_sha256


class _Data(msgspec.Struct):
    train: list[Example]
    held_out: list[Example]
    counts: dict[str, int]
