"""Time from process start to a painted window, side by side with a bare Qt window, in turn A B A B.

    python tests/benchmarks/bench_window.py [ROUNDS]

Prints the medians and the ratio; says whether torch is in the window's process (it must not be).
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOWN = """
from PySide6.QtCore import QEvent, QObject, QTimer
class Watch(QObject):
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint:
            QTimer.singleShot(0, app.quit)
        return False
watch = Watch(); window.installEventFilter(watch); window.show(); app.exec()
import sys; print("torch" in sys.modules)
import os; sys.stdout.flush(); os._exit(0)
"""
OURS = "from app.application import application, build_window\napp = application(); window = build_window()\n" + SHOWN
BARE = (
    "from PySide6.QtWidgets import QApplication, QMainWindow\napp = QApplication([]); window = QMainWindow()\n" + SHOWN
)


def timed(code: str, environment: dict[str, str]) -> float:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - start
    assert done.stdout.strip() == "False", "torch is in the window's process"
    return seconds


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 9
    with tempfile.TemporaryDirectory() as data:
        environment = os.environ | {"FORESHOT_DATA": data}
        environment.setdefault("QT_QPA_PLATFORM", "offscreen")
        timed(OURS, environment), timed(BARE, environment)  # warm
        pairs = [(timed(OURS, environment), timed(BARE, environment)) for _ in range(rounds)]
    ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / two for one, two in pairs)
    print(f"window shown {ours:.2f} s, bare Qt window {bare:.2f} s, ratio {ratio:.2f} (medians of {rounds}); no torch")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
