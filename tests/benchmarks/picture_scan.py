"""A scan in the window from start to promoted finding, with pictures: what the docs show is a real run.

    QT_QPA_PLATFORM=offscreen python tests/benchmarks/picture_scan.py MODEL --adapter DIR [--preset standard]
        [--out build/window-scan] [--stages known,payload,trigger,proof] [--run FINISHED]

A picture is taken in the middle of each named stage, one of the finished scan, and one after its finding was promoted;
each light and dark. With --run, a scan that was finished before is shown, and only the last two are taken.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication

from app.application import application, build_window
from app.pages.scan import ScanPage
from core.runs.annotations import read_annotations

POLL_S = 0.05
SETTLE_S = 0.6
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
    arguments.out.mkdir(parents=True, exist_ok=True)

    app = application()
    window = build_window()
    window.resize(1360, 850)
    window.show()

    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(POLL_S)

    def picture(name: str) -> None:
        for scheme in ("dark", "light"):
            window.set_scheme(scheme)
            wait(SETTLE_S)
            assert window.grab().save(str(arguments.out / f"{name}-{scheme}.png"))

    ended: list[object] = []
    window.context.run_finished.connect(lambda _, outcome: ended.append(outcome))

    def watch(page: ScanPage) -> None:
        window.open_page("scan")
        page.preset_box.setCurrentText(arguments.preset)
        picture("0-before")
        page.start.click()
        stages = list(filter(None, arguments.stages.split(",")))
        waiting = list(stages)
        while not ended:
            wait(SETTLE_S)
            side = page.sides.get("")
            for name in list(waiting):
                at = side.progress.get(name) if side else None
                if at is not None and at.total >= LONG and at.done >= at.total / 2:
                    waiting.remove(name)
                    picture(f"{1 + stages.index(name)}-{name}")

    window.open_arguments([f"{arguments.model}+{arguments.adapter}" if arguments.adapter else arguments.model])
    page = window.page("scan")
    assert isinstance(page, ScanPage)
    while page.choice() is None or page.choice().card is None:
        wait(SETTLE_S)
    if arguments.run:
        window.open_run(arguments.run)
    else:
        watch(page)
    wait(2 * SETTLE_S)
    picture("5-found")
    page.detail.judged.emit("promote", REASON)
    wait(SETTLE_S)
    assert [one.reason for one in read_annotations(page.run_path)] == [REASON], "no finding to promote"
    picture("6-promoted")
    print(page.run_path)
    window.close()
    app.quit()


if __name__ == "__main__":
    main()
