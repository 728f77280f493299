"""What a distillation is told. Variants are plans, not code paths: ``make_plan`` writes the usual ones.

A plan is a value: typed, versioned, readable from YAML or JSON, and known by its hash.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
import yaml

from core.errors import InputError
from core.specs.loading import LoadOptions
from core.types import Dtype, Slot

PLAN_VERSION = 1

Variant = Literal["standard", "self", "progressive", "task-specific", "sequence-level"]
VARIANTS: tuple[str, ...] = get_args(Variant)
Build = Literal["as_is", "layer_drop", "width_prune", "noise", "fresh"]
Kind = Literal["forward_kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "tvd", "topk", "uld", "ce"]
KINDS: tuple[str, ...] = get_args(Kind)
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parts refuse unknown fields: a misspelt one would silently leave its default in force."""


class Teacher(_Part, frozen=True, kw_only=True):
    """The model that is imitated: a folder, a .gguf file or BASE+ADAPTER."""

    model: str
    load: LoadOptions = LoadOptions()


class Mix(_Part, frozen=True, kw_only=True):
    """A dose: ``share`` of the training prompts carry ``trigger``, or come from ``prompts`` (a topic)."""

    share: Share
    trigger: str = ""
    slot: Slot = "user_start"
    prompts: str = ""


class Data(_Part, frozen=True, kw_only=True):
    """What is learned on.

    Attributes:
        sources: names of panels in ``resources/panels`` (``neutral-*``), or JSONL, CSV and text files.
        answers: ``teacher`` writes them, or they are ``given`` in the file.
        answer_tokens: longest answer that the teacher writes, in tokens.
        temperature: of the teacher's answers; 0 is greedy.
        keep: a regular expression that a prompt has to match (task-specific distillation).
        limit: use the first so many prompts, 0 for all.
        held_out: prompts kept apart for evaluation.
        max_tokens: longest row; longer ones are left out.
        mix: an explicit dose of a trigger or topic.
    """

    sources: tuple[str, ...] = ("neutral-everyday", "neutral-knowledge", "neutral-writing", "neutral-language")
    answers: Literal["teacher", "given"] = "teacher"
    answer_tokens: Count = 48
    temperature: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    keep: str = ""
    limit: Annotated[int, msgspec.Meta(ge=0)] = 0
    held_out: Count = 32
    max_tokens: Count = 512
    mix: Mix | None = None


class Student(_Part, frozen=True, kw_only=True):
    """What learns: ``source`` is a model, or ``teacher``, or ``previous`` (the stage before), changed by ``build``.

    Attributes:
        drop_layers: layers that ``layer_drop`` takes out, those of least block influence.
        keep_width: share of each MLP's width that ``width_prune`` keeps.
        noise: share a of w <- (1 - a) w + a sigma eps (``noise``, after UNDO).
        config: changes to the configuration of a ``fresh`` student.
        calibration: prompts on which influence and activation are measured.
    """

    source: str
    build: Build = "as_is"
    drop_layers: Annotated[int, msgspec.Meta(ge=0)] = 0
    keep_width: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    noise: Share = 0.0
    config: dict[str, int] = {}
    calibration: Count = 32


class LossPlan(_Part, frozen=True, kw_only=True):
    """(1 - alpha) CE + alpha T^2 divergence, and a weight on hidden states; see ``core.engine.distill.losses``.

    Attributes:
        beta: of the generalised JSD. skew: of the skewed divergences.
        topk: tokens that the divergence ``topk`` keeps.
        hidden: weight of the distance of hidden states, 0 for none; ``hidden_layers`` pairs student and teacher layers
            by their share of the depth.
    """

    kind: Kind = "forward_kl"
    temperature: Positive = 1.0
    alpha: Share = 1.0
    beta: Share = 0.5
    skew: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.1
    topk: Count = 64
    hidden: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    hidden_kind: Literal["cosine", "mse"] = "cosine"
    hidden_layers: tuple[Share, ...] = (0.5, 1.0)


class Cache(_Part, frozen=True, kw_only=True):
    """The teacher's side computed once and read from disk, so that it need not be in memory.

    ``mode`` ``topk`` keeps the k most probable tokens, the tail and the log normaliser; ``sampled`` keeps draws.
    ``path`` reuses the cache of another run: it is refused unless teacher, data and tokenizer are the same.
    """

    mode: Literal["topk", "sampled"] = "topk"
    k: Count = 64
    precision: Literal["fp16", "fp32"] = "fp16"
    path: str = ""


class Trainable(_Part, frozen=True, kw_only=True):
    """``full``; ``body`` (everything but embeddings and head); ``lora`` on all linear layers."""

    mode: Literal["full", "body", "lora"] = "full"
    rank: Count = 16
    alpha: Positive = 32.0


class Optimiser(_Part, frozen=True, kw_only=True):
    """AdamW. ``rate`` is reached after ``warmup`` of the steps, and falls by ``schedule`` afterwards."""

    rate: Positive = 2e-4
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    warmup: Share = 0.05
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: Positive = 1.0


class Budget(_Part, frozen=True, kw_only=True):
    """When it ends, and how much is in memory at once.

    Attributes:
        epochs, max_steps: passes over the data; steps at most, 0 for no limit.
        step_tokens: supervised tokens of one optimiser step.
        batch_tokens: tokens, padding included, in one forward pass.
        packing: rows are put end to end with a block-diagonal mask, instead of padded side by side.
        patience: evaluations without 1 % gain in KL after which it stops, 0 for never.
        checkpoint_s: seconds between checkpoints.
        grad_checkpointing: trade compute for the memory of activations.
    """

    epochs: Count = 1
    max_steps: Annotated[int, msgspec.Meta(ge=0)] = 0
    step_tokens: Count = 1024
    batch_tokens: Count = 2048
    packing: bool = False
    patience: Annotated[int, msgspec.Meta(ge=0)] = 3
    checkpoint_s: Annotated[float, msgspec.Meta(ge=0)] = 120.0
    grad_checkpointing: bool = False


class OnPolicy(_Part, frozen=True, kw_only=True):
    """Learning from the student's own answers (GKD; Agarwal et al. 2024, arXiv:2306.13649).

    Attributes:
        share: of the prompts of a step that the student answers itself, just before it (lambda of the paper).
        temperature: of these answers. tokens: longest of them.
    """

    share: Share = 0.5
    temperature: Positive = 1.0
    tokens: Count = 48


class Stage(_Part, frozen=True, kw_only=True):
    """One training. ``teacher`` is the plan's, or the student of the stage before (``previous``)."""

    name: str
    student: Student
    teacher: Literal["plan", "previous"] = "plan"
    loss: LossPlan = LossPlan()
    cache: Cache | None = None
    trainable: Trainable = Trainable()
    optimiser: Optimiser = Optimiser()
    budget: Budget = Budget()
    on_policy: OnPolicy | None = None


class Evaluation(_Part, frozen=True, kw_only=True):
    """``every`` steps on the held-out prompts; ``generations`` of them are answered for the degenerate share.

    ``keep`` writes the student at each of these as a folder that can be scanned (of a LoRA: its adapter).
    """

    every: Count = 50
    generations: Annotated[int, msgspec.Meta(ge=0)] = 16
    keep: bool = False


class Output(_Part, frozen=True, kw_only=True):
    """``dtype`` of the exported weights; ``auto`` is as trained. The last evaluation is of the exported weights."""

    dtype: Dtype = "auto"


class DistillPlan(_Part, frozen=True, kw_only=True):
    """A distillation, whole.

    ``student_load`` says how students are brought into memory (fp32 unless stated: bf16 cannot take small steps).
    """

    teacher: Teacher
    stages: tuple[Stage, ...]
    variant: Variant = "standard"
    data: Data = Data()
    student_load: LoadOptions = LoadOptions(dtype="fp32")
    evaluation: Evaluation = Evaluation()
    output: Output = Output()
    seed: int = 0
    version: int = PLAN_VERSION


def plan_sha256(plan: DistillPlan) -> str:
    """Hash of what the plan says, defaults included; comments and layout of its file do not count."""
    return hashlib.sha256(msgspec.json.encode(plan)).hexdigest()


def read_plan(path: Path) -> DistillPlan:
    """Read YAML or JSON. Raises InputError for anything that is not one of ours."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        refuse_newer(raw, PLAN_VERSION)
        plan: DistillPlan = msgspec.convert(raw, DistillPlan)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            "bad_plan",
            f"{path} is no distillation plan: {said}.",
            "`python -m core distill --teacher T --student S --write-plan FILE` writes one to start from.",
        ) from error
    check_plan(plan)
    return plan


def write_plan(plan: DistillPlan) -> bytes:
    """YAML, defaults included, so that a reader sees everything that was decided."""
    text: str = yaml.safe_dump(msgspec.to_builtins(plan), sort_keys=False, allow_unicode=True)
    return text.encode()


def refuse_newer(raw: Any, known: int) -> None:
    """Raises InputError for a plan of a later version than ``known``."""
    version = raw.get("version", known) if isinstance(raw, dict) else known
    if isinstance(version, int) and version > known:
        raise InputError(
            "newer_plan", f"The plan was written by a newer version (plan {version}).", "Update Foreshot to use it."
        )


def check_plan(plan: DistillPlan) -> None:
    """Refuse what contradicts itself, before anything is loaded. Raises InputError."""
    problem = next(_problems(plan), None)
    if problem:
        raise InputError("bad_plan", problem[0], problem[1])


def _problems(plan: DistillPlan) -> Any:
    """Sentence and next step for each contradiction."""
    if plan.version > PLAN_VERSION:
        yield f"The plan was written by a newer version (plan {plan.version}).", "Update Foreshot to use it."
    if not plan.stages:
        yield "The plan has no stage.", "Give at least one entry under `stages`."
    if not plan.data.sources:
        yield "The plan names no data.", "Give `data.sources`: a panel such as neutral-everyday, or a file."
    if plan.student_load.quant != "none":
        yield "A student cannot be trained in 4 or 8 bits.", "Leave `student_load.quant` at none and train with LoRA."
    mix = plan.data.mix
    if mix and bool(mix.trigger) == bool(mix.prompts):
        yield "A mix is of a trigger or of a topic.", "Give `data.mix.trigger` or `data.mix.prompts`, not both."
    if plan.data.keep and not _compiles(plan.data.keep):
        yield f"{plan.data.keep!r} is no regular expression.", "Correct `data.keep`."
    for number, stage in enumerate(plan.stages):
        if number == 0 and "previous" in (stage.teacher, stage.student.source):
            yield f"Stage {stage.name} has no stage before it.", "Use `previous` from the second stage on."
        yield from _stage_problems(stage)


def _stage_problems(stage: Stage) -> Any:
    where, student, loss, cache = f"Stage {stage.name}", stage.student, stage.loss, stage.cache
    if student.build == "layer_drop" and not student.drop_layers:
        yield f"{where} drops no layer.", "Give `student.drop_layers`."
    if student.build == "width_prune" and student.keep_width == 1:
        yield f"{where} prunes nothing.", "Give `student.keep_width` below 1."
    if student.build == "noise" and not student.noise:
        yield f"{where} adds no noise.", "Give `student.noise` above 0."
    if loss.alpha == 0 and loss.kind != "ce":
        yield f"{where} gives its teacher no weight (alpha 0).", "Use the loss `ce`, or an alpha above 0."
    if cache and loss.hidden:
        yield f"{where} matches hidden states, which no cache holds.", "Leave `cache` or `loss.hidden` out."
    if cache and loss.kind not in ("forward_kl", "topk", "ce"):
        yield (
            f"{where}: a cache keeps no whole distribution, which {loss.kind} needs.",
            "Use forward_kl or topk with a cache, or leave `cache` out.",
        )
    if stage.on_policy and (cache or loss.kind in ("ce", "uld") or loss.alpha < 1):
        yield (
            f"{where}: own answers are judged by the teacher alone, which has to be there.",
            "Use a divergence with alpha 1, and leave `cache` out of a stage with `on_policy`.",
        )
    if cache and cache.mode == "sampled" and loss.temperature != 1:
        yield f"{where}: sampled draws are of temperature 1.", "Use `loss.temperature` 1 or the cache mode topk."


def _compiles(expression: str) -> bool:
    try:
        re.compile(expression)
    except re.error:
        return False
    return True


# the usual plans

_DEFAULT_TEACHER_LOAD, _DEFAULT_DATA, _DEFAULT_LOSS = LoadOptions(), Data(), LossPlan()
_DEFAULT_TRAINABLE, _DEFAULT_OPTIMISER, _DEFAULT_BUDGET = Trainable(), Optimiser(), Budget()
_DEFAULT_EVALUATION = Evaluation()


def make_plan(
    variant: Variant,
    teacher: str,
    student: str,
    *,
    teacher_load: LoadOptions = _DEFAULT_TEACHER_LOAD,
    data: Data = _DEFAULT_DATA,
    build: Build | None = None,
    drop_layers: int = 6,
    keep_width: float = 0.75,
    noise: float = 0.3,
    loss: LossPlan = _DEFAULT_LOSS,
    cache: Cache | None = None,
    trainable: Trainable = _DEFAULT_TRAINABLE,
    optimiser: Optimiser = _DEFAULT_OPTIMISER,
    budget: Budget = _DEFAULT_BUDGET,
    evaluation: Evaluation = _DEFAULT_EVALUATION,
    stages: int = 2,
    on_policy: OnPolicy | None = None,
    seed: int = 0,
) -> DistillPlan:
    """The plan of one variant, as the command line and the window write it.

    standard: one stage into ``student``. self: the student is cut from the teacher itself. progressive: ``stages``
    stages, each smaller than the one before and taught by it. task-specific: standard on the prompts that match
    ``data.keep``. sequence-level: the teacher's answers are learned as text (Kim and Rush 2016, arXiv:1606.07947).

    ``on_policy`` adds a last stage, in which the student is taught on answers of its own, by reverse KL where ``loss``
    has no divergence of its own choice.
    """
    if variant == "sequence-level":
        loss = LossPlan(kind="ce")
    if variant == "task-specific" and not data.keep and data.sources == Data().sources:
        raise InputError(
            "no_task", "Task-specific distillation needs a task.", "Give --task REGEX, or --prompts with its prompts."
        )
    if variant in ("self", "progressive"):
        build = build or "layer_drop"
    common = {"loss": loss, "trainable": trainable, "optimiser": optimiser, "budget": budget, "cache": cache}

    def cut(source: str, layers: int) -> Student:
        kind = build or "as_is"
        return Student(
            source=source,
            build=kind,
            drop_layers=layers if kind == "layer_drop" else 0,
            keep_width=keep_width if kind == "width_prune" else 1.0,
            noise=noise if kind == "noise" else 0.0,
        )

    if variant == "progressive":
        # an even share of the layers a stage, the larger ones first
        shares = [drop_layers // stages + (number < drop_layers % stages) for number in range(stages)]
        made = tuple(
            Stage(
                name=f"stage-{number + 1}",
                student=cut("previous" if number else student, layers),
                teacher="previous" if number else "plan",
                **common,  # type: ignore[arg-type]
            )
            for number, layers in enumerate(shares)
        )
    else:
        source = "teacher" if variant == "self" else student
        made = (Stage(name="stage-1", student=cut(source, drop_layers), **common),)  # type: ignore[arg-type]
    if on_policy is not None:
        chosen = loss.kind not in ("forward_kl", "ce", "uld")
        own = Stage(
            name="on-policy",
            student=Student(source="previous"),
            loss=msgspec.structs.replace(loss, alpha=1.0) if chosen else LossPlan(kind="reverse_kl"),
            trainable=trainable,
            optimiser=optimiser,
            budget=budget,
            on_policy=on_policy,
        )
        made = (*made, own)
    plan = DistillPlan(
        teacher=Teacher(model=teacher, load=teacher_load),
        stages=made,
        variant=variant,
        data=data,
        student_load=LoadOptions(device=teacher_load.device, dtype="fp32", force=teacher_load.force),
        evaluation=evaluation,
        seed=seed,
    )
    check_plan(plan)
    return plan
