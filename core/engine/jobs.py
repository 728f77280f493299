"""Run whatever a run folder's spec asks for; turn every failure into one sentence and an exit code."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import Any

from core.engine.remembered import recall, remember, run_key
from core.errors import BugError, Cancelled, EnvironmentFault, ForeshotError
from core.runs.emitters import PipeEmitter, RecordingEmitter, TerminalEmitter
from core.runs.events import Emitter, Error, Result, State
from core.runs.folder import RunFolder, claimed, disk_fault
from core.specs import AskSpec, AuditSpec, CanarySpec, DistillSpec, JobSpec, ScanSpec, SoftLabelsSpec, SuiteSpec

EXIT_CANCELLED = 130


def run_folder(path: Path, emitter: PipeEmitter | TerminalEmitter) -> int:
    """Run the job of the folder ``path`` (its ``spec.json`` is there). Returns the exit code; never raises."""
    try:
        folder = RunFolder.open(path)
        with claimed(folder.path):
            return _run(folder, emitter)
    except ForeshotError as error:
        emitter.emit(Error("user", error.code, error.message, error.hint))
        return error.exit_code


def _run(folder: RunFolder, emitter: PipeEmitter | TerminalEmitter) -> int:
    recorder = RecordingEmitter(emitter, folder.path / "events.jsonl")
    try:
        report = run_job(folder.spec, folder, recorder)
        folder.write_json("report.json", report)
        folder.finish("done", report["summary"])
        recorder.emit(Result(report["summary"]))
        recorder.emit(State("done"))
    except Cancelled:
        recorder.emit(State("done", "Cancelled. What was finished is kept; the run can be resumed."))
        return EXIT_CANCELLED
    except Exception as error:
        return _report_failure(error, folder, recorder)
    return 0


def run_job(spec: JobSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """The report of one job. Raises ForeshotError or Cancelled."""
    if isinstance(spec, ScanSpec):
        from core.engine.triggers import run_scan

        if not spec.power:
            return run_scan(spec, folder, emitter)
        from core.engine.power import check_power, with_power

        check_power(spec)
        return with_power(run_scan(spec, folder, emitter), spec, folder, emitter)
    if isinstance(spec, SuiteSpec):
        return _suites(spec, folder, emitter)
    if isinstance(spec, AskSpec):
        from core.engine.ask import run_ask

        return run_ask(spec, folder, emitter)
    if isinstance(spec, SoftLabelsSpec):
        from core.engine.softlabels import run_soft_labels

        return run_soft_labels(spec, folder, emitter)
    if isinstance(spec, DistillSpec):
        from core.engine.distill import run_distill

        return run_distill(spec, folder, emitter)
    if isinstance(spec, CanarySpec):
        from core.engine.transfer.experiment import run_canary

        return run_canary(spec, folder, emitter)
    assert isinstance(spec, AuditSpec)
    from core.engine.audit import run_audit

    return run_audit(spec, folder, emitter)


def _suites(spec: SuiteSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    if spec.spoken or spec.answers:
        from core.engine.probes import run_spoken

        return run_spoken(spec, folder, emitter)
    emitter.emit(State("loading"))
    key = run_key(spec)
    known = recall(key, spec, folder, emitter) if key else None
    if known:
        return known
    from core.engine.probes import run_suites

    report = run_suites(spec, folder, emitter)
    if key:
        remember(key, report, folder)
    return report


def _report_failure(error: Exception, folder: RunFolder, emitter: RecordingEmitter) -> int:
    fault = as_fault(error)
    detail = ""
    if isinstance(fault, BugError):
        log = folder.path / "fault.log"
        try:
            log.write_text("".join(traceback.format_exception(error)))
            detail = str(log)
        except OSError:
            detail = ""
        fault = BugError(fault.code, fault.message, f"Please report it with {detail or 'the text above'}.")
    kind = fault.kind
    if fault.code in ("out_of_memory_gpu", "out_of_memory_host", "unsupported_model", "untrusted_code"):
        kind = fault.code
    emitter.emit(Error(kind, fault.code, fault.message, fault.hint, detail))  # type: ignore[arg-type]
    if fault.exit_code == 2:  # the same input will fail again: the run is over
        try:
            folder.finish("failed", {"sentence": fault.message})
        except ForeshotError:
            return fault.exit_code
    return fault.exit_code


def as_fault(error: Exception) -> ForeshotError:
    """What a user should read about ``error``."""
    import torch

    if isinstance(error, ForeshotError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return EnvironmentFault(
            "out_of_memory_gpu", "The GPU has no memory left for this.", "Try --quant nf4, or --device cpu."
        )
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return EnvironmentFault(
            "out_of_memory_host",
            "This machine has no memory left for this.",
            "Close other programs or try --quant nf4.",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_fault(error, Path(error.filename or "a file"))
    return BugError("fault", f"A fault in Foreshot: {type(error).__name__}: {error}.", "Please report it.")
