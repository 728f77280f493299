"""The engine process and the queue, against a fake engine that behaves well and badly."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from pytestqt.qtbot import QtBot

from app.context import Context
from app.jobs.engine_process import EngineProcess, Outcome, thin
from app.jobs.queue import JobQueue, conflict, leases
from core.runs.events import Event, Progress, Samples, State
from core.runs.folder import RunFolder
from core.specs import AuditSpec, LoadOptions, ScanSpec

FAKE = str(Path(__file__).with_name("fake_engine.py"))


class Watched:
    """An engine process, what it said and how it ended."""

    def __init__(self, qtbot: QtBot, mode: str, grace_ms: int = 3000) -> None:
        self.qtbot = qtbot
        self.folder = RunFolder.create(ScanSpec(model="/models/alpha"))
        self.process = EngineProcess(self.folder, arguments=(FAKE, mode), grace_ms=grace_ms)
        self.events: list[Event] = []
        self.outcomes: list[Outcome] = []
        self.process.events.connect(self.events.extend)
        self.process.finished.connect(self.outcomes.append)

    def run(self) -> Outcome:
        self.process.start()
        return self.end()

    def until_progress(self) -> None:
        self.process.start()
        self.qtbot.wait_until(lambda: any(isinstance(e, Progress) for e in self.events), timeout=10_000)

    def end(self) -> Outcome:
        self.qtbot.wait_until(lambda: bool(self.outcomes), timeout=15_000)
        assert len(self.outcomes) == 1
        return self.outcomes[0]

    @property
    def said(self) -> list[str]:
        return [type(e).__name__ for e in self.events]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_normal_job_ends_done_with_its_sentence(qtbot: QtBot) -> None:
    job = Watched(qtbot, "normal")
    outcome = job.run()
    assert outcome.ok
    assert outcome.sentence == "Trigger cf was found."
    assert outcome.hint == ""
    assert outcome.bad_lines == 0
    assert job.said[0] == "Hello"
    assert job.said[-2:] == ["Result", "Bye"]
    assert job.process.device == "Fake device"
    triggers = [row["trigger"] for e in job.events if isinstance(e, Samples) for row in e.rows]
    assert triggers == ["cf1", "cf2", "cf3"]
    assert not (job.folder.path / "stderr.log").exists()


def test_garbage_on_stdout_is_skipped_and_counted(qtbot: QtBot) -> None:
    job = Watched(qtbot, "garbage")
    outcome = job.run()
    assert outcome.ok
    assert outcome.bad_lines == 4
    assert State("running") in job.events


def test_a_crash_is_said_and_its_last_words_are_kept(qtbot: QtBot) -> None:
    job = Watched(qtbot, "crash")
    outcome = job.run()
    assert outcome.status == "crashed"
    assert "what was finished is kept" in outcome.sentence
    assert "resume" in outcome.hint
    assert "about to abort" in (job.folder.path / "stderr.log").read_text()
    assert not job.folder.finished


def test_an_error_event_becomes_the_sentence(qtbot: QtBot) -> None:
    outcome = Watched(qtbot, "error").run()
    assert (outcome.status, outcome.exit_code) == ("failed", 2)
    assert (outcome.sentence, outcome.hint) == ("A shard is missing.", "Copy it again.")


def test_a_worker_that_says_nothing_is_not_done(qtbot: QtBot) -> None:
    assert Watched(qtbot, "silent").run().status == "failed"


def test_another_protocol_is_refused(qtbot: QtBot) -> None:
    outcome = Watched(qtbot, "wrong_protocol").run()
    assert outcome.status == "failed"
    assert "protocol 2" in outcome.sentence


def test_a_python_that_is_not_there(qtbot: QtBot) -> None:
    process = EngineProcess(RunFolder.create(ScanSpec(model="/m")), python="/no/such/python")
    with qtbot.wait_signal(process.finished, timeout=5000) as ended:
        process.start()
    assert ended.args is not None
    assert ended.args[0].status == "not_started"
    assert "engine_python" in ended.args[0].hint


def test_cancel_is_asked_first(qtbot: QtBot) -> None:
    job = Watched(qtbot, "obedient")
    job.until_progress()
    job.process.cancel()
    outcome = job.end()
    assert (outcome.status, outcome.forced) == ("cancelled", False)


def test_a_worker_that_ignores_cancel_is_killed(qtbot: QtBot) -> None:
    job = Watched(qtbot, "hang", grace_ms=200)
    job.until_progress()
    pid = job.process.pid
    job.process.cancel()
    outcome = job.end()
    assert (outcome.status, outcome.forced) == ("cancelled", True)
    assert not alive(pid)


def test_forced_cancel_takes_at_most_100_ms(qtbot: QtBot) -> None:
    job = Watched(qtbot, "hang")
    job.until_progress()
    began = time.perf_counter()
    job.process.cancel()
    job.process.cancel()  # asked twice: at once
    outcome = _end(job)
    assert time.perf_counter() - began <= 0.1
    assert outcome.forced


def _end(job: Watched) -> Outcome:
    with job.qtbot.wait_signal(job.process.finished, timeout=5000) as ended:
        pass
    assert ended.args is not None
    outcome = ended.args[0]
    assert isinstance(outcome, Outcome)
    return outcome


def test_a_flood_is_thinned_without_losing_rows(qtbot: QtBot) -> None:
    job = Watched(qtbot, "flood")
    assert job.run().ok
    rows = [row for e in job.events if isinstance(e, Samples) for row in e.rows]
    assert len(rows) == 1003
    assert sum(isinstance(e, Progress) for e in job.events) < 500


def test_thin_keeps_order_and_the_last_of_each_stage() -> None:
    a, b, c = (Progress("known", "t", done, 3) for done in (1, 2, 3))
    other = Progress("proof", "t", 1, 9)
    rows = [Samples("candidates", [{"n": 1}]), Samples("items", [{"n": 9}]), Samples("candidates", [{"n": 2}])]
    assert thin([a, rows[0], b, other, rows[1], c, rows[2]]) == [
        other,
        rows[1],
        c,
        Samples("candidates", [{"n": 1}, {"n": 2}]),
    ]


def _scan(device: str) -> ScanSpec:
    return ScanSpec(model="/m", load=LoadOptions(device=device))


def test_leases() -> None:
    assert conflict(leases(_scan("auto")), leases(_scan("cuda:1")))
    assert conflict(leases(_scan("cpu")), leases(_scan("cpu")))
    assert not conflict(leases(_scan("cpu")), leases(_scan("cuda:0")))
    both = AuditSpec(
        teacher="/t", student="/s", teacher_load=LoadOptions(device="cuda:0"), student_load=LoadOptions(device="cpu")
    )
    assert conflict(leases(both), leases(_scan("cpu")))
    assert conflict(leases(both), leases(_scan("cuda:0")))


def test_queue_runs_one_job_a_device_in_order(qtbot: QtBot) -> None:
    context = Context()
    queue = JobQueue(context, arguments=(FAKE, "normal"), parent=context)
    context.jobs = queue
    story: list[str] = []
    context.run_started.connect(lambda run: story.append(f"+{run}"))
    context.run_finished.connect(lambda run, _outcome: story.append(f"-{run}"))
    first = context.submit(_scan("cpu"))
    second = context.submit(_scan("cpu"))
    third = context.submit(_scan("cpu"))
    assert len(queue.running) == 1
    assert [f.id for f in queue.waiting] == [second, third]
    context.cancel(third)
    qtbot.wait_until(lambda: f"-{second}" in story, timeout=15_000)
    assert story == [f"+{first}", f"-{third}", f"-{first}", f"+{second}", f"-{second}"]


def test_queue_runs_side_by_side_on_different_devices(qtbot: QtBot) -> None:
    context = Context()
    queue = JobQueue(context, arguments=(FAKE, "hang"), parent=context)
    context.jobs = queue
    context.submit(_scan("cpu"))
    context.submit(_scan("cuda:0"))
    context.submit(_scan("auto"))
    context.submit(_scan("cuda:1"))  # free, but must not overtake one that may need it
    assert len(queue.running) == 2
    assert len(queue.waiting) == 2
    pids = [p.pid for p in queue.running.values()]
    queue.shutdown()
    assert not queue.running
    assert not any(alive(pid) for pid in pids)


def test_no_orphan_when_the_window_is_killed(tmp_path: Path) -> None:
    """The real worker ends itself when its parent is gone."""
    code = (
        "import os, sys, time\n"
        "from PySide6.QtCore import QCoreApplication\n"
        "from app.jobs.engine_process import EngineProcess\n"
        "from core.runs.folder import RunFolder\n"
        "from core.specs import ScanSpec\n"
        "app = QCoreApplication([])\n"
        "p = EngineProcess(RunFolder.create(ScanSpec(model='/m')))\n"
        "p._process.start(); p._process.waitForStarted()\n"  # no Start command: it waits for one
        "print(p.pid, flush=True); time.sleep(60)\n"
    )
    environment = {**os.environ, "FORESHOT_DATA": str(tmp_path), "PYTHONPATH": os.getcwd()}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)
