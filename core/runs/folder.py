"""A run is a folder; files are the truth.

``spec.json`` comes first and ``header.json`` last: a folder without a header was interrupted and can be resumed.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core import __version__
from core.errors import EnvironmentFault, InputError
from core.specs import JobSpec, decode_spec, encode_spec


def data_dir() -> Path:
    """Where runs live unless ``--out`` says otherwise (``FORESHOT_DATA`` overrides)."""
    override = os.environ.get("FORESHOT_DATA")
    if override:
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_data_dir("foreshot", appauthor=False))


def new_run_id(job: str) -> str:
    """Sortable and readable: ``20261124-174501-scan-3f9c``."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{job}-{secrets.token_hex(2)}"


def write_atomic(path: Path, data: bytes) -> None:
    """Write beside, flush to disk, rename: a reader never sees half a file. A full disk is an EnvironmentFault."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise disk_fault(error, path) from error


def disk_fault(error: OSError, path: Path) -> EnvironmentFault:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EnvironmentFault(
            "disk_full",
            f"The disk is full: {path.name} could not be written to {path.parent}.",
            "Free some space and resume the run; what was finished is kept.",
        )
    return EnvironmentFault(
        "cannot_write",
        f"{path} cannot be written ({error.strerror}).",
        "Choose a folder that you may write to (--out).",
    )


BUSY_S = 5.0
"""A process that was told to stop has so long to leave its folder to the next one."""


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """Hold the run folder ``path``, so that no second process writes to it; again in the same process is allowed.

    The system lets go when the process ends, however it ends. Raises InputError where another process holds it.
    """
    import filelock

    lock = filelock.FileLock(path.resolve() / ".lock", timeout=BUSY_S, is_singleton=True, thread_local=False)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise InputError(
            "run_in_use",
            f"Another process is writing to {path}.",
            "Wait until it has ended, or write to another folder (--out).",
        ) from None
    except (OSError, NotImplementedError):
        yield  # a file system without locks; a folder that cannot be written is said where it is written
        return
    try:
        yield
    finally:
        lock.release()


def _is_of(path: Path, spec: JobSpec) -> bool:
    """Whether the file says what ``spec`` says; one of an earlier version lacks what was added since."""
    try:
        return decode_spec(path.read_bytes()) == spec
    except (OSError, InputError):
        return False


class RunFolder:
    """One run on disk.

    Attributes:
        path: the folder.
        spec: what the job was told.
    """

    def __init__(self, path: Path, spec: JobSpec) -> None:
        self.path = path
        self.spec = spec

    @property
    def id(self) -> str:
        return self.path.name

    @classmethod
    def create(cls, spec: JobSpec, path: Path | None = None, *, resume: bool = False) -> RunFolder:
        """Make the folder and write ``spec.json``. With ``resume``, an unfinished folder of the same spec goes on."""
        job = type(spec).__name__.removesuffix("Spec").lower()
        path = path or data_dir() / "runs" / new_run_id(job)
        existing = path / "spec.json"
        if existing.exists():
            if resume and not (path / "header.json").exists() and _is_of(existing, spec):
                return cls(path, spec)
            cls._clear(path)
        try:
            (path / "artifacts").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_fault(error, path) from error
        write_atomic(existing, encode_spec(spec))
        return cls(path, spec)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open by folder, or by id in the data folder."""
        if not (path / "spec.json").exists():
            path = data_dir() / "runs" / path
        try:
            data = (path / "spec.json").read_bytes()
        except OSError as error:
            raise InputError(
                "no_run",
                f"{path} is not a run: it has no spec.json.",
                "Give a run folder, or an id from the Runs page.",
            ) from error
        return cls(path, decode_spec(data))

    @staticmethod
    def _clear(path: Path) -> None:
        results = ("header.json", "report.json", "items.jsonl", "events.jsonl", "scorecard.json", "scorecard.pdf")
        for name in (*results, "registration.json"):
            (path / name).unlink(missing_ok=True)
        for part in (*path.glob("stage-*"), *(path / name for name in ("exports", "copies", "sources", "power"))):
            shutil.rmtree(part, ignore_errors=True)

    # items: finished work, one line each, appended as it is done

    def items(self) -> Iterator[dict[str, Any]]:
        """Finished items. A torn last line (killed while writing) is skipped."""
        try:
            data = (self.path / "items.jsonl").read_bytes()
        except FileNotFoundError:
            return
        for line in data.split(b"\n"):
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def done(self) -> dict[str, dict[str, Any]]:
        """Finished items by their ``key``; a job skips these when it resumes."""
        return {item["key"]: item for item in self.items() if "key" in item}

    def append_items(self, items: list[dict[str, Any]]) -> None:
        """Append whole lines, cutting off a torn tail first. Each item has a unique ``key``."""
        path = self.path / "items.jsonl"
        try:
            with path.open("ab+") as stream:
                end = stream.seek(0, os.SEEK_END)
                if end:
                    stream.seek(max(0, end - 1))
                    if stream.read(1) != b"\n":
                        self._cut_torn_tail(path)
                stream.write(b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise disk_fault(error, path) from error

    @staticmethod
    def _cut_torn_tail(path: Path) -> None:
        data = path.read_bytes()
        with path.open("rb+") as stream:
            stream.truncate(data.rfind(b"\n") + 1)

    # results

    def artifact(self, name: str) -> Path:
        (self.path / "artifacts").mkdir(exist_ok=True)
        return self.path / "artifacts" / name

    def write_json(self, name: str, value: Any) -> None:
        write_atomic(self.path / name, json.dumps(value, ensure_ascii=False, indent=1).encode())

    def read_json(self, name: str) -> Any | None:
        try:
            return json.loads((self.path / name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def finish(self, status: str, summary: dict[str, Any]) -> None:
        """Write ``header.json``: from now on the run is complete (``done``) or ended for good (``failed``)."""
        self.write_json(
            "header.json",
            {
                "schema": 1,
                "run": self.id,
                "status": status,
                "foreshot": __version__,
                "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "summary": summary,
            },
        )

    @property
    def finished(self) -> bool:
        return (self.path / "header.json").exists()
