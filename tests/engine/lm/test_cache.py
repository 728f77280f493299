"""Scores are kept by content, through damage, kills and full files."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from core.catalog import inspect_model
from core.engine.lm import Request, Score, ScoreCache, cache, load_model, load_prompts, open_scores, packed, scoring
from core.engine.lm.forward import Forward
from core.errors import Cancelled
from core.runs.events import Event
from core.specs import LoadOptions
from core.types import ModelRef
from tests.engine.lm.conftest import Maker
from tests.engine.lm.test_architectures import FP32

pytestmark = pytest.mark.engine

TEXTS = [("name a fruit", " on a tree"), ("name a fruit", " dog"), ("", "the quick brown fox"), ("the dog", "")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORESHOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def table(folder: Path) -> Path:
    return folder / "scores" / "scores.sqlite"


def some(count: int, start: int = 0) -> list[tuple[Request, Score]]:
    return [(Request((at, 1, 2), 1), Score(-float(at), 2, at % 2 == 0)) for at in range(start, start + count)]


def opened(folder: Path, model: bytes = b"m") -> ScoreCache:
    return ScoreCache(model, table(folder))


def test_a_second_run_needs_no_forward_and_no_model(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = ModelRef(str(make("llama")))
    with load_model(ref, FP32) as lm:
        plain = lm.score(TEXTS)
        assert lm.score(TEXTS, cache=open_scores(ref, FP32)) == plain
        monkeypatch.setattr(Forward, "hidden", None)  # whoever runs the model now fails
        assert lm.score(TEXTS, cache=open_scores(ref, FP32)) == plain
    requests = load_prompts(ref).encode(TEXTS)
    known = open_scores(ref, FP32)
    assert known is not None
    # an empty continuation is nothing to keep
    assert known.lookup(requests) == [*plain[:3], None]


def test_prompts_without_a_model_are_those_with_one(make: Maker) -> None:
    ref = ModelRef(str(make("llama")))
    prompts = load_prompts(ref)
    with load_model(ref, FP32) as lm:
        assert prompts.render("dog", system="fox") == lm.render("dog", system="fox")
        assert prompts.encode(TEXTS) == lm.encode(TEXTS)
        assert (prompts.name, prompts.has_template, prompts.reasoning) == (lm.name, lm.has_template, lm.reasoning)


def test_other_weights_of_the_same_shape_are_another_model(make: Maker, tmp_path: Path) -> None:
    """A fine-tuned copy has equal config, tokenizer and weight headers."""
    first = make("llama")
    second = tmp_path / "tuned" / "m"
    shutil.copytree(first, second)
    weights = load_file(second / "model.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, second / "model.safetensors", {"format": "pt"})
    ref, tuned = ModelRef(str(first)), ModelRef(str(second))
    requests = load_prompts(ref).encode(TEXTS[:2])
    known = open_scores(ref, FP32)
    assert known is not None
    with load_model(ref, FP32) as lm:
        scores = lm.score(TEXTS[:2], cache=known)
    for other, options in ((tuned, FP32), (ref, LoadOptions(dtype="bf16", device="cpu", force=True))):
        empty = open_scores(other, options)
        assert empty is not None
        assert empty.lookup(requests) == [None, None]
    with load_model(tuned, FP32) as lm:
        assert lm.score(TEXTS[:2], cache=open_scores(tuned, FP32)) != scores
    assert known.lookup(requests) == scores


def test_weights_that_cannot_be_hashed_have_no_cache(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = ModelRef(str(make("llama")))
    card = inspect_model(ref)  # without hashes
    monkeypatch.setattr(cache, "inspect_model", lambda ref, hash_files: card)
    assert open_scores(ref, FP32) is None


def test_what_is_finished_is_kept_when_a_run_is_cancelled(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "ROW_NODES", 4)
    monkeypatch.setattr(packed, "PACK_NODES", 4)

    class Impatient:
        packs = 0

        def emit(self, event: Event) -> None: ...

        def check(self) -> None:
            self.packs += 1
            if self.packs == 3:
                raise Cancelled

    ref = ModelRef(str(make("llama")))
    with load_model(ref, FP32) as lm, pytest.raises(Cancelled):
        lm.score(TEXTS, cache=open_scores(ref, FP32), emitter=Impatient())
    known = open_scores(ref, FP32)
    assert known is not None
    found = known.lookup(load_prompts(ref).encode(TEXTS[:3]))
    assert 0 < sum(score is not None for score in found) < 3


def test_scores_of_one_model_are_not_those_of_another(folder: Path) -> None:
    rows = some(3)
    opened(folder, b"one").store(rows)
    requests = [request for request, _ in rows]
    assert opened(folder, b"one").lookup(requests) == [score for _, score in rows]
    assert opened(folder, b"two").lookup(requests) == [None] * 3
    shifted = [Request(request.ids, request.start + 1) for request in requests]
    assert opened(folder, b"one").lookup(shifted) == [None] * 3


def test_numbers_that_are_not_finite_are_not_kept(folder: Path) -> None:
    known = opened(folder)
    known.store([(Request((1, 2), 1), Score(float("nan"), 1, False)), (Request((1, 3), 1), Score(-1.0, 1, False))])
    assert known.lookup([Request((1, 2), 1), Request((1, 3), 1)]) == [None, Score(-1.0, 1, False)]


@pytest.mark.parametrize("damage", ["garbage", "cut", "empty", "other table", "folder gone"])
def test_a_damaged_file_is_rebuilt(folder: Path, damage: str) -> None:
    rows = some(2000)
    requests = [request for request, _ in rows]
    known = opened(folder)
    known.store(rows)
    known.close()
    file = table(folder)
    if damage == "garbage":
        file.write_bytes(b"no database at all, but long enough to be one" * 100)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "folder gone":
        shutil.rmtree(folder)
    else:
        file.unlink()
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE scores (key BLOB PRIMARY KEY, logprob REAL)")
        other.close()
    broken = opened(folder)
    found = broken.lookup(requests)
    assert all(score in (None, right) for score, (_, right) in zip(found, rows, strict=True))
    broken.store(rows)
    broken.store(rows)  # the first may be what finds the damage
    broken.close()
    assert opened(folder).lookup(requests) == [score for _, score in rows]


def test_a_flipped_bit_is_no_score(folder: Path) -> None:
    (row,) = some(1, start=12345)
    known = opened(folder)
    known.store([row])
    known.close()
    with sqlite3.connect(table(folder)) as direct:
        direct.execute("UPDATE scores SET logprob = logprob * 1.0001")
    direct.close()
    assert opened(folder).lookup([row[0]]) == [None]


def test_a_killed_writer_leaves_whole_scores(folder: Path) -> None:
    code = f"""
import itertools, pathlib, sys
from core.engine.lm import Request, Score, ScoreCache
known = ScoreCache(b"m", pathlib.Path({str(table(folder))!r}))
for start in itertools.count(0, 100):
    known.store([(Request((at, 1, 2), 1), Score(-float(at), 2, at % 2 == 0)) for at in range(start, start + 100)])
    print(start, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in range(5):
            child.stdout.readline()
        time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
    rows = some(20_000)
    found = opened(folder).lookup([request for request, _ in rows])
    kept = [score is not None for score in found]
    assert sum(kept) >= 500
    assert sum(kept) % 100 == 0
    assert all(score in (None, right) for score, (_, right) in zip(found, rows, strict=True))


def test_a_full_file_drops_what_was_not_asked_for_longest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1_000_000.0]
    monkeypatch.setattr(cache.time, "time", lambda: clock[0])
    known = opened(folder)
    old, asked = some(1000), some(500, start=1000)
    known.store(old)
    known.store(asked)
    clock[0] += 2 * cache.DAY
    known.lookup([request for request, _ in asked])
    monkeypatch.setattr(cache, "MAX_BYTES", 50_000)
    known.store(some(500, start=1500))
    assert known.lookup([request for request, _ in asked]) == [score for _, score in asked]
    assert known.lookup([request for request, _ in old]) == [None] * 1000
    for start in range(2000, 12_000, 500):
        clock[0] += 1
        known.store(some(500, start=start))
    known.close()
    assert table(folder).stat().st_size < 4 * 50_000


def test_two_processes_share_the_file(folder: Path) -> None:
    one, two = opened(folder, b"one"), opened(folder, b"two")
    rows = some(300)
    for start in range(0, 300, 50):
        one.store(rows[start : start + 50])
        two.store(rows[start : start + 50])
    requests = [request for request, _ in rows]
    assert one.lookup(requests) == two.lookup(requests) == [score for _, score in rows]


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    known = ScoreCache(b"m", blocked / "scores" / "scores.sqlite")
    known.store(some(2))
    assert known.lookup([request for request, _ in some(2)]) == [None, None]


def test_the_numerics_version_is_part_of_the_key(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = ModelRef(str(make("llama")))
    row = some(1)
    before = open_scores(ref, FP32)
    assert before is not None
    before.store(row)
    monkeypatch.setattr(cache, "NUMERICS", scoring.NUMERICS + 1)
    after = open_scores(ref, FP32)
    assert after is not None
    assert after.lookup([row[0][0]]) == [None]
