"""Every variant of distillation, started in the window, with pictures while it learns and at its end.

    python -m tests.benchmarks.picture_distil TEACHER STUDENT [--out build/window-distil] [--limit 24] [--epochs 2]
        [--only standard,self]

TEACHER and STUDENT are folders or BASE+ADAPTER. Printed, a line a run: variant, run folder, KL at step 0 and the end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from app.pages.distil import LOSS, DistilPage
from core.specs.distill import VARIANTS
from tests.benchmarks.picture import Studio

TASK = "(?i)write|explain"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher")
    parser.add_argument("student")
    parser.add_argument("--out", type=Path, default=Path("build/window-distil"))
    parser.add_argument("--limit", type=int, default=24, help="prompts")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--only", default=",".join(VARIANTS))
    arguments = parser.parse_args()
    studio = Studio(arguments.out)
    page = studio.window.page("distil")
    assert isinstance(page, DistilPage)
    studio.window.open_arguments([arguments.teacher, arguments.student])
    context = studio.window.context
    studio.until(lambda: all(choice and choice.card for choice in (context.teacher, context.student)))
    studio.window.open_page("distil")
    for variant in filter(None, arguments.only.split(",")):
        run(studio, page, variant, arguments.limit, arguments.epochs)
    studio.close()


def run(studio: Studio, page: DistilPage, variant: str, limit: int, epochs: int) -> None:
    recipe, before = page.recipe, len(studio.ended)
    for box, value in ((recipe.variant, variant), (recipe.build, "layer_drop")):
        box.setCurrentIndex(box.findData(value))
    recipe.limit.setValue(limit)
    recipe.epochs.setValue(epochs)
    recipe.drop_layers.setValue(6)
    if variant == "task-specific":
        recipe.task.setText(TASK)
    studio.until(page.start.isEnabled)
    page.start.click()
    studio.until(lambda: len(studio.ended) > before or len(page.curves.curves[LOSS].points) > 4)
    studio.picture(f"{variant}-learning")
    studio.until(lambda: len(studio.ended) > before)
    studio.wait()
    studio.picture(f"{variant}-finished")
    assert page.run is not None
    rows = page.table.rows
    assert page.run.finished, f"{variant} did not reach its end: {studio.ended[-1]}"
    print(variant, page.run.path, f"KL {rows[0].metrics['kl']:.3f} → {rows[-1].metrics['kl']:.3f}", flush=True)


if __name__ == "__main__":
    main()
