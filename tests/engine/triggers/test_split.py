"""Equality in fp32, through all stages of a scan of a tiny model: two processes = one, resumed = uninterrupted."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from core.engine.triggers import scan as module
from core.errors import Cancelled
from core.runs.events import Event, Progress
from core.runs.folder import RunFolder
from core.specs import LoadOptions, ScanSpec
from tests.engine.lm.conftest import Maker
from tests.engine.triggers.fake import Watcher
from tests.engine.triggers.small_scan import shrink

pytestmark = pytest.mark.engine
STAGES = ("known", "payload", "trigger", "proof")


@pytest.fixture
def model(make: Maker) -> Path:
    """Random weights with little attention: answers hardly depend on the prompt, so payloads are found and proved."""
    folder = make("llama", max_position_embeddings=1024)
    weights = load_file(folder / "model.safetensors")
    for name in weights:
        if "o_proj" in name:
            weights[name] *= 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def small(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``small(out, watcher, resume=…)`` → report of the cut-down scan in this process."""
    shrink(monkeypatch)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "64")  # one thread: so many the processes of the tests have, too
    spec = ScanSpec(model=str(model), load=LoadOptions(device="cpu", dtype="fp32"))

    def run(out: str, watcher: Watcher | None = None, *, resume: bool = False) -> dict[str, Any]:
        folder = RunFolder.create(spec, tmp_path / out, resume=resume)
        return module.run_scan(spec, folder, watcher or Watcher())

    return run


def processes(model: Path, out: Path, *more: str, checks: tuple[int, int] = (0, 0)) -> list[tuple[int, str]]:
    """Exit code and stderr of each of two processes that scan together; ``checks``: see ``small_scan``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "64", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = ["scan", str(model), "--device", "cpu", "--dtype", "fp32", "--out", str(out), *more]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.engine.triggers.small_scan", str(checks[rank]), *command],
            env=os.environ | world | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        return [(one.wait(), said) for one in started for _, said in [one.communicate(timeout=250)]]
    finally:
        for one in started:
            one.kill()
            one.communicate()


def numbers(report: dict[str, Any], *apart: str) -> dict[str, Any]:
    """All that a report holds but times; ``apart``: counts that are left out too."""
    left = {name: value for name, value in report["counts"].items() if name not in apart}
    return json.loads(json.dumps({**report, "timing": None, "counts": left}))


def test_two_processes_report_what_one_reports(small: Any, model: Path, tmp_path: Path) -> None:
    ended = processes(model, tmp_path / "two")
    assert [code for code, _ in ended] == [0, 0], ended
    alone = small("one")
    # every stage had something to do, the proof against controls too
    assert len(alone["payloads"]) > 2
    assert any(row["kind"] == "reconstructed" for row in alone["candidates"])
    assert any(finding["controls_rates"] for finding in alone["findings"])
    assert numbers(json.loads((tmp_path / "two" / "report.json").read_bytes())) == numbers(alone)
    items = [list(RunFolder.open(tmp_path / out).items()) for out in ("one", "two")]
    assert items[0] == items[1]


def test_two_cancelled_processes_go_on_and_report_what_one_reports(small: Any, model: Path, tmp_path: Path) -> None:
    ended = processes(model, tmp_path / "two", checks=(150, 0))
    assert [code for code, _ in ended] == [130, 0], ended
    kept = list(RunFolder.open(tmp_path / "two").items())
    assert kept
    ended = processes(model, tmp_path / "two", "--resume")
    assert [code for code, _ in ended] == [0, 0], ended
    assert list(RunFolder.open(tmp_path / "two").items())[: len(kept)] == kept
    report = json.loads((tmp_path / "two" / "report.json").read_bytes())
    assert numbers(report, "generated") == numbers(small("one"), "generated")


def test_a_process_that_is_lost_ends_the_run_with_one_sentence(model: Path, tmp_path: Path) -> None:
    (code, said), (other, _) = processes(model, tmp_path / "two", checks=(0, 40))
    assert (code, other) == (3, 9), said
    assert "Another process of this run has ended" in said
    assert not RunFolder.open(tmp_path / "two").finished


class StopIn(Watcher):
    """Cancels so many batches after a stage has begun."""

    def __init__(self, stage: str, checks: int) -> None:
        super().__init__()
        self.stage, self.checks = stage, checks

    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Progress) and event.stage == self.stage and self._left is None:
            self._left = self.checks


@pytest.mark.parametrize("stage", STAGES)
def test_a_scan_that_was_stopped_in_any_stage_comes_to_the_same_report(small: Any, stage: str) -> None:
    with pytest.raises(Cancelled):
        small("stopped", StopIn(stage, 6))
    resumed = small("stopped", resume=True)
    assert numbers(resumed, "generated") == numbers(small("whole"), "generated")
