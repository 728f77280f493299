"""A run folder survives torn writes, full disks and being opened half finished."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from core.errors import EnvironmentFault, InputError
from core.runs import folder as folder_module
from core.runs.folder import RunFolder, claimed
from core.specs import ScanSpec

SPEC = ScanSpec(model="m")
ROOT = Path(__file__).resolve().parents[3]


def test_a_torn_last_line_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    run = RunFolder.create(SPEC, tmp_path / "run")
    run.append_items([{"key": "a", "value": 1}, {"key": "b", "value": 2}])
    with (run.path / "items.jsonl").open("ab") as stream:
        stream.write(b'{"key": "c", "val')
    again = RunFolder.create(SPEC, tmp_path / "run", resume=True)
    again.append_items([{"key": "d", "value": 4}])
    assert sorted(again.done()) == ["a", "b", "d"]
    assert all(json.loads(line) for line in (run.path / "items.jsonl").read_bytes().splitlines())


def test_a_run_without_header_is_unfinished_and_a_finished_one_starts_anew(tmp_path: Path) -> None:
    run = RunFolder.create(SPEC, tmp_path / "run")
    run.append_items([{"key": "a"}])
    assert not run.finished
    run.finish("done", {"sentence": "x"})
    assert RunFolder.open(tmp_path / "run").finished
    assert RunFolder.create(SPEC, tmp_path / "run", resume=True).done() == {}


def test_another_spec_does_not_resume(tmp_path: Path) -> None:
    RunFolder.create(SPEC, tmp_path / "run").append_items([{"key": "a"}])
    assert RunFolder.create(ScanSpec(model="other"), tmp_path / "run", resume=True).done() == {}


def test_a_full_disk_is_one_sentence_and_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create(SPEC, tmp_path / "run")
    run.write_json("report.json", {"old": True})

    def full(_: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module.os, "fsync", full)
    with pytest.raises(EnvironmentFault, match=r"The disk is full: report\.json .* Free some space"):
        run.write_json("report.json", {"old": False})
    with pytest.raises(EnvironmentFault, match="The disk is full"):
        run.append_items([{"key": "a"}])
    assert run.read_json("report.json") == {"old": True}
    assert not list(run.path.glob("*.tmp"))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a run: it has no spec\.json"):
        RunFolder.open(tmp_path)
    (tmp_path / "spec.json").write_text('{"job": "unheard of"}')
    with pytest.raises(InputError, match="cannot be read"):
        RunFolder.open(tmp_path)


def test_a_newer_spec_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text('{"job": "scan", "model": "m", "version": 99}')
    with pytest.raises(InputError, match="newer version"):
        RunFolder.open(tmp_path)


def test_starting_anew_leaves_nothing_that_the_old_spec_made(tmp_path: Path) -> None:
    path = tmp_path / "run"
    RunFolder.create(ScanSpec(model="m"), path)
    made = ("items.jsonl", "registration.json", "copies/canary-0/adapter.bin", "sources/clean/data.json")
    for name in made:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("x")
    RunFolder.create(ScanSpec(model="m", seed=1), path, resume=True)
    assert not [name for name in made if (path / name).exists()]


def test_a_second_process_does_not_write_to_a_claimed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "BUSY_S", 0.2)
    code = (
        "import sys; from pathlib import Path; from core.runs.folder import claimed\n"
        "with claimed(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="Another process is writing"), claimed(tmp_path / "run"):
            pytest.fail("two processes hold one folder")
        other.kill()  # whoever dies lets go
    with claimed(tmp_path / "run"), claimed(tmp_path / "run"):
        pass
