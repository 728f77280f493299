"""An audit: inspect, scan and suites on teacher and student, the triggers of each tried on the other, the scorecard.

Every part is a run folder of its own inside the audit's, so that a resumed audit repeats nothing that was finished.
"""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from typing import Any

import msgspec

from core.catalog import ModelCard, inspect_model
from core.engine.compose import Part, compose
from core.report import encode_scorecard, render_pdf
from core.runs.emitters import PrefixEmitter
from core.runs.events import Emitter, Progress
from core.runs.folder import RunFolder, write_atomic
from core.specs import AuditSpec, LoadOptions, ScanSpec, SuiteSpec, command_line
from core.types import ModelRef, Role

FOUND = ("confirmed", "likely")


def run_audit(spec: AuditSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """Run all parts and write ``scorecard.json`` and ``scorecard.pdf``. Returns the report; errors as the parts'."""
    started = time.monotonic()
    # both folders are read before either is loaded: a bad student is known at once
    teacher_card = _card("teacher", spec.teacher, folder, emitter)
    student_card = _card("student", spec.student, folder, emitter) if spec.student is not None else None
    teacher = _examine("teacher", spec.teacher, teacher_card, spec.teacher_load, spec, folder, emitter)
    student = None
    if spec.student is not None and student_card is not None:
        student = _examine("student", spec.student, student_card, spec.student_load, spec, folder, emitter)
        _cross(teacher, student, spec, folder, emitter)

    emitter.emit(Progress("scorecard", "Scorecard", 0, 1))
    card = compose(
        run=folder.id,
        created=_created(folder),
        spec=spec,
        teacher=teacher,
        student=student,
        environment=_environment(time.monotonic() - started, teacher, student),
        reproduce=command_line(spec),
    )
    write_atomic(folder.path / "scorecard.json", encode_scorecard(card))
    write_atomic(folder.path / "scorecard.pdf", render_pdf(card))
    emitter.emit(Progress("scorecard", "Scorecard", 1, 1))
    return {
        "schema": 1,
        "job": "audit",
        "summary": {"sentence": " ".join(card.headline)},
        "rows": [{"risk_class": row.risk_class, "verdict": row.verdict} for row in card.rows],
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


def _examine(
    role: Role, model: str, card: ModelCard, load: LoadOptions, spec: AuditSpec, folder: RunFolder, emitter: Emitter
) -> Part:
    """Scan and run the suites on one model."""
    own = PrefixEmitter(emitter, role)
    scan = _part(ScanSpec(model=model, preset=spec.preset, load=load, seed=spec.seed), folder, f"{role}-scan", own)
    suite = _part(SuiteSpec(model=model, suites=spec.suites, load=load, seed=spec.seed), folder, f"{role}-suite", own)
    return Part(
        role=role,
        card=card,
        scan=scan,
        suite=suite,
        suite_items=tuple(RunFolder.open(folder.path / f"{role}-suite").items()),
    )


def _card(role: Role, model: str, folder: RunFolder, emitter: Emitter) -> ModelCard:
    own = PrefixEmitter(emitter, role)
    own.emit(Progress("inspect", "Files", 0, 1))
    card = inspect_model(ModelRef.parse(model), hash_files=True)
    write_atomic(folder.artifact(f"{role}-card.json"), msgspec.json.format(msgspec.json.encode(card), indent=1))
    own.emit(Progress("inspect", "Files", 1, 1, note=f"{len(card.findings)} findings"))
    return card


def _cross(teacher: Part, student: Part, spec: AuditSpec, folder: RunFolder, emitter: Emitter) -> None:
    """Try what was found in one model on the other, on the same held-out prompts."""
    for source, other, load, model in (
        (teacher, student, spec.student_load, spec.student),
        (student, teacher, spec.teacher_load, spec.teacher),
    ):
        found = [finding for finding in source.scan["findings"] if finding["verdict"] in FOUND]
        if not found or model is None:
            continue
        triples = tuple((finding["trigger"], finding["slot"], finding["target"]) for finding in found)
        cross = ScanSpec(model=model, preset=spec.preset, confirm_triggers=triples, load=load, seed=spec.seed)
        other.cross = _part(cross, folder, f"{other.role}-cross", PrefixEmitter(emitter, other.role))


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


def _environment(wall_s: float, *parts: Part | None) -> dict[str, Any]:
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
        "scan_s": [round(part.scan["timing"]["wall_s"], 1) for part in parts if part],
        "peak_rss_bytes": peak_rss_bytes(),
    }


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
