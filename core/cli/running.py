"""What all commands share: a job from a spec, where it is written, what is printed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

from core.errors import Cancelled, InputError
from core.runs.folder import RunFolder, claimed, write_atomic
from core.specs import AuditSpec, DistillSpec, JobSpec, LoadOptions, ScanSpec, SuiteSpec

GATED: dict[type, str] = {ScanSpec: "scan", SuiteSpec: "suite", AuditSpec: "audit"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def run_spec(spec: JobSpec, arguments: argparse.Namespace) -> int:
    """Make or resume the run folder, run the job in this process, print its sentence."""
    os.environ.update(OFFLINE)
    if is_shared() and not isinstance(spec, ScanSpec | DistillSpec):
        raise InputError(
            "one_process", "Only scan and distill run in several processes.", "Start this command without a launcher."
        )
    from core.report.gate import check_conditions, meets

    check_conditions(arguments.fail_on, GATED.get(type(spec), "a job without verdicts"))
    from core.engine.jobs import run_folder
    from core.runs.emitters import TerminalEmitter
    from core.runs.events import Error, Event

    failure: list[Error] = []

    class Terminal(TerminalEmitter):
        def emit(self, event: Event) -> None:
            if isinstance(event, Error):
                failure.append(event)
            super().emit(event)

    out = Path(arguments.out) if arguments.out else None
    with claimed(out) if out else nullcontext():
        folder = RunFolder.create(spec, out, resume=arguments.resume)
        code = run_folder(folder.path, Terminal())
    if failure:
        print(f"foreshot: {failure[0].message} {failure[0].hint}", file=sys.stderr)
        if (rest := folder.path / "scorecard.pdf").exists():
            print(f"foreshot: what was finished, and what is missing, stands in {rest}.", file=sys.stderr)
        return code
    report = folder.read_json("report.json")
    if code or report is None:
        return code
    if arguments.json is not None:
        write_json(arguments.json, (folder.path / "report.json").read_bytes())
    if arguments.json != "-":
        print(report["summary"]["sentence"])
        written = folder.path / "scorecard.pdf"
        print(written if written.exists() else folder.path / "report.json")
    return 1 if meets(arguments.fail_on, report) else 0


def is_helper() -> bool:
    """Of ``accelerate launch``: whether this process helps the first one, and writes nothing."""
    return is_shared() and int(os.environ.get("RANK", "0")) > 0


def help_first(follow: Callable[[], None]) -> int:
    """Help until the work is done, or until the first process has stopped and said why."""
    os.environ.update(OFFLINE)
    with suppress(Cancelled):
        follow()
    return 0


def is_shared() -> bool:
    """Whether this process is one of several that ``accelerate launch`` has started."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def load_options(arguments: argparse.Namespace, quant: str) -> LoadOptions:
    return LoadOptions(device=arguments.device, dtype=arguments.dtype, quant=quant, force=arguments.force)  # type: ignore[arg-type]


def write_json(target: str, data: bytes) -> None:
    if target == "-":
        sys.stdout.buffer.write(data + b"\n")
    else:
        write_atomic(Path(target), data)


def say(text: str) -> None:
    print(text, file=sys.stderr)
