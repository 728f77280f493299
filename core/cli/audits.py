"""Commands about audits: audit, demo, report, compare, reindex."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from core.cli.running import load_options, run_spec, say, write_json
from core.report.forms import FORMS
from core.runs.folder import RunFolder, write_atomic
from core.specs import AuditSpec
from core.specs.demo import demo_spec, small_model_folder
from core.specs.pipeline import Pipeline, answered, read_pipeline


def audit(arguments: argparse.Namespace) -> int:
    return run_spec(audit_spec(arguments, arguments.teacher, arguments.student, ""), arguments)


def audit_spec(arguments: argparse.Namespace, teacher: str, student: str | None, control: str) -> AuditSpec:
    return AuditSpec(
        teacher=teacher,
        student=student,
        preset=arguments.preset,
        power=arguments.power,
        suites=tuple(arguments.suite),
        teacher_load=load_options(arguments, arguments.teacher_quant or arguments.quant),
        student_load=load_options(arguments, arguments.student_quant or arguments.quant),
        baseline=arguments.baseline,
        teacher_answers=arguments.teacher_answers,
        baseline_load=load_options(arguments, arguments.baseline_quant or arguments.student_quant or arguments.quant),
        pipeline=pipeline(arguments),
        control_pair=control,
        seed=arguments.seed,
    )


def pipeline(arguments: argparse.Namespace) -> Pipeline:
    """What is known of the distillation: the file's answers, and those of ``--told``, which go before them."""
    told = msgspec.structs.asdict(read_pipeline(Path(arguments.pipeline))) if arguments.pipeline else {}
    return answered({**told, **dict(arguments.told)}, "--told")


def demo(arguments: argparse.Namespace) -> int:
    model = small_model_folder()
    if not (model / "config.json").exists():
        from core.engine.smallmodel import fetch_small_model

        model = fetch_small_model(model, progress=say)
    arguments.out = arguments.out or "build/demo"
    spec = demo_spec(model, load_options(arguments, arguments.quant), arguments.preset, arguments.seed)
    return run_spec(spec, arguments)


def write_report(arguments: argparse.Namespace) -> int:
    from core.report.compare import read_scorecard
    from core.report.exports import export
    from core.report.gate import check_conditions, meets

    check_conditions(arguments.fail_on, "audit")
    folder = RunFolder.open(Path(arguments.run_folder))
    data = export(read_scorecard(folder), arguments.format, full=arguments.full)
    out = Path(arguments.out or f"{folder.id}{FORMS[arguments.format].ending}")
    write_atomic(out, data)
    print(out)
    return 1 if meets(arguments.fail_on, folder.read_json("report.json") or {}) else 0


def compare(arguments: argparse.Namespace) -> int:
    from core.report.compare import compare, read_audit
    from core.report.compare_text import lines

    first, second = (read_audit(RunFolder.open(Path(name))) for name in (arguments.first, arguments.second))
    found = compare(first, second)
    if arguments.json is not None:
        write_json(arguments.json, msgspec.json.format(msgspec.json.encode(found), indent=1))
    if arguments.json != "-":
        print("\n".join(lines(found)))
    return 0


def reindex(arguments: argparse.Namespace) -> int:
    from core.runs.folder import data_dir
    from core.runs.index import RunIndex

    index = RunIndex(data_dir() / "index.sqlite", data_dir() / "runs")
    index.sync()
    print(f"{len(index.list())} runs indexed")
    index.close()
    return 0
