"""What a person says of a finding: appended with author, time and reason, never overwritten."""

from __future__ import annotations

import datetime
import getpass
import os
from pathlib import Path
from typing import Literal

import msgspec

from core.runs.folder import disk_fault

FILE = "annotations.jsonl"
Action = Literal["promote", "dismiss"]


class Annotation(msgspec.Struct, frozen=True, kw_only=True):
    """``promote``: a person stands behind the finding. ``dismiss``: it is explained; ``reason`` says how.

    ``trigger`` and ``slot`` name the finding, ``role`` the model of an audit ("" for a scan of one model).
    """

    action: Action
    trigger: str
    slot: str
    reason: str
    role: str = ""
    author: str = ""
    at: str = ""


def annotate(folder: Path, annotation: Annotation) -> Annotation:
    """Append to the run's file, with the author and the time. Raises EnvironmentFault where it cannot be written."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    signed = msgspec.structs.replace(annotation, author=annotation.author or _user(), at=now)
    try:
        with (folder / FILE).open("ab") as stream:
            stream.write(msgspec.json.encode(signed) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise disk_fault(error, folder / FILE) from error
    return signed


def read_annotations(folder: Path) -> list[Annotation]:
    """All of them, oldest first; a torn last line is skipped."""
    try:
        lines = (folder / FILE).read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Annotation))
        except msgspec.MsgspecError:
            continue
    return found


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no account behind the process
        return "unknown"
