"""One real demo run, shared by the tests that read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


class DemoRun(NamedTuple):
    path: Path
    output: str
    card: dict[str, Any]


def cli(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m core …`` as a user runs it. On one core without bf16 the demo takes 39 min."""
    return subprocess.run(
        [sys.executable, "-m", "core", *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=4400,
    )


@pytest.fixture(scope="session")
def demo_run(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo from the command line. ``FORESHOT_DEMO_RUN`` names a finished one, to look again without waiting."""
    stated = os.environ.get("FORESHOT_DEMO_RUN")
    path = Path(stated) if stated else tmp_path_factory.mktemp("demo") / "run"
    output = ""
    if not stated:
        done = cli("demo", "--out", str(path), FORESHOT_MODEL=str(small_model))
        assert done.returncode == 0, done.stderr
        output = done.stdout
    return DemoRun(path, output, json.loads((path / "scorecard.json").read_bytes()))
