"""A scan in the window from start to promoted finding, with pictures: what the docs show is a real run.

    python -m tests.benchmarks.picture_scan MODEL --adapter DIR [--preset standard] [--out build/window-scan]
        [--stages known,payload,trigger,proof] [--run FINISHED]

A picture is taken in the middle of each named stage, one of the finished scan, and one after its finding was promoted;
each light and dark. With --run, a scan that was finished before is shown, and only the last two are taken.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from app.pages.scan import ScanPage
from core.runs.annotations import read_annotations
from tests.benchmarks.picture import Studio

LONG = 10
"""Steps of a part of a stage that is worth a picture."""
REASON = "Held on all prompts that the search never saw, and no control reaches it; to be reported."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--adapter")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--out", type=Path, default=Path("build/window-scan"))
    parser.add_argument("--stages", default="known,payload,trigger,proof")
    parser.add_argument("--run", type=Path, help="a finished scan")
    arguments = parser.parse_args()
    studio = Studio(arguments.out)
    window = studio.window
    page = window.page("scan")
    assert isinstance(page, ScanPage)
    window.open_arguments([f"{arguments.model}+{arguments.adapter}" if arguments.adapter else arguments.model])
    studio.until(lambda: (choice := page.choice()) and choice.card)
    if arguments.run:
        window.open_run(arguments.run)
    else:
        watch(studio, page, arguments.preset, list(filter(None, arguments.stages.split(","))))
    studio.wait()
    studio.picture("5-found")
    page.detail.judged.emit("promote", REASON)
    studio.wait()
    assert [one.reason for one in read_annotations(page.run_path)] == [REASON], "no finding to promote"
    studio.picture("6-promoted")
    print(page.run_path)
    studio.close()


def watch(studio: Studio, page: ScanPage, preset: str, stages: list[str]) -> None:
    """Start the scan and take pictures while it runs."""
    studio.window.open_page("scan")
    page.preset_box.setCurrentText(preset)
    studio.picture("0-before")
    page.start.click()
    waiting = list(stages)
    while not studio.ended:
        studio.wait()
        side = page.sides.get("")
        for name in list(waiting):
            at = side.progress.get(name) if side else None
            if at is not None and at.total >= LONG and at.done >= at.total / 2:
                waiting.remove(name)
                studio.picture(f"{1 + stages.index(name)}-{name}")


if __name__ == "__main__":
    main()
