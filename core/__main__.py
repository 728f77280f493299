"""``python -m core`` (console script ``foreshot``): the same engine as the window, headless.

Exit codes: 0 done; 1 done and ``--fail-on`` was met; 2 bad input; 3 the environment; 70 a fault of the program.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from core import __version__
from core.cli import audits, distilling, models, suiting
from core.cli.running import is_shared
from core.errors import ForeshotError
from core.report.forms import FORMS
from core.types import SLOTS

EPILOG = "Nothing leaves this machine. Only `model` and `demo` fetch something: the small model, once, if it is absent."

POWER: dict[str, Any] = {
    "type": int, "choices": range(11), "default": 0, "metavar": "N",
    "help": "plant N harmless canaries of each kind in private copies and scan them alike: what would have been found "
    "(at least as long as a scan for each of 2 N)",
}  # fmt: skip


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


def end(argv: Sequence[str] | None = None) -> NoReturn:
    """``main``, and the end of the process."""
    code = main(argv)
    if is_shared():
        # threads of a broken connection may still run, and whatever Python takes away from under them aborts
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)


def _fault(error: Exception) -> int:
    """A fault of ours: one sentence, and the traceback in a file that can be sent along."""
    log = Path(tempfile.gettempdir()) / f"foreshot-fault-{os.getpid()}.log"
    log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    print(
        f"foreshot: a fault in Foreshot ({type(error).__name__}: {error}). Please report it with {log}.",
        file=sys.stderr,
    )
    return 70


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

    demo = command("demo", audits.demo, "the whole story on a small real model", job)
    demo.add_argument("--preset", default="quick", choices=["quick", "standard", "deep"])
    model = command("model", models.fetch_model, "fetch and unpack the small real model (pinned version and sha256)")
    model.add_argument("--out", metavar="DIR")
    inspect = command("inspect", models.inspect, "look at the files of a model; nothing is loaded", json_option)
    inspect.add_argument("model", metavar="MODEL", help="a Hugging Face folder, a .gguf file, or BASE+ADAPTER")
    inspect.add_argument("--adapter", metavar="DIR")
    inspect.add_argument("--hash", action="store_true", help="sha256 of every file too (cached)")
    estimate = command(
        "estimate",
        models.estimate,
        "how long a scan and the suites will take here: measured for two seconds",
        json_option,
    )
    estimate.add_argument("model", metavar="MODEL")
    estimate.add_argument("--adapter", metavar="DIR")
    estimate.add_argument("--device", default="auto", metavar="auto|cpu|cuda:N")
    estimate.add_argument("--dtype", default="auto", choices=["auto", "fp32", "bf16", "fp16"])
    scan = command(
        "scan", models.scan, "search a model for triggers, known ones and others, and prove what stands out", job
    )
    scan.add_argument("model", metavar="MODEL")
    scan.add_argument("--adapter", metavar="DIR")
    scan.add_argument("--reference", metavar="MODEL", help="a model without the trigger (default: an adapter's base)")
    scan.add_argument("--preset", default="quick", choices=["quick", "standard", "deep"])
    scan.add_argument("--power", **POWER)
    scan.add_argument("--trigger", action="append", default=[], metavar="TEXT", help="try this trigger too")
    scan.add_argument(
        "--confirm",
        action="append",
        default=[],
        nargs=3,
        metavar=("TRIGGER", "SLOT", "PAYLOAD"),
        help="skip the search and prove this one",
    )
    suite = command("suite", suiting.suite, "run suites on a model", job)
    suite.add_argument("model", metavar="MODEL")
    suite.add_argument("--adapter", metavar="DIR")
    suite.add_argument("--suite", action="append", default=[], metavar="ID|FILE")
    suite.add_argument("--spoken", action="store_true", help="read written answers, not probabilities")
    suite.add_argument("--answers", metavar="FILE.jsonl", help="read these; MODEL is only the name of who gave them")
    ask = command("ask", models.ask, "answer one prompt, with a trigger and without", job)
    ask.add_argument("model", metavar="MODEL")
    ask.add_argument("--adapter", metavar="DIR")
    ask.add_argument("--prompt", required=True, metavar="TEXT")
    ask.add_argument("--trigger", default="", metavar="TEXT")
    ask.add_argument("--slot", default="user_start", choices=SLOTS)
    ask.add_argument("--tokens", type=int, default=96, metavar="N", help="of each answer, at most")
    soft = command(
        "softlabels", distilling.soft_labels, "what teacher and student expect at each token of one text", job
    )
    soft.add_argument("--teacher", required=True, metavar="T")
    soft.add_argument("--student", required=True, metavar="S")
    read = soft.add_mutually_exclusive_group(required=True)
    read.add_argument("--prompt", default="", metavar="TEXT", help="read the teacher's answer to it")
    read.add_argument("--text", default="", metavar="TEXT", help="read this, as it stands")
    soft.add_argument("--tokens", type=int, default=48, metavar="N", help="of the answer, at most")
    soft.add_argument("--top", type=int, default=20, metavar="K", help="tokens of each model that are kept by name")
    soft.add_argument("--teacher-quant", choices=["none", "int8", "nf4"])
    soft.add_argument("--student-quant", choices=["none", "int8", "nf4"])
    suites = command("suites", suiting.list_or_check, "list the suites, or check a file of one")
    suites.add_argument("--check", metavar="FILE", help="validate FILE and say how it is balanced")
    suites.add_argument(
        "--prompts", metavar="FILE.jsonl", help="write what a model has to answer that cannot be loaded here"
    )
    suites.add_argument("--suite", action="append", default=[], metavar="ID|FILE", help="of these suites only")
    from core.suites.importers import FORMATS, KINDS

    importer = command(
        "import", suiting.import_suite, "turn a data set that you downloaded into a suite; nothing is fetched"
    )
    importer.add_argument("format", metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    importer.add_argument("file", nargs="+", metavar="FILE")
    importer.add_argument("--out", required=True, metavar="SUITE.yaml")
    importer.add_argument("--kind", default="prompts", choices=KINDS, help="what a table becomes")
    importer.add_argument(
        "--map",
        action="append",
        default=[],
        type=suiting.column,
        metavar="NAME=COLUMN",
        help="a table's column for a name",
    )
    audit = command("audit", audits.audit, "inspect, scan and suites on teacher and student, then the scorecard", job)
    audit.add_argument("--teacher", required=True, metavar="T")
    audit.add_argument("--student", metavar="S")
    audit.add_argument(
        "--teacher-answers", metavar="FILE.jsonl", help="its answers stand in for a teacher that cannot be loaded"
    )
    audit.add_argument("--baseline", metavar="S0", help="the student before distillation: tells where a risk is from")
    audit.add_argument("--pipeline", metavar="FILE.yaml", help="what is known of the distillation (see audit.md)")
    audit.add_argument(
        "--told",
        action="append",
        default=[],
        type=suiting.column,
        metavar="ID=ANSWER",
        help="one such answer, as the file's",
    )
    audit.add_argument("--preset", default="quick", choices=["quick", "standard", "deep"])
    audit.add_argument("--power", **POWER)
    audit.add_argument("--suite", action="append", default=[], metavar="ID|FILE")
    audit.add_argument("--teacher-quant", choices=["none", "int8", "nf4"])
    audit.add_argument("--student-quant", choices=["none", "int8", "nf4"])
    audit.add_argument("--baseline-quant", choices=["none", "int8", "nf4"], help="default: the student's")
    distilling.distill_options(command("distill", distilling.distill, "distil a teacher into a student by a plan", job))
    canary = command(
        "canary", distilling.canary, "plant harmless canaries in a copy of the teacher, and see what survives", job
    )
    canary.add_argument("--teacher", metavar="T")
    canary.add_argument("--student", metavar="S")
    canary.add_argument("--plan", metavar="PLAN", help="a plan file (YAML or JSON); default: a preset")
    canary.add_argument("--preset", default="quick", choices=["quick", "standard", "report"])
    canary.add_argument(
        "--variants",
        nargs="+",
        choices=["standard", "self", "progressive"],
        help="kinds of students; default: the plan's",
    )
    canary.add_argument("--write-plan", metavar="FILE", help="write the plan and stop")
    canary.add_argument("--estimate", action="store_true", help="say what it will cost and stop")
    report = command("report", audits.write_report, "write the scorecard of a run in one of its forms", gate)
    report.add_argument("run_folder", metavar="RUN", help="a run folder or its id")
    report.add_argument("--format", default="pdf", choices=list(FORMS), metavar="|".join(FORMS))
    report.add_argument("--out", metavar="FILE")
    report.add_argument("--full", action="store_true", help="cut no trigger, payload or path short")
    compared = command(
        "compare", audits.compare, "two audits of one pair: what changed, and whether beyond noise", json_option
    )
    compared.add_argument("first", metavar="RUN_A", help="the earlier audit: a run folder or its id")
    compared.add_argument("second", metavar="RUN_B", help="the later one")
    command("reindex", audits.reindex, "rebuild the index of runs from their folders")
    return parser


if __name__ == "__main__":
    end()
