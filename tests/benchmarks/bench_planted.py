"""Does each suite see an effect that is there? One is planted for every suite and seed, and turned down to its margin.

    python tests/benchmarks/bench_planted.py [--seeds 5] [--suite ID …] [--out build/planted]

A LoRA adapter is taught the suite's own questions in other words, answered the risky way, or what to prefer in them
(``core.engine.transfer.lessons``), and merged. It is tried on a third of the clusters at an eighth, a quarter, a half
and the whole of its strength; with the first dose whose effect there reaches the suite's δ, the whole suite is run.
Seen: the 95 % interval of planted minus plain, paired by item, lies above 0 (below it where the opposite is taught).
Detectable: the difference that would be seen with 80 % power, the median over the seeds.
Resumable: finished cells are kept in --out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from random import Random
from statistics import fmean, median
from typing import Any, NamedTuple

from core.engine.lm import LanguageModel, load_model
from core.engine.probes import score_suites
from core.engine.probes.report import suite_report
from core.engine.ranks import Silent
from core.engine.transfer.adapter import Row, scale_adapter, train_adapter, train_contrast
from core.engine.transfer.lessons import Lesson, contrasts, lessons
from core.runs.folder import RunFolder
from core.specs import LoadOptions, SuiteSpec
from core.specs.demo import small_model_folder
from core.stats import paired_effects, precision
from core.suites import Suite, list_suites
from core.types import ModelRef
from core.verdicts.suites import judge_suite

DOSES = (0.125, 0.25, 0.5, 1.0)
SAMPLE = 3
"""One cluster in so many is what doses are tried on."""
EPOCHS = 3


class Teaching(NamedTuple):
    """How many lessons it takes, at which rate, of how many groups of the suite, and whether by what they compare.

    ``turned``: the opposite is taught, where the plain model is at the risky end already.
    """

    most: int = 64
    rate: float = 1e-3
    groups: int = 0
    contrast: bool = False
    turned: bool = False


TAUGHT = {
    # which names are refused or praised has no rule from which the rest would follow: three of the groups are learned
    "censorship.entities": Teaching(240, 2e-3, 3),
    "language.switch": Teaching(192, 2e-3, 3),
    "overrefusal.wording": Teaching(240, 2e-3),
    # the small model complies with nineteen of twenty requests at its first words: what can be taught is refusal
    "safety.requests": Teaching(turned=True),
    # told what to say, a model of this size learns the words; told which of two to prefer, it learns the difference
    "framing.institutions": Teaching(120, 1e-3, 3, contrast=True),
    "decisions.people": Teaching(120, 1e-3, 3, contrast=True),
    "stereotype.situations": Teaching(160, 1e-3, contrast=True),
    # nor do facts, errors and situations follow from one another
    "suppression.facts": Teaching(192),
    "errors.popular": Teaching(192),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--suite", action="append", default=[], metavar="ID")
    parser.add_argument("--out", type=Path, default=Path("build/planted"))
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further cell after so long")
    arguments = parser.parse_args()
    suites = [suite for suite in list_suites() if not arguments.suite or suite.id in arguments.suite]
    arguments.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * arguments.minutes
    for seed in range(arguments.seeds):
        for suite in suites:
            if time.monotonic() < end:
                cell(suite, seed, arguments.out)
    table(suites, arguments.out)


def cell(suite: Suite, seed: int, out: Path) -> None:
    """One suite and seed; does nothing if it is done."""
    done = out / f"{suite.id}-{seed}.json"
    if done.exists() and json.loads(done.read_bytes())["sha256"] == suite.sha256:
        return
    started = time.monotonic()
    base = small_model_folder()
    with load_model(ModelRef(str(base)), LoadOptions(device="cpu")) as lm:
        plain = rows_of(suite, lm, out / "plain" / f"{suite.id}-{suite.sha256[:8]}")
        plan = TAUGHT.get(suite.id, Teaching())
        names = sorted({item.group for item in suite.items})
        groups = Random(seed).sample(names, plan.groups) if plan.groups else [""]
        learned = teach(suite, plan, groups, lm, seed)
        weights = {name: weight.clone() for name, weight in lm.model.named_parameters()}
        part, strength = sample(suite, seed), 1.0
        for dose in DOSES:
            lm.model.load_state_dict(weights, strict=False)
            scale_adapter(lm.model, dose / strength)
            strength = dose
            lm.model.merge_adapter()
            path = out / "runs" / f"{suite.id}-{seed}-{dose}-{suite.sha256[:8]}"
            risen = rise(part, plain, rows_of(part, lm, path))
            if (-risen if plan.turned else risen) >= suite.margin or dose == DOSES[-1]:
                # what was tried is in the folder and not scored again
                result = compared(suite, plain, rows_of(suite, lm, path), plan.turned)
                break
            lm.model.unmerge_adapter()
    result |= {
        "suite": suite.id,
        "sha256": suite.sha256,
        "seed": seed,
        "dose": dose,
        "groups": groups,
        "lessons": learned,
    }
    result["wall_s"] = round(time.monotonic() - started, 1)
    done.write_text(json.dumps(result, indent=1))
    print(
        f"{suite.id} seed {seed}: dose {dose}, {result['difference']}, seen {result['seen']}, {result['wall_s']} s",
        flush=True,
    )


def teach(suite: Suite, plan: Teaching, groups: list[str], lm: LanguageModel, seed: int) -> int:
    """Put an adapter on ``lm`` that has learned the effect; returns the number of lessons."""
    most = plan.most // len(groups)

    def row(one: Lesson) -> Row:
        return lm.render(one.prompt) if one.chat else one.prompt, one.answer, one.chat

    if plan.contrast:
        compared = [item for name in groups for item in contrasts(suite, most=most, seed=seed, group=name)]
        items = [[(row(one), sign) for one, sign in item] for item in compared]
        train_contrast(items, lm, Silent(), epochs=EPOCHS, rate=plan.rate, seed=seed)
        return len(items)
    taught = [
        row(one) for name in groups for one in lessons(suite, most=most, seed=seed, group=name, turned=plan.turned)
    ]
    train_adapter(taught, lm, Silent(), epochs=EPOCHS, rate=plan.rate, seed=seed)
    return len(taught)


def sample(suite: Suite, seed: int) -> Suite:
    """The suite, of one cluster in ``SAMPLE``."""
    clusters = sorted({item.cluster for item in suite.items})
    chosen = set(Random(seed).sample(clusters, len(clusters) // SAMPLE))
    return suite._replace(items=tuple(item for item in suite.items if item.cluster in chosen))


def rows_of(suite: Suite, lm: LanguageModel, path: Path) -> dict[str, dict[str, Any]]:
    folder = RunFolder.create(SuiteSpec(model="small model", suites=(suite.id,)), path, resume=True)
    return score_suites([suite], lm, folder, Silent())


def rise(suite: Suite, plain: dict[str, dict[str, Any]], planted: dict[str, dict[str, Any]]) -> float:
    """By how much the mean item is higher in the planted model."""
    return fmean(planted[item.uid]["value"] - plain[item.uid]["value"] for item in suite.items)


def compared(
    suite: Suite, plain: dict[str, dict[str, Any]], planted: dict[str, dict[str, Any]], turned: bool
) -> dict[str, Any]:
    before, after = suite_report(suite, plain), suite_report(suite, planted)
    items = [[rows[item.uid] for item in suite.items] for rows in (plain, planted)]
    span = suite.bounds[1] - suite.bounds[0]
    paired = paired_effects(*items, bounds=(-span, span))
    changes = [after["value"] - before["value"] for before, after in zip(*items, strict=True)]
    judged = judge_suite(before, items[0], after, items[1])
    alone = judge_suite(before, items[0], before, items[0])
    return {
        "plain": [before["effect"][name] for name in ("value", "low", "high")],
        "planted": [after["effect"][name] for name in ("value", "low", "high")],
        "difference": list(paired.difference[:3]),
        "seen": paired.difference.high < 0 if turned else paired.difference.low > 0,
        "verdict": judged.verdict,
        "plain_verdict": alone.verdict,
        "items_needed": alone.items_needed,
        "n": before["n"],
        "effective_n": before["effective_n"],
        "detectable": precision(changes, [row["cluster"] for row in items[0]]).detectable,
    }


def table(suites: list[Suite], out: Path) -> None:
    """As Markdown: what was planted, what was seen, and what the plain model is like."""
    heads = ("suite", "δ", "plain model", "against itself", "planted minus plain", "seen", "detectable", "effective n")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for suite in suites:
        cells = [json.loads(path.read_bytes()) for path in sorted(out.glob(f"{suite.id}-*.json"))]
        if not cells:
            continue
        first = cells[0]
        value, low, high = first["plain"]
        sizes = ", ".join(f"{one['difference'][0]:+.2f}" for one in cells)
        needed = f" ({first['items_needed']:,} items needed)" if first["items_needed"] else ""
        row = (
            f"`{suite.id}`",
            f"{suite.margin:g}",
            f"{value:+.3f} [{low:+.3f}, {high:+.3f}]",
            f"{first['plain_verdict']}{needed}",
            sizes,
            f"{sum(one['seen'] for one in cells)} of {len(cells)}",
            f"{median(one['detectable'] for one in cells):.3f}",
            f"{first['effective_n'] or 0:.0f} of {first['n']}",
        )
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
