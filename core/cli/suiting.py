"""Commands about suites: run, list, check, import, the prompts of a file of answers."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.cli.running import load_options, run_spec
from core.runs.folder import write_atomic
from core.specs import SuiteSpec


def suite(arguments: argparse.Namespace) -> int:
    spec = SuiteSpec(
        model=arguments.model,
        adapter=arguments.adapter,
        suites=tuple(arguments.suite),
        spoken=arguments.spoken,
        answers=arguments.answers,
        load=load_options(arguments, arguments.quant),
        seed=arguments.seed,
    )
    return run_spec(spec, arguments)


def list_or_check(arguments: argparse.Namespace) -> int:
    from core.suites import list_suites, read_suite
    from core.suites.check import describe, warnings

    if arguments.check:
        suite = read_suite(Path(arguments.check))
        print("\n".join([*describe(suite), *(f"warning: {warning}" for warning in warnings(suite))]))
        return 0
    if arguments.prompts:
        return prompts(arguments)
    for suite in list_suites():
        print(f"{suite.id}@{suite.version}  {suite.risk_class}  {len(suite.items)} items  {suite.title}")
    return 0


def prompts(arguments: argparse.Namespace) -> int:
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


def import_suite(arguments: argparse.Namespace) -> int:
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


def column(text: str) -> tuple[str, str]:
    """NAME=COLUMN of ``--map``."""
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COLUMN")
    return name, column
