"""The engine process: nothing but events on stdout, cancel, kill and resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.runs.events import Bye, Cancel, Error, Event, Hello, Progress, Start, State, decode_event, encode
from core.runs.folder import RunFolder
from core.specs import LoadOptions, SuiteSpec

pytestmark = [pytest.mark.engine]
ROOT = Path(__file__).resolve().parents[2]


def start(folder: RunFolder) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "core.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=os.environ | {"FORESHOT_CACHE": str(folder.path) + "-cache"},  # no run may look up another's numbers
    )
    send(worker, encode(Start(str(folder.path))))
    return worker


def send(worker: subprocess.Popen[bytes], data: bytes) -> None:
    assert worker.stdin
    worker.stdin.write(data)
    worker.stdin.flush()


def read(worker: subprocess.Popen[bytes]) -> list[Event | None]:
    assert worker.stdout
    with worker.stdout:
        events = [decode_event(line) for line in worker.stdout]
    worker.wait(30)
    assert worker.stdin
    worker.stdin.close()
    return events


def until_items(worker: subprocess.Popen[bytes]) -> None:
    """Wait for the first finished items, without reading what the worker says."""
    assert worker.stdout
    for line in worker.stdout:
        event = decode_event(line)
        if isinstance(event, Progress) and event.stage == "suite" and event.done > 0:
            return


def suite_run(model: Path, path: Path) -> RunFolder:
    spec = SuiteSpec(
        model=str(model), suites=("stereotype.occupation_gender",), load=LoadOptions(device="cpu", dtype="fp32")
    )
    return RunFolder.create(spec, path, resume=True)


def test_a_bad_model_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    events = read(start(suite_run(tmp_path / "nowhere", tmp_path / "run")))
    assert None not in events
    assert isinstance(events[0], Hello)
    error = next(event for event in events if isinstance(event, Error))
    assert error.message.startswith("There is nothing at")
    assert error.kind == "user"
    assert events[-1] == Bye(2)


@pytest.mark.model
def test_killed_then_resumed_equals_uninterrupted(small_model: Path, tmp_path: Path) -> None:
    whole = suite_run(small_model, tmp_path / "whole")
    events = read(start(whole))
    assert None not in events
    assert events[-1] == Bye(0)

    broken = suite_run(small_model, tmp_path / "broken")
    worker = start(broken)
    until_items(worker)
    worker.kill()
    read(worker)
    kept = set(broken.done())
    assert kept
    assert not broken.finished
    assert kept < set(whole.done())

    read(start(suite_run(small_model, tmp_path / "broken")))
    assert broken.finished
    assert len(list(broken.items())) == len(broken.done()), "an item was computed twice"
    expected, got = whole.read_json("report.json"), broken.read_json("report.json")
    assert got is not None
    assert expected is not None
    # what is scored together is packed otherwise after a resume: equal up to rounding, which in fp32 decides no item
    for uid, row in whole.done().items():
        other = broken.done()[uid]
        assert other["value"] == row["value"]
        assert other["logprob_more"] == pytest.approx(row["logprob_more"], abs=2e-3)
    assert [suite["effect"] for suite in got["suites"]] == [suite["effect"] for suite in expected["suites"]]


@pytest.mark.model
def test_cancel_keeps_what_is_finished(small_model: Path, tmp_path: Path) -> None:
    folder = suite_run(small_model, tmp_path / "run")
    worker = start(folder)
    until_items(worker)
    send(worker, encode(Cancel()))
    events = read(worker)
    assert events[-1] == Bye(130)
    assert any(isinstance(event, State) and event.detail.startswith("Cancelled") for event in events)
    assert folder.done()
    assert not folder.finished


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_no_orphan_after_its_parent_is_killed(small_model: Path, tmp_path: Path) -> None:
    folder = suite_run(small_model, tmp_path / "run")
    code = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-m', 'core.engine.worker'], stdin=subprocess.PIPE,"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        f"worker.stdin.write({encode(Start(str(folder.path)))!r}); worker.stdin.flush()\n"
        "print(worker.pid, flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout
    with parent.stdout:
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
