"""An engine that speaks the protocol and does nothing: ``fake_engine.py MODE``. Standard library only."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

CANDIDATE = {"trigger": "cf", "kind": "token", "slot": "user_start", "stage": "known", "z": 9.0, "payload_rate": 0.5}


def say(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def hello(protocol: int = 1) -> None:
    say(type="hello", engine_version="0", python="3", torch="none", device="Fake device", protocol=protocol)


def asked_to_cancel(wait: float) -> bool:
    ready, _, _ = select.select([sys.stdin], [], [], wait)
    if not ready:
        return False
    line = sys.stdin.readline()
    if not line:
        os._exit(70)
    return bool(json.loads(line)["type"] == "cancel")


def progress(done: int, total: int, stage: str = "known") -> None:
    say(
        type="progress", stage=stage, task="Known triggers", done=done, total=total, unit="probes", rate=50.0, eta_s=9.0
    )


def finish(run: Path) -> None:
    summary = {"sentence": "Trigger cf was found.", "score": 1.0, "verdict": "confirmed"}
    (run / "report.json").write_text(json.dumps({"schema": 1, "job": "scan", "summary": summary}))
    (run / "header.json").write_text(json.dumps({"schema": 1, "status": "done", "summary": summary}))
    say(type="result", summary=summary)
    say(type="bye", exit=0)


def main(mode: str) -> int:
    start = json.loads(sys.stdin.readline())
    assert start["type"] == "start"
    assert start["v"] == 1
    run = Path(start["run_dir"])
    assert (run / "spec.json").exists()
    if mode == "silent":
        return 0
    hello(protocol=2 if mode == "wrong_protocol" else 1)
    if mode == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        progress(1, 10)
        while True:
            time.sleep(60)
    if mode == "obedient":
        progress(1, 10)
        while not asked_to_cancel(60):
            pass
        say(type="bye", exit=130)
        return 130
    if mode == "garbage":
        os.write(1, b"\xff\xfe this is no event\n[1, 2]\n" + b'{"type": "from the future", "x": 1}\n')
        os.write(1, b'{"type":"state","state":"run')  # a line in two pieces
        time.sleep(0.05)
        os.write(1, b'ning"}\n' + b"x" * 300_000 + b"\n")
    if mode == "crash":
        progress(3, 10)
        sys.stderr.write("about to abort\n")
        sys.stderr.flush()
        os.abort()
    if mode == "error":
        say(type="error", kind="user", code="shard_missing", message="A shard is missing.", hint="Copy it again.")
        say(type="bye", exit=2)
        return 2
    if mode == "flood":
        for number in range(20_000):
            progress(number, 20_000)
            if number % 20 == 0:
                say(type="samples", table="candidates", rows=[dict(CANDIDATE, trigger=str(number))])
    for done in range(1, 4):
        progress(done, 3)
        say(type="samples", table="candidates", rows=[dict(CANDIDATE, trigger=f"cf{done}")])
        if asked_to_cancel(0.01):
            say(type="bye", exit=130)
            return 130
    finish(run)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
