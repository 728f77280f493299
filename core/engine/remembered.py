"""Suite runs that were made before: the same program asks the same weights the same suites only once.

A key is sha256 over this program's own source, the libraries that make the numbers, the content of the model and of
the suites, and how the model is loaded. Nothing that computes is imported to find a run again, so that it takes a
second. Like scores, runs are kept in the user's cache folder, which can be deleted at any time.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from core.catalog import inspect_model
from core.catalog.hashes import cache_dir
from core.engine.resources import peak_rss_bytes
from core.errors import EnvironmentFault
from core.runs.events import Emitter, Progress, Samples, State
from core.runs.folder import RunFolder, write_atomic
from core.specs import SuiteSpec
from core.suites import list_suites, load_suite

KEPT = 48
"""Runs in the cache; the one that was not asked for longest goes first."""
LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "peft", "bitsandbytes", "numpy", "scipy")
EARLIER = "every number was computed by an earlier run of the same weights"
_SOURCE = Path(__file__).resolve().parents[1]


def run_key(spec: SuiteSpec) -> str | None:
    """What makes two runs of suites the same; None where the weights cannot be told apart.

    Raises InputError for a broken suite or model folder.
    """
    card = inspect_model(spec.ref, hash_files=True)
    if card.weights_sha256 is None:
        return None
    suites = [load_suite(name) for name in spec.suites] or list_suites()
    parts = [
        card.weights_sha256,
        card.fingerprint,
        *(suite.sha256 for suite in suites),
        msgspec.json.encode(spec.load).decode(),
        str(spec.seed),
        *_machine(),
        _program(),
        *map(_installed, LIBRARIES),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def recall(key: str, spec: SuiteSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any] | None:
    """The report of the run with this key, its items written to ``folder``; None where there is none, or one begun."""
    started = time.monotonic()
    path = _path(key)
    try:
        report, rows = json.loads(gzip.decompress(path.read_bytes()))
        os.utime(path)
    except (OSError, EOFError, ValueError):
        return None
    if folder.done():
        return None
    emitter.emit(State("running"))
    folder.append_items(rows)
    items = [row for row in rows if "suite" in row]
    emitter.emit(Samples("items", items))
    emitter.emit(Progress("suite", "Suites", len(items), len(items), "items"))
    notes = [note for note in report["model"]["notes"] if note != EARLIER]
    model = {**report["model"], "name": inspect_model(spec.ref).name, "notes": [*notes, EARLIER]}
    passed = round(time.monotonic() - started, 1)
    timing = {"load": 0.0, "suite": passed, "wall_s": passed, "peak_rss_bytes": peak_rss_bytes()}
    return {**report, "model": model, "computed": 0, "timing": timing}


def remember(key: str, report: dict[str, Any], folder: RunFolder) -> None:
    """Keep a finished run; a cache that cannot be written keeps nothing."""
    path = _path(key)
    data = gzip.compress(json.dumps([report, list(folder.items())], ensure_ascii=False).encode(), 3, mtime=0)
    with suppress(OSError, EnvironmentFault):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
        kept = sorted(path.parent.glob("*.gz"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in kept[KEPT:]:
            old.unlink()


def _path(key: str) -> Path:
    return cache_dir() / "suite-runs" / f"{key}.json.gz"


def _program() -> str:
    """Every line that may have made a number: a new version of a scorer makes all earlier runs void."""
    digest = hashlib.sha256()
    for path in sorted(_SOURCE.rglob("*.py")):
        digest.update(f"{path.relative_to(_SOURCE)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _machine() -> Iterator[str]:
    """What `--device auto` and `--dtype auto` go by, as far as it can be seen without asking a driver."""
    yield str(Path("/proc/driver/nvidia/version").exists())
    yield os.environ.get("CUDA_VISIBLE_DEVICES", "")
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        yield next((line for line in lines if line.startswith("flags")), "")


def _installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name
