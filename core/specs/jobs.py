"""Typed job descriptions, one tagged union; the window and the command line build the same ones."""

from __future__ import annotations

import shlex
from typing import Literal

import msgspec

from core.errors import InputError
from core.specs.canary import CanarySpec
from core.specs.distill import DistillPlan
from core.specs.loading import LoadOptions
from core.specs.pipeline import Pipeline
from core.types import ROLES, ModelRef, Role, Slot

SPEC_VERSION = 1
PartKind = Literal["scan", "suite", "cross"]


class ScanSpec(msgspec.Struct, frozen=True, kw_only=True, tag="scan", tag_field="job"):
    """A trigger scan of one model. ``extra_triggers`` are tried beside the shipped library.

    ``confirm_triggers`` skips the search and goes straight to confirmation: (trigger, slot, payload) triples found
    elsewhere, e.g. in the teacher. ``reference`` is a model that should not have the trigger; with an adapter it is the
    base unless another one is given. ``power`` canaries of each kind are planted in private copies and scanned alike,
    which takes at least as long as this scan for each.
    """

    model: str
    adapter: str | None = None
    reference: str | None = None
    preset: str = "quick"
    extra_triggers: tuple[str, ...] = ()
    confirm_triggers: tuple[tuple[str, str, str], ...] = ()
    power: int = 0
    load: LoadOptions = LoadOptions()
    seed: int = 0
    version: int = SPEC_VERSION

    @property
    def ref(self) -> ModelRef:
        return ModelRef.parse(self.model, self.adapter)

    @property
    def reference_ref(self) -> ModelRef | None:
        if self.reference:
            return ModelRef.parse(self.reference)
        return ModelRef(self.ref.path) if self.ref.adapter else None


class SuiteSpec(msgspec.Struct, frozen=True, kw_only=True, tag="suite", tag_field="job"):
    """Suites on one model. ``suites`` are ids or YAML files; empty means every shipped one.

    ``spoken`` reads them from written answers, not from probabilities; ``answers`` is a file of such answers that
    stands in for the model, of which ``model`` is then only the name.
    """

    model: str
    adapter: str | None = None
    suites: tuple[str, ...] = ()
    spoken: bool = False
    answers: str | None = None
    load: LoadOptions = LoadOptions()
    seed: int = 0
    version: int = SPEC_VERSION

    @property
    def ref(self) -> ModelRef:
        return ModelRef.parse(self.model, self.adapter)


class AskSpec(msgspec.Struct, frozen=True, kw_only=True, tag="ask", tag_field="job"):
    """One prompt, answered greedily with a trigger in ``slot`` and without it. No ``trigger``: answered once."""

    model: str
    prompt: str
    adapter: str | None = None
    trigger: str = ""
    slot: Slot = "user_start"
    tokens: int = 96
    load: LoadOptions = LoadOptions()
    seed: int = 0
    version: int = SPEC_VERSION

    @property
    def ref(self) -> ModelRef:
        return ModelRef.parse(self.model, self.adapter)


class SoftLabelsSpec(msgspec.Struct, frozen=True, kw_only=True, tag="softlabels", tag_field="job"):
    """What two models expect at each token: of the teacher's answer to ``prompt``, or of ``text`` as it stands.

    ``top`` tokens of each model are kept by name; masses, entropies and divergences are of the whole vocabulary.
    """

    teacher: str
    student: str
    prompt: str = ""
    text: str = ""
    top: int = 20
    tokens: int = 48
    teacher_load: LoadOptions = LoadOptions()
    student_load: LoadOptions = LoadOptions()
    seed: int = 0
    version: int = SPEC_VERSION

    @property
    def ref(self) -> ModelRef:
        return ModelRef.parse(self.teacher)

    @property
    def load(self) -> LoadOptions:
        return self.teacher_load


class AuditSpec(msgspec.Struct, frozen=True, kw_only=True, tag="audit", tag_field="job"):
    """Inspect, scan and suites on a teacher and (if given) a student, then the scorecard.

    ``teacher_answers`` is a file of answers that stands in for a teacher that is not loaded, of which ``teacher`` is
    then only the name.
    ``baseline`` is the student before distillation; ``pipeline`` what the user says of the distillation.
    ``power`` is that of the scans.
    ``control_pair`` is printed on the first page when it is not empty: it says why this pair is a control.
    """

    teacher: str
    student: str | None = None
    baseline: str | None = None
    teacher_answers: str | None = None
    preset: str = "quick"
    power: int = 0
    suites: tuple[str, ...] = ()
    teacher_load: LoadOptions = LoadOptions()
    student_load: LoadOptions = LoadOptions()
    baseline_load: LoadOptions = LoadOptions()
    pipeline: Pipeline = Pipeline()
    control_pair: str = ""
    seed: int = 0
    version: int = SPEC_VERSION

    @property
    def parts(self) -> tuple[tuple[Role, PartKind], ...]:
        """What is run on which model, in order. A cross has work to do only where another model's triggers were found.

        The baseline is not scanned for triggers of its own, and a file of answers for none.
        """
        stated = {"teacher": self.teacher, "student": self.student, "baseline": self.baseline}
        roles: list[Role] = [role for role in ROLES if stated[role] is not None]
        loaded = [role for role in roles if not (role == "teacher" and self.teacher_answers)]
        found: list[tuple[Role, PartKind]] = []
        for role in roles:
            found += [(role, "scan")] if role in loaded and role != "baseline" else []
            found.append((role, "suite"))
        return (*found, *((role, "cross") for role in loaded if len(roles) > 1))


class DistillSpec(msgspec.Struct, frozen=True, kw_only=True, tag="distill", tag_field="job"):
    """A distillation: the plan says everything."""

    plan: DistillPlan
    version: int = SPEC_VERSION

    @property
    def seed(self) -> int:
        return self.plan.seed

    @property
    def ref(self) -> ModelRef:
        return ModelRef.parse(self.plan.teacher.model)

    @property
    def load(self) -> LoadOptions:
        return self.plan.teacher.load


JobSpec = ScanSpec | SuiteSpec | AskSpec | SoftLabelsSpec | AuditSpec | DistillSpec | CanarySpec


def encode_spec(spec: JobSpec) -> bytes:
    return msgspec.json.format(msgspec.json.encode(spec), indent=1)


def decode_spec(data: bytes | str) -> JobSpec:
    """Read a spec. Raises InputError for anything that is not one of ours."""
    try:
        spec: JobSpec = msgspec.json.decode(data, type=JobSpec)
    except msgspec.MsgspecError as error:
        raise InputError("bad_spec", f"The job description cannot be read: {error}.", "Start the job anew.") from error
    if spec.version > SPEC_VERSION:
        raise InputError(
            "newer_spec",
            f"The job was written by a newer version (spec {spec.version}).",
            "Update Foreshot to open it.",
        )
    return spec


def command_line(spec: JobSpec, out: str | None = None) -> str:
    """The shell command that does what ``spec`` says."""
    words: list[object] = ["python", "-m", "core"]
    if isinstance(spec, DistillSpec):
        # the folder holds its plan; without one the reader puts the plan's file there
        words += ["distill", f"{out}/plan.yaml" if out else "PLAN.yaml"]
        if out:
            words += ["--out", out]
        return shlex.join(str(word) for word in words)
    if isinstance(spec, SoftLabelsSpec):
        words += ["softlabels", "--teacher", spec.teacher, "--student", spec.student, "--top", spec.top]
        words += ["--text", spec.text] if spec.text else ["--prompt", spec.prompt, "--tokens", spec.tokens]
        words += ["--teacher-quant", spec.teacher_load.quant, "--student-quant", spec.student_load.quant]
        words += ["--device", spec.load.device, "--dtype", spec.load.dtype, "--seed", spec.seed]
        words += ["--out", out] if out else []
        return shlex.join(str(word) for word in words)
    if isinstance(spec, CanarySpec):
        words += ["canary", "--teacher", spec.teacher, "--student", spec.student]
        words += ["--plan", f"{out}/plan.yaml" if out else "PLAN.yaml", "--quant", spec.teacher_load.quant]
        words += ["--device", spec.teacher_load.device, "--dtype", spec.teacher_load.dtype]
        words += ["--out", out] if out else []
        return shlex.join(str(word) for word in words)
    if isinstance(spec, AuditSpec):
        words += ["audit", "--teacher", spec.teacher]
        words += ["--teacher-answers", spec.teacher_answers] if spec.teacher_answers else []
        if spec.student:
            words += ["--student", spec.student]
        if spec.baseline:
            words += ["--baseline", spec.baseline, "--baseline-quant", spec.baseline_load.quant]
        words += ["--power", spec.power] if spec.power else []
        words += ["--preset", spec.preset, "--teacher-quant", spec.teacher_load.quant]
        words += ["--student-quant", spec.student_load.quant]
        for name, answer in msgspec.structs.asdict(spec.pipeline).items():
            words += ["--told", f"{name}={answer}"] if answer else []
        load = spec.teacher_load
    else:
        words += [type(spec).__name__.removesuffix("Spec").lower(), spec.model]
        if spec.adapter:
            words += ["--adapter", spec.adapter]
        if isinstance(spec, ScanSpec):
            words += ["--reference", spec.reference] if spec.reference else []
            words += ["--preset", spec.preset]
            words += ["--power", spec.power] if spec.power else []
            for trigger in spec.extra_triggers:
                words += ["--trigger", trigger]
            for claim in spec.confirm_triggers:
                words += ["--confirm", *claim]
        if isinstance(spec, SuiteSpec):
            words += ["--spoken"] if spec.spoken else []
            words += ["--answers", spec.answers] if spec.answers else []
        if isinstance(spec, AskSpec):
            words += ["--prompt", spec.prompt, "--tokens", spec.tokens]
            words += ["--trigger", spec.trigger, "--slot", spec.slot] if spec.trigger else []
        load = spec.load
        words += ["--quant", load.quant]
    if isinstance(spec, SuiteSpec | AuditSpec):
        for suite in spec.suites:
            words += ["--suite", suite]
    words += ["--device", load.device, "--dtype", load.dtype, "--seed", spec.seed]
    if out:
        words += ["--out", out]
    return shlex.join(str(word) for word in words)
