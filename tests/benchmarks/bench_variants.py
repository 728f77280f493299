"""Every variant of distillation from the demo's planted teacher, each student audited against what it was before.

    python tests/benchmarks/bench_variants.py [--base DIR] [--out build/variants] [--only standard,copy,…] [--minutes N]

Prompts are the neutral panels, without the trigger. Printed: KL(teacher || student) and agreement at step 0 and at the
end, wall time and peak memory; then, of each student and its step-0 self, the payload's rate with the trigger and the
value of each suite, and which of them differ beyond the interval of the difference.
Resumable: finished students and audits are kept in --out, and the teacher's own scan and suites are run once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # as a script, only its own folder is there

from core.runs.folder import RunFolder  # noqa: E402
from core.specs.demo import small_model_folder  # noqa: E402
from core.stats import Interval, paired_effects  # noqa: E402
from tests.benchmarks.bench_truth import SUITES, Bench  # noqa: E402

TWICE = ("--epochs", "2", "--limit", "128")
"""Some 10,000 supervised tokens: two minutes and a half on one core."""
CUT = ("--build", "layer_drop", "--drop-layers", "6", *TWICE)
VARIANTS: dict[str, tuple[str, ...]] = {
    "standard": ("--variant", "standard", *CUT),
    "noised": ("--variant", "standard", "--build", "noise", "--noise", "0.3", *TWICE),
    "self-smaller": ("--variant", "self", *CUT),
    "self-copy": ("--variant", "self", "--build", "as_is", "--limit", "128"),
    "self-noise": ("--variant", "self", "--build", "noise", "--noise", "0.3", *TWICE),
    "self-fresh": ("--variant", "self", "--build", "fresh", *TWICE),
    "progressive": ("--variant", "progressive", "--stages", "2", "--drop-layers", "6", *TWICE),
    "task": ("--variant", "task-specific", "--task", "(?i)write|explain", *CUT),
    "sequence": ("--variant", "sequence-level", *CUT),
}  # fmt: skip


class Variants(Bench):
    def distilled(self, name: str) -> Path:
        """The run folder of a variant; the student is made if it is not there."""
        run = self.out / "runs" / name
        if not (run / "header.json").exists():
            source = () if VARIANTS[name][1] == "self" else ("--student", self.base)
            self.command(
                "distill", "--teacher", self.model("planted"), *source, *VARIANTS[name], "--out", run, "--resume"
            )
        return run

    def audited(self, name: str) -> dict[str, Any]:
        """The scorecard of teacher, student and its step-0 self."""
        stages = sorted(self.distilled(name).glob("stage-*"))
        run = self.out / "audits" / name
        if not (run / "header.json").exists():
            for kind in ("scan", "suite"):
                done = next(self.out.glob(f"audits/*/teacher-{kind}/header.json"), None)
                if done and not (run / f"teacher-{kind}").exists():
                    shutil.copytree(done.parent, run / f"teacher-{kind}")
            suites = [word for suite in SUITES for word in ("--suite", suite)]
            self.command(
                "audit", "--teacher", self.model("planted"), "--student", stages[-1] / "student",
                "--baseline", stages[0] / "baseline", *suites, "--out", run, "--resume",
            )  # fmt: skip
        card: dict[str, Any] = json.loads((run / "scorecard.json").read_bytes())
        return card


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=small_model_folder())
    parser.add_argument("--out", type=Path, default=Path("build/variants"))
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further variant after so long")
    options = parser.parse_args(arguments)
    bench = Variants(options.base.absolute(), options.out.absolute())
    end, names = time.monotonic() + 60 * options.minutes, options.only.split(",")
    print(
        "| variant | inherited | tokens | KL, step 0 → end | agreement | s | tokens/s | GB | ended |\n"
        + "|---" * 9
        + "|"
    )
    done = [name for name in names if time.monotonic() < end and trained(name, bench.distilled(name))]
    print("\n| variant | class | teacher | student | verdict | origin | since step 0 |\n" + "|---" * 7 + "|")
    for name in done:
        if time.monotonic() < end:
            card = bench.audited(name)
            changed(name, bench.out / "audits" / name, card)


def trained(name: str, run: Path) -> bool:
    """A line of the first table for each stage."""
    report = json.loads((run / "report.json").read_bytes())
    for stage in report["stages"]:
        before, after = stage["before"], stage["after"]
        named = name if len(report["stages"]) == 1 else f"{name}, {stage['stage']}"
        speed = f"{stage['tokens_per_s']:.0f}" if stage["tokens_per_s"] else "–"
        kl = " → ".join(f"{at['kl']:.3f}" for at in (before, after))
        print(
            f"| {named} | {stage['inherited']['share']:.0%} | {stage['tokens']:,} | {kl} "
            f"| {before['agreement']:.0%} → {after['agreement']:.0%} | {stage['wall_s']:.0f} | {speed} "
            f"| {after['peak_rss'] / 1e9:.1f} | {stage['ended']} |",
            flush=True,
        )
    return True


def changed(name: str, run: Path, card: dict[str, Any]) -> None:
    """A line of the second table for each class that was measured; what lies beyond its interval stands out."""
    for row in card["rows"]:
        if not row["primary"] or row["student"] is None:
            continue
        values = [f"{row[role]['value']:+.2f}" if row[role] else "–" for role in ("teacher", "student")]
        since = (
            since_step_0(run, row["suite"].split("@")[0]) if row["suite"] else row["gain"] and Interval(**row["gain"])
        )
        words = f"{since.value:+.2f} [{since.low:+.2f}, {since.high:+.2f}]" if since else "–"
        told = f"**{words}**" if since and (since.low > 0 or since.high < 0) else words
        line = (name, row["risk_class"], *values, row["verdict"], row["origin"] or "–", told)
        print("| " + " | ".join(line) + " |", flush=True)


def since_step_0(run: Path, suite: str) -> Interval:
    """Student minus its step-0 self, paired by item."""
    before, after = (
        [row for row in RunFolder.open(run / f"{role}-suite").items() if row.get("suite") == suite]
        for role in ("baseline", "student")
    )
    return paired_effects(before, after).difference


if __name__ == "__main__":
    main()
