"""Protocol v1 between an engine process and whoever reads it: JSON lines, typed, one tagged union.

Shared by both sides. Unknown event types are skipped; an unknown major version is refused (in ``Hello``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import msgspec

PROTOCOL = 1
MAX_LINE = 64 * 1024

ErrorKind = Literal[
    "user",
    "environment",
    "out_of_memory_gpu",
    "out_of_memory_host",
    "unsupported_model",
    "untrusted_code",
    "engine_bug",
]


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="type"):
    engine_version: str
    python: str
    torch: str
    device: str
    protocol: int = PROTOCOL


class State(msgspec.Struct, frozen=True, tag="state", tag_field="type"):
    state: Literal["loading", "running", "saving", "done"]
    detail: str = ""


class Progress(msgspec.Struct, frozen=True, tag="progress", tag_field="type"):
    """``stage`` is a stable id (``inspect``, ``load``, ``known``, ``proof``, ``suite`` …), ``task`` its words."""

    stage: str
    task: str
    done: float
    total: float
    unit: str = ""
    rate: float | None = None
    eta_s: float | None = None
    note: str = ""


class Samples(msgspec.Struct, frozen=True, tag="samples", tag_field="type"):
    """Rows for a live table, batched: ``candidates``, ``items``, ``findings``; ``training``, ``evaluations``."""

    table: str
    rows: list[dict[str, Any]]


class Token(msgspec.Struct, frozen=True, tag="token", tag_field="type"):
    id: str
    text: str


class Artifact(msgspec.Struct, frozen=True, tag="artifact", tag_field="type"):
    kind: str
    path: str
    sha256: str
    bytes: int


class Log(msgspec.Struct, frozen=True, tag="log", tag_field="type"):
    level: Literal["debug", "info", "warning", "error"]
    code: str
    message: str


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat", tag_field="type"):
    rss: int
    vram_used: int | None = None
    vram_free: int | None = None


class Result(msgspec.Struct, frozen=True, tag="result", tag_field="type"):
    summary: dict[str, Any]


class Error(msgspec.Struct, frozen=True, tag="error", tag_field="type"):
    kind: ErrorKind
    code: str
    message: str
    hint: str
    detail_path: str = ""


class Bye(msgspec.Struct, frozen=True, tag="bye", tag_field="type"):
    exit: int


Event = Hello | State | Progress | Samples | Token | Artifact | Log | Heartbeat | Result | Error | Bye

# Commands from the window to the worker.


class Start(msgspec.Struct, frozen=True, tag="start", tag_field="type"):
    """``run_dir`` is the run folder; ``spec.json`` is in it already."""

    run_dir: str
    v: int = PROTOCOL


class Cancel(msgspec.Struct, frozen=True, tag="cancel", tag_field="type"):
    pass


class Pause(msgspec.Struct, frozen=True, tag="pause", tag_field="type"):
    """Stand still between two batches, models kept in memory, until ``on`` is false (or until Cancel)."""

    on: bool = True


Command = Start | Cancel | Pause

_encoder = msgspec.json.Encoder()
_event_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_command_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


def encode(message: Event | Command) -> bytes:
    """One line, newline included."""
    return _encoder.encode(message) + b"\n"


def decode_event(line: bytes) -> Event | None:
    """An event, or None for a line that is not one (unknown type, garbage)."""
    try:
        return _event_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def decode_command(line: bytes) -> Command | None:
    try:
        return _command_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


class LineSplitter:
    """Cuts a byte stream into whole lines; an unfinished tail waits for more (never decoded half)."""

    def __init__(self) -> None:
        self._tail = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        *lines, self._tail = (self._tail + data).split(b"\n")
        yield from (line for line in lines if line)


class Emitter(Protocol):
    """Where a job reports to: the window's pipe, or the terminal."""

    def emit(self, event: Event) -> None: ...

    def check(self) -> None:
        """Raise ``core.errors.Cancelled`` if the user asked to stop; wait while the job is paused. Called between
        batches."""
