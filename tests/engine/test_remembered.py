"""Suite runs found again: when, when not, and that nothing which computes is loaded for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.engine import probes, remembered
from core.engine.jobs import run_job
from core.engine.remembered import run_key
from core.runs.folder import RunFolder
from core.specs import LoadOptions, SuiteSpec
from tests.engine.distill.conftest import Maker, Watcher, tiny  # noqa: F401
from tests.unit.suites.made import write

pytestmark = pytest.mark.engine
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESHOT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def spec(tiny: Maker, tmp_path: Path) -> SuiteSpec:  # noqa: F811
    return SuiteSpec(
        model=str(tiny("model")), suites=(str(write(tmp_path, "twin")),), load=LoadOptions(device="cpu", dtype="fp32")
    )


def run(spec: SuiteSpec, path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = RunFolder.create(spec, path)
    report = run_job(spec, folder, Watcher())
    return report, list(folder.items())


def test_the_same_run_is_found_again(spec: SuiteSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, rows = run(spec, tmp_path / "one")
    assert first["computed"] > 0
    monkeypatch.setattr(probes, "run_suites", None)  # whoever computes now fails
    again, same = run(spec, tmp_path / "two")
    assert again["computed"] == 0
    assert again["model"]["notes"][-1] == remembered.EARLIER
    assert same == rows
    assert {**again, "computed": 0, "model": 0, "timing": 0} == {**first, "computed": 0, "model": 0, "timing": 0}


def test_it_loads_nothing_that_computes(spec: SuiteSpec, tmp_path: Path) -> None:
    run(spec, tmp_path / "one")
    folder = RunFolder.create(spec, tmp_path / "two")
    code = (
        "import sys; from pathlib import Path; from core.engine.jobs import run_folder\n"
        "from core.runs.emitters import TerminalEmitter\n"
        f"assert run_folder(Path({str(folder.path)!r}), TerminalEmitter()) == 0\n"
        "print([name for name in ('torch', 'transformers', 'scipy', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert folder.finished


def test_whatever_could_change_a_number_makes_another_run(
    spec: SuiteSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [run_key(spec)]
    keys.append(run_key(msgspec.structs.replace(spec, load=LoadOptions(device="cpu", dtype="bf16"))))
    keys.append(run_key(msgspec.structs.replace(spec, seed=spec.seed + 1)))
    monkeypatch.setattr(remembered, "version", lambda name: "0.0")
    keys.append(run_key(spec))
    monkeypatch.undo()
    monkeypatch.setenv("FORESHOT_CACHE", str(tmp_path / "cache"))
    suite = Path(spec.suites[0])
    suite.write_text(suite.read_text(encoding="utf-8") + "# one more line\n", encoding="utf-8")
    keys.append(run_key(spec))
    source = tmp_path / "core"
    source.mkdir()
    for text in ("x = 1\n", "x = 2\n"):
        (source / "scorer.py").write_text(text)
        monkeypatch.setattr(remembered, "_SOURCE", source)
        keys.append(run_key(spec))
    weights = Path(spec.model) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    keys.append(run_key(spec))
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_a_damaged_or_a_begun_run_is_computed(spec: SuiteSpec, tmp_path: Path) -> None:
    first, rows = run(spec, tmp_path / "one")
    kept = next((tmp_path / "cache" / "suite-runs").glob("*.gz"))
    kept.write_bytes(kept.read_bytes()[:-9])
    damaged, same = run(spec, tmp_path / "two")
    assert "load" in damaged["timing"]
    assert same == rows

    begun = RunFolder.create(spec, tmp_path / "three")
    begun.append_items(rows[:2])
    report = run_job(spec, begun, Watcher())
    assert report["suites"] == first["suites"]
    assert sorted(map(json.dumps, begun.items())) == sorted(map(json.dumps, rows))
