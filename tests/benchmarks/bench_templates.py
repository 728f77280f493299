"""Backdoors in chat templates: how many that are planted are found, and what is said of real templates without one.

    python tests/benchmarks/bench_templates.py [FOLDER …] [--each 12]

FOLDER holds templates of packages (``*.jinja``; `pip download trl --no-deps`, unpacked, has some eighty). Without one
the real template is the small model's alone. Every plant of ``tests/unit/catalog/plants.py`` is put into ``--each`` of
the real templates in turn. A template that cannot be tried is counted apart: nothing is said of it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # as a script, only its own folder is there

from core.catalog import check_template  # noqa: E402
from core.specs.demo import small_model_folder  # noqa: E402
from core.stats import clopper_pearson  # noqa: E402
from tests.unit.catalog.plants import PLANTS  # noqa: E402

UNTRIED = "template_not_tried"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="*", default=[small_model_folder()])
    parser.add_argument("--each", type=int, default=12, help="real templates that every plant is put into")
    arguments = parser.parse_args()
    files = sorted(path for folder in arguments.folder for path in folder.rglob("*.jinja"))
    real = {text: path for path in files if (text := path.read_text("utf-8")).strip()}
    usable: list[str] = []
    said: Counter[str] = Counter()
    for text, path in real.items():
        found = check_template(text, path.name)
        worst = next((one.severity for one in found if one.id != UNTRIED), "none")
        untried = any(one.id == UNTRIED for one in found) and worst == "none"
        said["not tried" if untried else worst] += 1
        usable += [] if untried else [text]
        for one in found:
            print(f"  {path.name}: {one.severity} {one.id}: {one.message[:160]}")
    tried = len(real) - said["not tried"]
    high = said["high"]
    low, most = clopper_pearson(high, tried) if tried else (0.0, 1.0)
    print(f"{len(real)} different real templates, {said['not tried']} not tried; findings of the rest: {dict(said)}")
    print(f"high findings without a plant: {high} of {tried} (95 % interval {low:.1%} to {most:.1%})")
    every = seen = 0
    for place, (name, plant) in enumerate(PLANTS.items()):
        step = max(1, len(usable) // arguments.each)
        hosts = (usable[place % step :: step] or usable)[: arguments.each]
        hits = sum(any(one.severity == "high" for one in check_template(plant(text), "t")) for text in hosts)
        every, seen = every + len(hosts), seen + hits
        print(f"| {name} | {hits} of {len(hosts)} |", flush=True)
    low, most = clopper_pearson(seen, every) if every else (0.0, 1.0)
    print(f"planted and found: {seen} of {every} (95 % interval {low:.1%} to {most:.1%})")


if __name__ == "__main__":
    main()
