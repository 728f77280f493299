"""The index over run folders: SQLite, rebuilt from the folders whenever it is lost or broken.

Files are the truth. Nothing is stored here that the folders do not say.
"""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from core.errors import ForeshotError
from core.runs.folder import RunFolder
from core.specs import AuditSpec, CanarySpec, DistillSpec, SoftLabelsSpec
from core.types import ModelRef

Status = Literal["done", "failed", "interrupted", "running"]


@dataclass(frozen=True)
class RunRow:
    """One line of the history.

    Attributes:
        id: name of the folder. path: the folder itself.
        job: ``scan``, ``suite`` or ``audit``. models: short names, ``teacher → student`` where there are two.
        status: ``interrupted`` where ``header.json`` is absent and nobody runs it.
        created: local time, seconds. summary: the run's own sentence, or "".
    """

    id: str
    path: Path
    job: str
    models: str
    status: Status
    created: datetime.datetime
    summary: str


def _step_1_runs(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE runs (path TEXT PRIMARY KEY, id TEXT NOT NULL, job TEXT NOT NULL, models TEXT NOT NULL,"
        " status TEXT NOT NULL, created REAL NOT NULL, summary TEXT NOT NULL) STRICT"
    )


def _step_2_stamp(connection: sqlite3.Connection) -> None:
    """``stamp`` sums the change times of spec.json and header.json: an unchanged folder is not read again."""
    connection.execute("ALTER TABLE runs ADD COLUMN stamp INTEGER NOT NULL DEFAULT 0")
    connection.execute("CREATE INDEX runs_created ON runs (created DESC)")


MIGRATIONS: Final[tuple[Callable[[sqlite3.Connection], None], ...]] = (_step_1_runs, _step_2_stamp)


class RunIndex:
    """History of runs in ``runs_dir`` (and of folders elsewhere that were added).

    A broken file is set aside as ``<name>.broken`` and rebuilt; a file written by a newer version is left alone and
    an index in memory is used instead. ``notes`` says so.
    """

    def __init__(self, path: Path, runs_dir: Path) -> None:
        self.path = path
        self.runs_dir = runs_dir
        self.notes: list[str] = []
        self._connection = self._open()
        self.sync()

    def close(self) -> None:
        self._connection.close()

    # opening

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self._migrated(str(self.path))
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_broken(error):
                self.notes.append(f"The run index cannot be written ({error}); the history is read from the folders.")
                return self._migrated(":memory:")
            self._set_aside()
            self.notes.append("The run index was damaged; it was rebuilt from the run folders.")
            return self._migrated(str(self.path))
        except OSError as error:
            self.notes.append(f"The run index cannot be written ({error.strerror}); the history is read anew.")
            return self._migrated(":memory:")

    def _migrated(self, where: str) -> sqlite3.Connection:
        connection = sqlite3.connect(where, isolation_level=None)
        try:
            version: int = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                connection.close()
                self.notes.append("The run index was written by a newer version; it is left as it is.")
                return self._migrated(":memory:")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check")
            for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
                connection.execute("BEGIN IMMEDIATE")
                step(connection)
                connection.execute(f"PRAGMA user_version = {number}")
                connection.execute("COMMIT")
            connection.execute("SELECT path, stamp FROM runs LIMIT 1").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _set_aside(self) -> None:
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.path.replace(self.path.with_name(self.path.name + ".broken"))

    # keeping up with the folders

    def sync(self) -> None:
        """Read folders that are new or changed, forget those that are gone."""
        known: dict[str, int] = dict(self._connection.execute("SELECT path, stamp FROM runs"))
        here = {str(p) for p in self.runs_dir.iterdir() if p.is_dir()} if self.runs_dir.is_dir() else set()
        self._connection.execute("BEGIN")
        for text in sorted(here | known.keys()):
            stamp = _stamp(Path(text))
            if stamp == 0 and text in known:
                self._connection.execute("DELETE FROM runs WHERE path = ?", (text,))
            elif stamp and known.get(text) != stamp:
                self._write(Path(text), stamp)
        self._connection.execute("COMMIT")

    def add(self, folder: Path) -> None:
        """Index one folder now, also one outside ``runs_dir``. A folder that is no run is ignored."""
        folder = folder.resolve()
        stamp = _stamp(folder)
        if stamp:
            self._write(folder, stamp)

    def _write(self, path: Path, stamp: int) -> None:
        row = read_run(path)
        if row is not None:
            self._connection.execute(
                "INSERT OR REPLACE INTO runs (path, id, job, models, status, created, summary, stamp)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (str(path), row.id, row.job, row.models, row.status, row.created.timestamp(), row.summary, stamp),
            )

    # reading

    def list(self, *, running: Collection[str] = (), search: str = "", limit: int = 1000) -> list[RunRow]:
        """Newest first. ``running`` are ids of runs in progress; ``search`` looks in id, job, models and summary."""
        rows = self._connection.execute(
            "SELECT id, path, job, models, status, created, summary FROM runs"
            " WHERE instr(lower(id || ' ' || job || ' ' || models || ' ' || summary || ' ' || status), lower(?)) > 0"
            " ORDER BY created DESC, id DESC LIMIT ?",
            (search, limit),
        )
        return [
            RunRow(
                id_,
                Path(path),
                job,
                models,
                "running" if id_ in running else cast(Status, status),
                datetime.datetime.fromtimestamp(created).astimezone(),
                summary,
            )
            for id_, path, job, models, status, created, summary in rows
        ]


def read_run(path: Path) -> RunRow | None:
    """What a run folder says about itself; None when its spec cannot be read."""
    try:
        folder = RunFolder.open(path)
    except (ForeshotError, OSError):
        return None
    spec = folder.spec
    if isinstance(spec, SoftLabelsSpec | CanarySpec):
        names = [ModelRef.parse(text).name for text in (spec.teacher, spec.student)]
    elif isinstance(spec, AuditSpec):
        names = [ModelRef.parse(text).name for text in (spec.teacher, spec.student) if text]
    elif isinstance(spec, DistillSpec):
        source = spec.plan.stages[0].student.source if spec.plan.stages else ""
        names = [spec.ref.name, spec.ref.name if source == "teacher" else ModelRef.parse(source).name]
    else:
        names = [spec.ref.name]
    header = folder.read_json("header.json")
    status: Status = "interrupted"
    summary = ""
    if isinstance(header, dict):
        status = "failed" if header.get("status") == "failed" else "done"
        summary = _sentence(header.get("summary"))
    job = type(spec).__name__.removesuffix("Spec").lower()
    created = datetime.datetime.fromtimestamp((path / "spec.json").stat().st_mtime).astimezone()
    return RunRow(path.name, path, job, " → ".join(names), status, created, summary)


def _sentence(summary: Any) -> str:
    if isinstance(summary, dict):
        text = summary.get("sentence", "")
        return text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return ""


def _stamp(path: Path) -> int:
    """Sum of the change times (ns) of the two files that decide a row; 0 where there is no spec."""
    total = 0
    for name in ("spec.json", "header.json"):
        try:
            total += (path / name).stat().st_mtime_ns
        except OSError:
            if name == "spec.json":
                return 0
    return total


def _is_broken(error: sqlite3.OperationalError) -> bool:
    """Missing tables or columns mean a file that is not ours; locks and read-only disks do not."""
    return any(word in str(error) for word in ("no such", "malformed", "already exists", "not a database"))
