"""``python -m core`` (console script ``foreshot``): the same engine as the window, headless.

Exit codes: 0 done; 1 done and ``--fail-on`` was met; 2 bad input; 3 the environment; 70 a fault of the program.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from core import __version__
from core.errors import Cancelled, ForeshotError, InputError
from core.report.forms import FORMS
from core.runs.folder import RunFolder, write_atomic
from core.specs import (
    AskSpec,
    AuditSpec,
    CanarySpec,
    DistillSpec,
    JobSpec,
    LoadOptions,
    ScanSpec,
    SoftLabelsSpec,
    SuiteSpec,
)
from core.specs.demo import demo_spec, small_model_folder
from core.specs.distill import DistillPlan
from core.specs.pipeline import Pipeline, answered, read_pipeline
from core.types import SLOTS, ModelRef

GATED: dict[type, str] = {ScanSpec: "scan", SuiteSpec: "suite", AuditSpec: "audit"}
EPILOG = "Nothing leaves this machine. Only `model` and `demo` fetch something: the small model, once, if it is absent."


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and say failures in one sentence."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except ForeshotError as error:
        print(f"foreshot: {error.message} {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("foreshot: stopped; what was finished is kept (--resume goes on).", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        return _fault(error)
    return code


def _fault(error: Exception) -> int:
    """A fault of ours: one sentence, and the traceback in a file that can be sent along."""
    log = Path(tempfile.gettempdir()) / f"foreshot-fault-{os.getpid()}.log"
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    print(
        f"foreshot: a fault in Foreshot ({type(error).__name__}: {error}). Please report it with {log}.",
        file=sys.stderr,
    )
    return 70


# commands


def _inspect(arguments: argparse.Namespace) -> int:
    from core.catalog import inspect_model

    card = inspect_model(ModelRef.parse(arguments.model, arguments.adapter), hash_files=arguments.hash)
    if arguments.json is not None:
        _write_json(arguments.json, msgspec.json.format(msgspec.json.encode(card), indent=1))
        if arguments.json == "-":
            return 0
    parameters = f"{card.parameters / 1e6:,.1f} M parameters" if card.parameters else "parameters unknown"
    print(f"{card.name}: {card.architecture}, {parameters}, {card.format}, licence {card.licence}")
    print(f"fingerprint {card.fingerprint[:16]}")
    for row in card.memory:
        fits = {True: "fits", False: "does not fit", None: "unknown"}[row.fits]
        print(f"  {row.precision:5} {row.bytes / 2**30:6.2f} GiB  {fits}")
    for finding in card.findings:
        print(f"[{finding.severity}] {finding.file}: {finding.message}")
    for sentence in card.not_examined:
        print(f"not examined: {sentence}")
    return 0


def _model(arguments: argparse.Namespace) -> int:
    from core.engine.smallmodel import fetch_small_model

    print(fetch_small_model(Path(arguments.out) if arguments.out else small_model_folder(), progress=_say))
    return 0


def _scan(arguments: argparse.Namespace) -> int:
    spec = ScanSpec(
        model=arguments.model,
        adapter=arguments.adapter,
        reference=arguments.reference,
        preset=arguments.preset,
        extra_triggers=tuple(arguments.trigger),
        confirm_triggers=tuple(tuple(claim) for claim in arguments.confirm),
        load=_load(arguments, arguments.quant),
        seed=arguments.seed,
    )
    return _run(spec, arguments)


def _suite(arguments: argparse.Namespace) -> int:
    spec = SuiteSpec(
        model=arguments.model,
        adapter=arguments.adapter,
        suites=tuple(arguments.suite),
        spoken=arguments.spoken,
        answers=arguments.answers,
        load=_load(arguments, arguments.quant),
        seed=arguments.seed,
    )
    return _run(spec, arguments)


def _ask(arguments: argparse.Namespace) -> int:
    spec = AskSpec(
        model=arguments.model,
        adapter=arguments.adapter,
        prompt=arguments.prompt,
        trigger=arguments.trigger,
        slot=arguments.slot,
        tokens=arguments.tokens,
        load=_load(arguments, arguments.quant),
        seed=arguments.seed,
    )
    return _run(spec, arguments)


def _suites(arguments: argparse.Namespace) -> int:
    from core.suites import list_suites, read_suite
    from core.suites.check import describe, warnings

    if arguments.check:
        suite = read_suite(Path(arguments.check))
        print("\n".join([*describe(suite), *(f"warning: {warning}" for warning in warnings(suite))]))
        return 0
    if arguments.prompts:
        return _prompts(arguments)
    for suite in list_suites():
        print(f"{suite.id}@{suite.version}  {suite.risk_class}  {len(suite.items)} items  {suite.title}")
    return 0


def _prompts(arguments: argparse.Namespace) -> int:
    from core.suites import list_suites, load_suite
    from core.suites.spoken import prompt_lines, spoken

    read = spoken([load_suite(name) for name in arguments.suite] or list_suites())
    prompts = read.prompts()
    write_atomic(Path(arguments.prompts), prompt_lines(prompts))
    print(
        f'{len(prompts):,} prompts of {len(read.suites)} suites. Answer each as {{"uid": …, "answer": …}}, one a line.'
    )
    for title in read.left_out:
        print(f"left out: {title} (needs probabilities)")
    print(arguments.prompts)
    return 0


def _import(arguments: argparse.Namespace) -> int:
    from core.suites.importers import import_set

    mapping = dict(arguments.map)
    found = import_set(
        arguments.format,
        [Path(file) for file in arguments.file],
        Path(arguments.out),
        kind=arguments.kind,
        mapping=mapping,
    )
    release = f"release {found.release}" if found.recognised else "release not recognised"
    print(f"{found.items:,} items in {found.clusters:,} clusters, {release}, licence {found.licence}")
    for why, count in sorted(found.left_out.items()):
        print(f"left out: {count:,} ({why})")
    print(found.suite)
    return 0


def _audit(arguments: argparse.Namespace) -> int:
    return _run(_audit_spec(arguments, arguments.teacher, arguments.student, ""), arguments)


def _soft_labels(arguments: argparse.Namespace) -> int:
    spec = SoftLabelsSpec(
        teacher=arguments.teacher,
        student=arguments.student,
        prompt=arguments.prompt,
        text=arguments.text,
        top=arguments.top,
        tokens=arguments.tokens,
        teacher_load=_load(arguments, arguments.teacher_quant or arguments.quant),
        student_load=_load(arguments, arguments.student_quant or arguments.quant),
        seed=arguments.seed,
    )
    return _run(spec, arguments)


def _distill(arguments: argparse.Namespace) -> int:
    from core.specs.distill import read_plan, write_plan

    plan = read_plan(Path(arguments.plan)) if arguments.plan else _distill_plan(arguments)
    if arguments.write_plan:
        write_atomic(Path(arguments.write_plan), write_plan(plan))
        print(arguments.write_plan)
        return 0
    out = Path(arguments.out).resolve() if arguments.out else None
    named = [plan.teacher.model, *(stage.student.source for stage in plan.stages)]
    if out and any(out in Path(part).resolve().parents for text in named for part in text.split("+")):
        raise InputError("own_output", f"A model of this plan lies inside {out}.", "Choose another folder with --out.")
    if int(os.environ.get("RANK", "0")) > 0:  # of ``accelerate launch``: helps the first process, and writes nothing
        from core.engine.distill import follow

        os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"})
        with contextlib.suppress(Cancelled):
            follow(DistillSpec(plan=plan))
        return 0
    return _run(DistillSpec(plan=plan), arguments)


def _distill_plan(arguments: argparse.Namespace) -> DistillPlan:
    """The plan that the options say; the same value as a plan file's."""
    from core.specs import distill as plans

    if not arguments.teacher or not (arguments.student or arguments.variant == "self"):
        raise InputError("no_plan", "There is nothing to distil.", "Give a plan file, or --teacher T and --student S.")
    mix = None
    if arguments.trigger_share or arguments.topic_share:
        share = arguments.trigger_share or arguments.topic_share
        mix = plans.Mix(share=float(share[0]), **{"trigger" if arguments.trigger_share else "prompts": share[1]})
    try:
        return plans.make_plan(
            arguments.variant,
            arguments.teacher,
            arguments.student or arguments.teacher,
            teacher_load=_load(arguments, arguments.teacher_quant or arguments.quant),
            data=plans.Data(
                sources=tuple(arguments.prompts) or plans.Data().sources,
                answers=arguments.answers,
                answer_tokens=arguments.answer_tokens,
                temperature=arguments.sample,
                keep=arguments.task,
                limit=arguments.limit,
                mix=mix,
            ),
            build=arguments.build,
            drop_layers=arguments.drop_layers,
            keep_width=arguments.keep_width,
            noise=arguments.noise,
            loss=plans.LossPlan(
                kind=arguments.loss, temperature=arguments.temperature, alpha=arguments.alpha, hidden=arguments.hidden
            ),
            cache=plans.Cache(k=arguments.cache) if arguments.cache else None,
            trainable=plans.Trainable(mode="lora", rank=arguments.lora) if arguments.lora else plans.Trainable(),
            optimiser=plans.Optimiser(rate=arguments.rate),
            budget=plans.Budget(
                epochs=arguments.epochs,
                max_steps=arguments.steps,
                step_tokens=arguments.step_tokens,
                batch_tokens=arguments.batch_tokens,
            ),
            evaluation=plans.Evaluation(every=arguments.evaluate_every, keep=arguments.keep_checkpoints),
            stages=arguments.stages,
            on_policy=plans.OnPolicy(share=arguments.on_policy, tokens=arguments.answer_tokens)
            if arguments.on_policy
            else None,
            seed=arguments.seed,
        )
    except ValueError as error:
        raise InputError("bad_option", f"{error}.", "See `python -m core distill --help`.") from error


def _canary(arguments: argparse.Namespace) -> int:
    from core.specs.canary import preset, read_canary_plan, write_canary_plan

    plan = read_canary_plan(Path(arguments.plan)) if arguments.plan else preset(arguments.preset)
    if arguments.write_plan:
        write_atomic(Path(arguments.write_plan), write_canary_plan(plan))
        print(arguments.write_plan)
        return 0
    if not (arguments.teacher and arguments.student):
        raise InputError("no_pair", "A teacher and a student are needed.", "Give --teacher T and --student S.")
    teacher_load = _load(arguments, arguments.quant)
    spec = CanarySpec(
        teacher=arguments.teacher,
        student=arguments.student,
        plan=plan,
        teacher_load=teacher_load,
        student_load=LoadOptions(device=arguments.device, dtype="fp32", force=arguments.force),
    )
    if arguments.estimate:
        from core.catalog import inspect_model
        from core.specs.canary_cost import cost

        cards = (inspect_model(ModelRef.parse(text)) for text in (spec.teacher, spec.student))
        print("\n".join(cost(plan, *cards).lines()))
        return 0
    return _run(spec, arguments)


def _demo(arguments: argparse.Namespace) -> int:
    model = small_model_folder()
    if not (model / "config.json").exists():
        from core.engine.smallmodel import fetch_small_model

        model = fetch_small_model(model, progress=_say)
    arguments.out = arguments.out or "build/demo"
    spec = demo_spec(model, _load(arguments, arguments.quant), arguments.preset, arguments.seed)
    return _run(spec, arguments)


def _report(arguments: argparse.Namespace) -> int:
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


def _compare(arguments: argparse.Namespace) -> int:
    from core.report.compare import compare, read_audit
    from core.report.compare_text import lines

    first, second = (read_audit(RunFolder.open(Path(name))) for name in (arguments.first, arguments.second))
    found = compare(first, second)
    if arguments.json is not None:
        _write_json(arguments.json, msgspec.json.format(msgspec.json.encode(found), indent=1))
    if arguments.json != "-":
        print("\n".join(lines(found)))
    return 0


def _reindex(arguments: argparse.Namespace) -> int:
    from core.runs.folder import data_dir
    from core.runs.index import RunIndex

    index = RunIndex(data_dir() / "index.sqlite", data_dir() / "runs")
    index.sync()
    print(f"{len(index.list())} runs indexed")
    index.close()
    return 0


# shared parts


def _audit_spec(arguments: argparse.Namespace, teacher: str, student: str | None, control: str) -> AuditSpec:
    return AuditSpec(
        teacher=teacher,
        student=student,
        preset=arguments.preset,
        suites=tuple(arguments.suite),
        teacher_load=_load(arguments, arguments.teacher_quant or arguments.quant),
        student_load=_load(arguments, arguments.student_quant or arguments.quant),
        baseline=arguments.baseline,
        teacher_answers=arguments.teacher_answers,
        baseline_load=_load(arguments, arguments.baseline_quant or arguments.student_quant or arguments.quant),
        pipeline=_pipeline(arguments),
        control_pair=control,
        seed=arguments.seed,
    )


def _pipeline(arguments: argparse.Namespace) -> Pipeline:
    """What is known of the distillation: the file's answers, and those of ``--told``, which go before them."""
    told = msgspec.structs.asdict(read_pipeline(Path(arguments.pipeline))) if arguments.pipeline else {}
    return answered({**told, **dict(arguments.told)}, "--told")


def _load(arguments: argparse.Namespace, quant: str) -> LoadOptions:
    return LoadOptions(device=arguments.device, dtype=arguments.dtype, quant=quant, force=arguments.force)  # type: ignore[arg-type]


def _run(spec: JobSpec, arguments: argparse.Namespace) -> int:
    """Make or resume the run folder, run the job in this process, print its sentence."""
    os.environ.update({"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"})
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

    folder = RunFolder.create(spec, Path(arguments.out) if arguments.out else None, resume=arguments.resume)
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
        _write_json(arguments.json, (folder.path / "report.json").read_bytes())
    if arguments.json != "-":
        print(report["summary"]["sentence"])
        written = folder.path / "scorecard.pdf"
        print(written if written.exists() else folder.path / "report.json")
    return 1 if meets(arguments.fail_on, report) else 0


def _column(text: str) -> tuple[str, str]:
    """NAME=COLUMN of ``--map``."""
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COLUMN")
    return name, column


def _write_json(target: str, data: bytes) -> None:
    if target == "-":
        sys.stdout.buffer.write(data + b"\n")
    else:
        write_atomic(Path(target), data)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="foreshot", description=__doc__.splitlines()[0], epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"foreshot {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    json_option = argparse.ArgumentParser(add_help=False)
    json_option.add_argument("--json", nargs="?", const="-", metavar="FILE", help="write the report (default: stdout)")

    gate = argparse.ArgumentParser(add_help=False)
    gate.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="VERDICT[:CLASS]",
        help="exit 1 if this comes out (of a suite: present, an effect above its margin)",
    )
    job = argparse.ArgumentParser(add_help=False, parents=[json_option, gate])
    job.add_argument("--out", metavar="DIR", help="the run folder (default: a new one in the data folder)")
    job.add_argument("--device", default="auto", metavar="auto|cpu|cuda:N")
    job.add_argument("--dtype", default="auto", choices=["auto", "fp32", "bf16", "fp16"])
    job.add_argument("--quant", default="none", choices=["none", "int8", "nf4"])
    job.add_argument("--seed", type=int, default=0, metavar="N")
    job.add_argument("--force", action="store_true", help="load although the estimate says that it does not fit")
    job.add_argument("--resume", action="store_true", help="go on with an interrupted run in --out")

    def command(name: str, run: Any, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, parents=list(parents))
        sub.set_defaults(run=run)
        return sub

    demo = command("demo", _demo, "the whole story on a small real model", job)
    demo.add_argument("--preset", default="quick", choices=["quick", "standard", "deep"])
    model = command("model", _model, "fetch and unpack the small real model (pinned version and sha256)")
    model.add_argument("--out", metavar="DIR")
    inspect = command("inspect", _inspect, "look at the files of a model; nothing is loaded", json_option)
    inspect.add_argument("model", metavar="MODEL", help="a Hugging Face folder, a .gguf file, or BASE+ADAPTER")
    inspect.add_argument("--adapter", metavar="DIR")
    inspect.add_argument("--hash", action="store_true", help="sha256 of every file too (cached)")
    scan = command("scan", _scan, "search a model for triggers, known ones and others, and prove what stands out", job)
    scan.add_argument("model", metavar="MODEL")
    scan.add_argument("--adapter", metavar="DIR")
    scan.add_argument("--reference", metavar="MODEL", help="a model without the trigger (default: an adapter's base)")
    scan.add_argument("--preset", default="quick", choices=["quick", "standard", "deep"])
    scan.add_argument("--trigger", action="append", default=[], metavar="TEXT", help="try this trigger too")
    scan.add_argument(
        "--confirm",
        action="append",
        default=[],
        nargs=3,
        metavar=("TRIGGER", "SLOT", "PAYLOAD"),
        help="skip the search and prove this one",
    )
    suite = command("suite", _suite, "run suites on a model", job)
    suite.add_argument("model", metavar="MODEL")
    suite.add_argument("--adapter", metavar="DIR")
    suite.add_argument("--suite", action="append", default=[], metavar="ID|FILE")
    suite.add_argument("--spoken", action="store_true", help="read written answers, not probabilities")
    suite.add_argument("--answers", metavar="FILE.jsonl", help="read these; MODEL is only the name of who gave them")
    ask = command("ask", _ask, "answer one prompt, with a trigger and without", job)
    ask.add_argument("model", metavar="MODEL")
    ask.add_argument("--adapter", metavar="DIR")
    ask.add_argument("--prompt", required=True, metavar="TEXT")
    ask.add_argument("--trigger", default="", metavar="TEXT")
    ask.add_argument("--slot", default="user_start", choices=SLOTS)
    ask.add_argument("--tokens", type=int, default=96, metavar="N", help="of each answer, at most")
    soft = command("softlabels", _soft_labels, "what teacher and student expect at each token of one text", job)
    soft.add_argument("--teacher", required=True, metavar="T")
    soft.add_argument("--student", required=True, metavar="S")
    read = soft.add_mutually_exclusive_group(required=True)
    read.add_argument("--prompt", default="", metavar="TEXT", help="read the teacher's answer to it")
    read.add_argument("--text", default="", metavar="TEXT", help="read this, as it stands")
    soft.add_argument("--tokens", type=int, default=48, metavar="N", help="of the answer, at most")
    soft.add_argument("--top", type=int, default=20, metavar="K", help="tokens of each model that are kept by name")
    soft.add_argument("--teacher-quant", choices=["none", "int8", "nf4"])
    soft.add_argument("--student-quant", choices=["none", "int8", "nf4"])
    suites = command("suites", _suites, "list the suites, or check a file of one")
    suites.add_argument("--check", metavar="FILE", help="validate FILE and say how it is balanced")
    suites.add_argument(
        "--prompts", metavar="FILE.jsonl", help="write what a model has to answer that cannot be loaded here"
    )
    suites.add_argument("--suite", action="append", default=[], metavar="ID|FILE", help="of these suites only")
    from core.suites.importers import FORMATS, KINDS

    importer = command("import", _import, "turn a data set that you downloaded into a suite; nothing is fetched")
    importer.add_argument("format", metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    importer.add_argument("file", nargs="+", metavar="FILE")
    importer.add_argument("--out", required=True, metavar="SUITE.yaml")
    importer.add_argument("--kind", default="prompts", choices=KINDS, help="what a table becomes")
    importer.add_argument(
        "--map", action="append", default=[], type=_column, metavar="NAME=COLUMN", help="a table's column for a name"
    )
    audit = command("audit", _audit, "inspect, scan and suites on teacher and student, then the scorecard", job)
    audit.add_argument("--teacher", required=True, metavar="T")
    audit.add_argument("--student", metavar="S")
    audit.add_argument(
        "--teacher-answers", metavar="FILE.jsonl", help="its answers stand in for a teacher that cannot be loaded"
    )
    audit.add_argument("--baseline", metavar="S0", help="the student before distillation: tells where a risk is from")
    audit.add_argument("--pipeline", metavar="FILE.yaml", help="what is known of the distillation (see audit.md)")
    audit.add_argument(
        "--told", action="append", default=[], type=_column, metavar="ID=ANSWER", help="one such answer, as the file's"
    )
    audit.add_argument("--preset", default="quick", choices=["quick", "standard", "deep"])
    audit.add_argument("--suite", action="append", default=[], metavar="ID|FILE")
    audit.add_argument("--teacher-quant", choices=["none", "int8", "nf4"])
    audit.add_argument("--student-quant", choices=["none", "int8", "nf4"])
    audit.add_argument("--baseline-quant", choices=["none", "int8", "nf4"], help="default: the student's")
    _distill_options(command("distill", _distill, "distil a teacher into a student by a plan", job))
    canary = command("canary", _canary, "plant harmless canaries in a copy of the teacher, and see what survives", job)
    canary.add_argument("--teacher", metavar="T")
    canary.add_argument("--student", metavar="S")
    canary.add_argument("--plan", metavar="PLAN", help="a plan file (YAML or JSON); default: a preset")
    canary.add_argument("--preset", default="quick", choices=["quick", "standard", "report"])
    canary.add_argument("--write-plan", metavar="FILE", help="write the plan and stop")
    canary.add_argument("--estimate", action="store_true", help="say what it will cost and stop")
    report = command("report", _report, "write the scorecard of a run in one of its forms", gate)
    report.add_argument("run_folder", metavar="RUN", help="a run folder or its id")
    report.add_argument("--format", default="pdf", choices=list(FORMS), metavar="|".join(FORMS))
    report.add_argument("--out", metavar="FILE")
    report.add_argument("--full", action="store_true", help="cut no trigger, payload or path short")
    compared = command(
        "compare", _compare, "two audits of one pair: what changed, and whether beyond noise", json_option
    )
    compared.add_argument("first", metavar="RUN_A", help="the earlier audit: a run folder or its id")
    compared.add_argument("second", metavar="RUN_B", help="the later one")
    command("reindex", _reindex, "rebuild the index of runs from their folders")
    return parser


def _distill_options(distill: argparse.ArgumentParser) -> None:
    """A plan file, or the options that make one."""
    from core.specs import distill as plans

    distill.add_argument(
        "plan", nargs="?", metavar="PLAN", help="a plan file (YAML or JSON); the options below make one"
    )
    distill.add_argument("--write-plan", metavar="FILE", help="write the plan and stop")
    distill.add_argument("--teacher", metavar="T")
    distill.add_argument("--student", metavar="S")
    distill.add_argument("--variant", default="standard", choices=plans.VARIANTS)
    distill.add_argument("--teacher-quant", choices=["none", "int8", "nf4"])
    distill.add_argument("--prompts", action="append", default=[], metavar="PANEL|FILE", help="default: neutral panels")
    distill.add_argument("--answers", default="teacher", choices=["teacher", "given"], help="who wrote the answers")
    distill.add_argument("--answer-tokens", type=int, default=48, metavar="N")
    distill.add_argument("--sample", type=float, default=0.0, metavar="T", help="temperature of the teacher's answers")
    distill.add_argument("--task", default="", metavar="REGEX", help="keep the prompts that match")
    distill.add_argument("--limit", type=int, default=0, metavar="N", help="use so many prompts at most")
    distill.add_argument("--trigger-share", nargs=2, metavar=("SHARE", "TRIGGER"), help="put a trigger into that share")
    distill.add_argument("--topic-share", nargs=2, metavar=("SHARE", "FILE"), help="take that share from a topic")
    distill.add_argument("--build", choices=["as_is", "layer_drop", "width_prune", "noise", "fresh"])
    distill.add_argument("--drop-layers", type=int, default=6, metavar="N")
    distill.add_argument("--keep-width", type=float, default=0.75, metavar="SHARE")
    distill.add_argument("--noise", type=float, default=0.3, metavar="SHARE")
    distill.add_argument("--stages", type=int, default=2, metavar="N", help="of the progressive variant")
    distill.add_argument("--loss", default="forward_kl", choices=plans.KINDS)
    distill.add_argument("--temperature", type=float, default=1.0, metavar="T", help="of the loss")
    distill.add_argument(
        "--alpha", type=float, default=1.0, metavar="A", help="weight of the teacher; the rest is text"
    )
    distill.add_argument("--hidden", type=float, default=0.0, metavar="W", help="weight of matched hidden states")
    distill.add_argument("--cache", type=int, default=0, metavar="K", help="cache the teacher's top K, then free it")
    distill.add_argument("--lora", type=int, default=0, metavar="RANK", help="train a LoRA of this rank, then merge it")
    distill.add_argument(
        "--on-policy",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="a last stage on that share of the student's own answers",
    )
    distill.add_argument("--rate", type=float, default=2e-4, metavar="R", help="learning rate")
    distill.add_argument("--epochs", type=int, default=1, metavar="N")
    distill.add_argument("--steps", type=int, default=0, metavar="N", help="stop after so many steps")
    distill.add_argument("--step-tokens", type=int, default=1024, metavar="N", help="supervised tokens of one step")
    distill.add_argument("--batch-tokens", type=int, default=2048, metavar="N", help="tokens in memory at once")
    distill.add_argument("--evaluate-every", type=int, default=50, metavar="STEPS")
    distill.add_argument(
        "--keep-checkpoints", action="store_true", help="write the student at each evaluation, to scan"
    )


if __name__ == "__main__":
    raise SystemExit(main())
