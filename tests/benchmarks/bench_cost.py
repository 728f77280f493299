"""What a training step costs against answer length, batch and vocabulary: ours and a plain dense loop, side by side.

    python tests/benchmarks/bench_cost.py [--base DIR] [--threads 2] [--out FILE.svg]

The models have the small model's tokenizer and width and 6 random layers, so that the head weighs what it weighs in
small students; for the vocabulary they are made anew, and ids are taken modulo it. Each point is one process of its
own, ours and dense in turn. Printed: milliseconds per supervised token (median step) and peak memory above the loaded
models; --out draws them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # as a script, only its own folder is there

from core.specs.demo import small_model_folder  # noqa: E402
from tests.benchmarks.bench_distill import DENSE, OURS, rows_for, run  # noqa: E402

STEPS = 6
LAYERS = 6
USUAL = {"length": 96, "batch": 4, "vocabulary": 49_152}
SWEEPS = {"length": (48, 96, 192, 384), "batch": (1, 2, 4, 8), "vocabulary": (8_192, 49_152, 131_072, 262_144)}
CONTENDERS = {"ours": OURS, "dense": DENSE}
NAMES = {"length": "longest answer, tokens", "batch": "rows in a batch", "vocabulary": "vocabulary"}


class Cost(NamedTuple):
    """``ms`` per supervised token; ``mb`` above the loaded models."""

    ms: float
    mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=small_model_folder())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, dict[int, dict[str, Cost]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, values in SWEEPS.items():
            found[name] = {}
            print(f"| {NAMES[name]} | ours, ms | dense, ms | ratio | ours, MB | dense, MB |\n|---|---|---|---|---|---|")
            for value in values:
                point = USUAL | {name: value}
                costs = {
                    who: measured(code, point, arguments.base, Path(folder), arguments.threads)
                    for who, code in CONTENDERS.items()
                }
                found[name][value] = costs
                ours, dense = costs["ours"], costs["dense"]
                print(
                    f"| {value:,} | {ours.ms:.1f} | {dense.ms:.1f} | {dense.ms / ours.ms:.2f} | {ours.mb:,.0f} "
                    f"| {dense.mb:,.0f} |",
                    flush=True,
                )
            print()
    if arguments.out:
        arguments.out.write_text(drawn(found), encoding="utf-8")


def measured(code: str, point: dict[str, int], base: Path, folder: Path, threads: int) -> Cost:
    """One contender at one point."""
    teacher, student = (made(base, folder, point["vocabulary"], seed) for seed in (0, 1))
    rows = rows_for(base, STEPS * point["batch"], point["length"])
    for row in rows:
        row["ids"] = [token % point["vocabulary"] for token in row["ids"]]
    path = folder / "rows.json"
    path.write_text(json.dumps(rows))
    job = {"teacher": str(teacher), "student": str(student), "rows": str(path), "batch": point["batch"]}
    job |= {"threads": threads, "root": str(ROOT), "cached": False, "out": str(folder / "out.pt")}
    result = run(sys.executable, code, job)
    steps = list(zip(result["times"], result["tokens"], strict=True))[2:]  # the first steps allocate
    return Cost(1000 * statistics.median(time / tokens for time, tokens in steps), result["peak"] / 2**20)


def made(base: Path, folder: Path, vocabulary: int, seed: int) -> Path:
    """A random model of ``LAYERS`` layers with the base's tokenizer and width; made once."""
    place = folder / f"{vocabulary}-{seed}"
    if place.exists():
        return place
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config: Any = AutoConfig.from_pretrained(base, local_files_only=True)
    config.num_hidden_layers, config.vocab_size, config.layer_types = LAYERS, vocabulary, None
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(place)
    for file in base.glob("*token*"):
        shutil.copy(file, place)
    return place


# the drawing

WIDE, HIGH, GAP, LEFT, TOP = 250, 130, 60, 60, 40
INK = {"ours": "#2b5d78", "dense": "#a8571b"}


def drawn(found: dict[str, dict[int, dict[str, Cost]]]) -> str:
    """An SVG: a column a sweep, time above memory; each panel from 0, its points evenly spaced."""
    rows = (("ms per supervised token", 0), ("MB above the loaded models", 1))
    parts = []
    for column, (name, points) in enumerate(found.items()):
        for row, (unit, part) in enumerate(rows):
            x, y = LEFT + column * (WIDE + GAP), TOP + row * (HIGH + GAP)
            lines = {who: [costs[who][part] for costs in points.values()] for who in CONTENDERS}
            parts.append(_panel(x, y, f"{NAMES[name]}: {unit}", [f"{value:,}" for value in points], lines))
    width, height = LEFT + 3 * (WIDE + GAP), TOP + 2 * (HIGH + GAP)
    style = "font-family:sans-serif;font-size:11px;fill:#444"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" style="{style}">'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _panel(x: int, y: int, title: str, ticks: list[str], lines: dict[str, list[float]]) -> str:
    most = max(value for line in lines.values() for value in line) or 1.0
    step = WIDE / (len(ticks) - 1)
    parts = [
        f'<text x="{x}" y="{y - 8}">{title}</text>',
        f'<path d="M{x} {y}V{y + HIGH}H{x + WIDE}" fill="none" stroke="#bbbbbb"/>',
        f'<text x="{x - 6}" y="{y + 8}" text-anchor="end">{most:,.0f}</text>',
        f'<text x="{x - 6}" y="{y + HIGH}" text-anchor="end">0</text>',
    ]
    for at, tick in enumerate(ticks):
        parts.append(f'<text x="{x + at * step:.0f}" y="{y + HIGH + 14}" text-anchor="middle">{tick}</text>')
    for who, line in lines.items():
        places = [(x + at * step, y + HIGH - HIGH * value / most) for at, value in enumerate(line)]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        dash = "" if who == "ours" else ' stroke-dasharray="5 3"'
        parts.append(f'<polyline points="{path}" fill="none" stroke="{INK[who]}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{INK[who]}"/>' for px, py in places]
        parts.append(f'<text x="{places[-1][0] + 5:.0f}" y="{places[-1][1] + 4:.0f}" fill="{INK[who]}">{who}</text>')
    return "".join(parts)


if __name__ == "__main__":
    main()
