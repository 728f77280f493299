"""An audit: inspect, scan and suites on teacher and student, the triggers of each tried on the other, the scorecard.

The student before distillation (the baseline), where there is one, runs the suites and the triggers that were found in
the others. Every part is a run folder of its own inside the audit's, so that a resumed audit repeats nothing that was
finished. ``scorecard.json`` is written after every part: an audit that ends early says what is missing.
"""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from core.catalog import ModelCard, inspect_model
from core.engine.compose import compose
from core.engine.scope import Part, Parts, answered_card, to_try
from core.errors import Cancelled, ForeshotError, InputError
from core.report import encode_scorecard
from core.report.exports import write_views
from core.report.scorecard import Scorecard
from core.runs.emitters import PrefixEmitter
from core.runs.events import Emitter, Progress
from core.runs.folder import RunFolder, write_atomic
from core.specs import AuditSpec, LoadOptions, ScanSpec, SuiteSpec, command_line
from core.specs.jobs import PartKind
from core.types import ModelRef, Role


def run_audit(spec: AuditSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """Run all parts and write ``scorecard.json`` and all its views. Returns the report; errors as the parts'.

    An audit that is stopped writes them too, with what is missing, before the error goes on.
    """
    if spec.baseline and spec.student is None:
        raise InputError(
            "baseline_alone", "A baseline is the student before distillation, and there is no student.", "Give both."
        )
    audit = _Audit(spec, folder, emitter)
    try:
        audit.measure()
    except BaseException as error:
        audit.rescue(error)
        raise
    emitter.emit(Progress("scorecard", "Scorecard", 0, 1))
    card = audit.save()
    write_views(card, folder.path)
    emitter.emit(Progress("scorecard", "Scorecard", 1, 1))
    return {
        "schema": 1,
        "job": "audit",
        "summary": {"sentence": " ".join(card.headline)},
        "rows": [
            {"risk_class": row.risk_class, "verdict": row.verdict, "origin": row.origin, "primary": row.primary}
            for row in card.rows
        ],
        "findings": [
            {
                "role": found.role,
                "verdict": found.verdict,
                "risk_class": found.risk_class,
                "trigger": found.trigger,
            }
            for found in card.findings
        ],
        "seed": spec.seed,
    }


class _Audit:
    """The models of one audit and what is known of them so far."""

    def __init__(self, spec: AuditSpec, folder: RunFolder, emitter: Emitter) -> None:
        self.spec, self.folder, self.emitter = spec, folder, emitter
        self.started = time.monotonic()
        stated: list[tuple[Role, str | None, LoadOptions]] = [
            ("teacher", spec.teacher, spec.teacher_load),
            ("student", spec.student, spec.student_load),
            ("baseline", spec.baseline, spec.baseline_load),
        ]
        self.models = {role: (model, load) for role, model, load in stated if model is not None}
        self.answers = Path(spec.teacher_answers) if spec.teacher_answers else None
        self.parts: Parts = {}

    def measure(self) -> None:
        # all folders are read before any model is loaded: a bad student is known at once
        claimed = {"teacher"} if self.answers else set[str]()
        cards = {role: self._card(role, model) for role, (model, _) in self.models.items() if role not in claimed}
        _check_baseline(cards)
        if self.answers:
            cards["teacher"] = answered_card(self.spec.teacher, self.answers)
        self.parts = {role: Part(role=role, card=cards[role], claimed=role in claimed) for role in self.models}
        for done, (role, kind) in enumerate(self.spec.parts):
            self.emitter.emit(
                Progress("part", f"Part {done + 1} of {len(self.spec.parts)}", done, len(self.spec.parts))
            )
            part = self.parts[role]
            self._measure(part, kind)
            if kind != "cross" or part.cross:  # nothing to try: nothing new
                self.save()

    def _measure(self, part: Part, kind: PartKind) -> None:
        model, load = self.models[part.role]
        if kind == "scan":
            scan = ScanSpec(model=model, preset=self.spec.preset, power=self.spec.power, load=load, seed=self.spec.seed)
            part.scan = self._run(part.role, kind, scan)
        elif kind == "suite":
            suites = SuiteSpec(
                model=model,
                suites=self.spec.suites,
                spoken=self.answers is not None,
                answers=self.spec.teacher_answers if part.claimed else None,
                load=load,
                seed=self.spec.seed,
            )
            part.suite = self._run(part.role, kind, suites)
            part.suite_items = tuple(RunFolder.open(self.folder.path / f"{part.role}-suite").items())
        else:
            part.cross = self._cross(part.role)

    def save(self, stopped: str = "") -> Scorecard:
        """Write ``scorecard.json`` of what is known so far."""
        card = compose(
            run=self.folder.id,
            created=_created(self.folder),
            spec=self.spec,
            parts=self.parts,
            environment=_environment(time.monotonic() - self.started, self.parts),
            reproduce=command_line(self.spec),
            stopped=stopped,
        )
        write_atomic(self.folder.path / "scorecard.json", encode_scorecard(card))
        return card

    def rescue(self, error: BaseException) -> None:
        """Write the scorecard of an audit that was stopped by ``error``, which matters more than a fault in here."""
        if not self.parts:
            return
        try:
            write_views(self.save(_why(error)), self.folder.path)
        except Exception:
            return

    def _card(self, role: Role, model: str) -> ModelCard:
        own = PrefixEmitter(self.emitter, role)
        own.emit(Progress("inspect", "Files", 0, 1))
        card = inspect_model(ModelRef.parse(model), hash_files=True)
        path = self.folder.artifact(f"{role}-card.json")
        write_atomic(path, msgspec.json.format(msgspec.json.encode(card), indent=1))
        own.emit(Progress("inspect", "Files", 1, 1, note=f"{len(card.findings)} findings"))
        return card

    def _cross(self, role: Role) -> dict[str, Any] | None:
        """Try what was found in the other models on this one, on the same held-out prompts."""
        model, load = self.models[role]
        triples = tuple((row["trigger"], row["slot"], row["target"]) for row in to_try(self.parts, role))
        if not triples:
            return None
        preset, seed = self.spec.preset, self.spec.seed
        return self._run(
            role, "cross", ScanSpec(model=model, preset=preset, confirm_triggers=triples, load=load, seed=seed)
        )

    def _run(self, role: Role, kind: str, spec: ScanSpec | SuiteSpec) -> dict[str, Any]:
        return _part(spec, self.folder, f"{role}-{kind}", PrefixEmitter(self.emitter, role))


def _check_baseline(cards: dict[Role, ModelCard]) -> None:
    """A student that is its own baseline would show nothing as attributable to distillation."""
    if "baseline" not in cards:
        return
    student, baseline = cards["student"], cards["baseline"]
    if (student.weights_sha256, student.fingerprint) == (baseline.weights_sha256, baseline.fingerprint):
        raise InputError(
            "baseline_is_student",
            "The baseline and the student are the same files.",
            "Give the student as it was before distillation, or no baseline.",
        )


def _why(error: BaseException) -> str:
    if isinstance(error, Cancelled | KeyboardInterrupt):
        return "it was cancelled."
    return error.message if isinstance(error, ForeshotError) else f"{type(error).__name__}: {error}."


def _part(spec: ScanSpec | SuiteSpec, folder: RunFolder, name: str, emitter: Emitter) -> dict[str, Any]:
    """Run one part in its own folder, or read it if it is finished."""
    from core.engine.jobs import run_job

    path = folder.path / name
    if (path / "header.json").exists():
        finished = RunFolder.open(path)
        report: dict[str, Any] | None = finished.read_json("report.json")
        if finished.spec == spec and report is not None:
            return report
    part = RunFolder.create(spec, path, resume=True)
    report = run_job(spec, part, emitter)
    part.write_json("report.json", report)
    part.finish("done", report.get("summary", {}))
    return report


def _created(folder: RunFolder) -> str:
    """When the run was begun: the time of its spec, so that a resumed audit keeps its date."""
    import datetime

    stamp = (folder.path / "spec.json").stat().st_mtime
    return datetime.datetime.fromtimestamp(int(stamp), datetime.UTC).isoformat()


def _environment(wall_s: float, parts: Parts) -> dict[str, Any]:
    import torch

    from core.engine.resources import peak_rss_bytes

    packages = ("torch", "transformers", "accelerate", "bitsandbytes", "peft")
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages if _installed(name)},
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "wall_s": round(wall_s, 1),
        "scan_s": [round(part.scan["timing"]["wall_s"], 1) for part in parts.values() if part.scan],
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
