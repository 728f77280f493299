"""Protocol v1: whole lines only, whatever the pipe does to them."""

from __future__ import annotations

import io
import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Cancelled
from core.runs.emitters import PipeEmitter, PrefixEmitter
from core.runs.events import (
    Bye,
    Event,
    LineSplitter,
    Log,
    Pause,
    Progress,
    Samples,
    decode_command,
    decode_event,
    encode,
)
from core.specs import AuditSpec, LoadOptions, ScanSpec, command_line, decode_spec, encode_spec

EVENTS: list[Event] = [
    Progress("known", "Known triggers", 1, 2, "probes", 1240.0, 3.5),
    Samples("candidates", [{"trigger": "\u200b", "slot": "user_end", "z": 1.5}]),
    Log("warning", "x", "naïve 中文 \n line"),
    Bye(0),
]


@given(st.lists(st.integers(0, 400), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_events(cuts: list[int]) -> None:
    data = b"".join(map(encode, EVENTS))
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    splitter = LineSplitter()
    lines = [line for a, b in itertools.pairwise(edges) for line in splitter.feed(data[a:b])]
    assert [decode_event(line) for line in lines] == EVENTS


@pytest.mark.parametrize("line", [b"", b"{", b"null", b'{"type":"unknown"}', b"\xff\xfe", b"Loading weights: 100%"])
def test_what_is_no_event_is_skipped(line: bytes) -> None:
    assert decode_event(line) is None


def test_progress_is_limited_but_its_end_always_arrives() -> None:
    stream = io.BytesIO()
    emitter = PipeEmitter(stream)
    for done in range(1001):
        emitter.emit(Progress("s", "t", done, 1000))
    events = [decode_event(line) for line in stream.getvalue().splitlines()]
    assert len(events) < 20
    assert events[-1] == Progress("s", "t", 1000, 1000)


def test_an_audit_keeps_its_parts_apart_and_passes_cancel_on() -> None:
    stream = io.BytesIO()
    pipe = PipeEmitter(stream)
    emitter = PrefixEmitter(pipe, "teacher")
    emitter.emit(Progress("known", "Known triggers", 1, 1))
    emitter.emit(Samples("items", [{}]))
    progress, samples = (decode_event(line) for line in stream.getvalue().splitlines())
    assert isinstance(progress, Progress)
    assert progress.stage == "teacher/known"
    assert isinstance(samples, Samples)
    assert samples.table == "teacher/items"
    pipe.cancel()
    with pytest.raises(Cancelled):
        emitter.check()


@pytest.mark.parametrize(
    "spec",
    [
        ScanSpec(model="a b", adapter="c", extra_triggers=("x", "y z"), load=LoadOptions(quant="nf4")),
        AuditSpec(teacher="t", student="s"),
    ],
)
def test_a_spec_survives_the_disk_and_becomes_a_command(spec: ScanSpec | AuditSpec) -> None:
    assert decode_spec(encode_spec(spec)) == spec
    assert command_line(spec).startswith("python -m core ")


def test_a_paused_job_waits_until_it_may_go_on_or_is_cancelled() -> None:
    pipe = PipeEmitter(io.BytesIO())
    passed: list[str] = []

    def work() -> None:
        try:
            pipe.check()
            passed.append("went on")
        except Cancelled:
            passed.append("cancelled")

    for end in (lambda: pipe.pause(False), pipe.cancel):
        pipe.pause(True)
        worker = threading.Thread(target=work)
        worker.start()
        worker.join(0.1)
        assert worker.is_alive()
        end()
        worker.join(5)
    assert passed == ["went on", "cancelled"]
    pipe.pause(True)  # too late: it ends
    with pytest.raises(Cancelled):
        pipe.check()
    assert decode_command(encode(Pause(False)).strip()) == Pause(False)
