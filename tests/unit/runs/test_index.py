"""The run index: lists what the folders say, migrates step by step, and is rebuilt when it is broken."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from core.runs.folder import RunFolder, data_dir
from core.runs.index import MIGRATIONS, RunIndex
from core.specs import AuditSpec, ScanSpec


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    root = data_dir() / "runs"
    scan = RunFolder.create(ScanSpec(model="/models/alpha"), root / "20260101-000000-scan-aaaa")
    scan.finish("done", {"sentence": "No evidence."})
    RunFolder.create(AuditSpec(teacher="/m/big+/m/adapter", student="/m/small"), root / "20260102-000000-audit-bbbb")
    failed = RunFolder.create(ScanSpec(model="/models/beta"), root / "20260103-000000-scan-cccc")
    failed.finish("failed", {"sentence": "The folder is empty."})
    for day, name in enumerate(sorted(p.name for p in root.iterdir())):
        os.utime(root / name / "spec.json", (1_700_000_000 + day, 1_700_000_000 + day))
    return root


@pytest.fixture
def index_path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def test_lists_newest_first_with_status_models_and_sentence(runs: Path, index_path: Path) -> None:
    index = RunIndex(index_path, runs)
    rows = index.list()
    assert [(r.job, r.models, r.status, r.summary) for r in rows] == [
        ("scan", "beta", "failed", "The folder is empty."),
        ("audit", "big + adapter → small", "interrupted", ""),
        ("scan", "alpha", "done", "No evidence."),
    ]
    assert index.list(running={rows[1].id})[1].status == "running"
    assert [r.models for r in index.list(search="ALPHA")] == ["alpha"]
    index.close()


def test_sync_sees_new_changed_and_deleted_folders(runs: Path, index_path: Path) -> None:
    index = RunIndex(index_path, runs)
    RunFolder.open(runs / "20260102-000000-audit-bbbb").finish("done", {"sentence": "One transferred."})
    shutil.rmtree(runs / "20260101-000000-scan-aaaa")
    RunFolder.create(ScanSpec(model="/models/new"))
    index.sync()
    assert {(r.models, r.status) for r in index.list()} == {
        ("new", "interrupted"),
        ("beta", "failed"),
        ("big + adapter → small", "done"),
    }
    index.close()


def test_a_folder_elsewhere_can_be_added(runs: Path, index_path: Path, tmp_path: Path) -> None:
    index = RunIndex(index_path, runs)
    RunFolder.create(ScanSpec(model="/models/out"), tmp_path / "build" / "demo")
    index.add(tmp_path / "build" / "demo")
    index.sync()
    assert "demo" in {r.id for r in index.list()}
    index.close()


@pytest.mark.parametrize("damage", ["garbage", "torn", "foreign table", "empty pages"])
def test_a_damaged_index_is_set_aside_and_rebuilt(runs: Path, index_path: Path, damage: str) -> None:
    RunIndex(index_path, runs).close()
    if damage == "garbage":
        index_path.write_bytes(b"this is not a database at all" * 200)
    elif damage == "torn":
        index_path.write_bytes(index_path.read_bytes()[:5000])
    elif damage == "empty pages":
        data = index_path.read_bytes()
        index_path.write_bytes(data[:100] + bytes(len(data) - 100))
    else:
        index_path.unlink()
        with sqlite3.connect(index_path) as connection:
            connection.execute("CREATE TABLE runs (something INTEGER)")
        connection.close()
    index = RunIndex(index_path, runs)
    assert len(index.list()) == 3
    assert index.notes == ["The run index was damaged; it was rebuilt from the run folders."]
    assert index_path.with_name("index.sqlite.broken").exists()
    index.close()
    assert len(RunIndex(index_path, runs).list()) == 3


def test_old_index_is_migrated_step_by_step(runs: Path, index_path: Path) -> None:
    old = sqlite3.connect(index_path)
    MIGRATIONS[0](old)
    old.execute("PRAGMA user_version = 1")
    old.execute("INSERT INTO runs VALUES ('/gone', 'gone', 'scan', 'm', 'done', 1.0, '')")
    old.commit()
    old.close()
    index = RunIndex(index_path, runs)
    assert len(index.list()) == 3
    assert index.notes == []
    index.close()
    check = sqlite3.connect(index_path)
    assert check.execute("PRAGMA user_version").fetchone()[0] == len(MIGRATIONS)
    check.close()


def test_newer_index_is_left_alone(runs: Path, index_path: Path) -> None:
    newer = sqlite3.connect(index_path)
    newer.execute("PRAGMA user_version = 999")
    newer.close()
    before = index_path.read_bytes()
    index = RunIndex(index_path, runs)
    assert len(index.list()) == 3
    assert "newer version" in index.notes[0]
    index.close()
    assert index_path.read_bytes() == before


def test_unreadable_spec_is_skipped(runs: Path, index_path: Path) -> None:
    (runs / "20260103-000000-scan-cccc" / "spec.json").write_text("{")
    assert {r.models for r in RunIndex(index_path, runs).list()} == {"alpha", "big + adapter → small"}
