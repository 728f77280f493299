"""Commands on one model: inspect, estimate, model, scan, ask."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from core.cli.running import help_first, is_helper, is_shared, load_options, run_spec, say, write_json
from core.errors import InputError
from core.specs import AskSpec, LoadOptions, ScanSpec
from core.specs.demo import small_model_folder
from core.specs.effort import SCAN_TOKENS, duration, suite_tokens
from core.suites import list_suites
from core.types import ModelRef


def inspect(arguments: argparse.Namespace) -> int:
    from core.catalog import inspect_model

    card = inspect_model(ModelRef.parse(arguments.model, arguments.adapter), hash_files=arguments.hash)
    if arguments.json is not None:
        write_json(arguments.json, msgspec.json.format(msgspec.json.encode(card), indent=1))
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


def estimate(arguments: argparse.Namespace) -> int:
    from core.catalog import inspect_model
    from core.engine.speed import measure_speed

    card = inspect_model(ModelRef.parse(arguments.model, arguments.adapter))
    speed = measure_speed(card, LoadOptions(device=arguments.device, dtype=arguments.dtype))
    suites = suite_tokens((suite.kind, len(suite.items)) for suite in list_suites())
    scans = {preset: [each / speed.tokens_per_s for each in tokens] for preset, tokens in SCAN_TOKENS.items()}
    if arguments.json is not None:
        figures = {**speed._asdict(), "scan_s": scans, "suites_s": suites / speed.tokens_per_s}
        write_json(arguments.json, msgspec.json.format(msgspec.json.encode(figures), indent=1))
        if arguments.json == "-":
            return 0
    print(
        f"{card.name}: about {speed.tokens_per_s:,.0f} tokens a second ({speed.precision}, {speed.device}), measured "
        "for two seconds on one layer of its width; an estimate, and quantised weights are slower on a CPU"
    )
    for preset, (least, most) in scans.items():
        print(f"  scan, {preset:8} {duration(least)} to {duration(most)}")
    print(f"  suites, all     {duration(suites / speed.tokens_per_s)}")
    return 0


def fetch_model(arguments: argparse.Namespace) -> int:
    from core.engine.smallmodel import fetch_small_model

    print(fetch_small_model(Path(arguments.out) if arguments.out else small_model_folder(), progress=say))
    return 0


def scan(arguments: argparse.Namespace) -> int:
    spec = ScanSpec(
        model=arguments.model,
        adapter=arguments.adapter,
        reference=arguments.reference,
        preset=arguments.preset,
        extra_triggers=tuple(arguments.trigger),
        confirm_triggers=tuple(tuple(claim) for claim in arguments.confirm),
        load=load_options(arguments, arguments.quant),
        power=arguments.power,
        seed=arguments.seed,
    )
    if spec.power and is_shared():
        raise InputError(
            "power_alone", "Canaries are planted and scanned by one process.", "Leave out --power, or the launcher."
        )
    if is_helper():
        from core.engine.triggers import follow_scan

        return help_first(lambda: follow_scan(spec))
    return run_spec(spec, arguments)


def ask(arguments: argparse.Namespace) -> int:
    spec = AskSpec(
        model=arguments.model,
        adapter=arguments.adapter,
        prompt=arguments.prompt,
        trigger=arguments.trigger,
        slot=arguments.slot,
        tokens=arguments.tokens,
        load=load_options(arguments, arguments.quant),
        seed=arguments.seed,
    )
    return run_spec(spec, arguments)
