"""The set-up script: its sentences, its marker, and that it runs on the standard library alone."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "packaging" / "bootstrap.py"


@pytest.fixture
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("foreshot_bootstrap", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sandbox(bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The script on an empty folder, with its steps recorded instead of run."""
    (tmp_path / "packaging").mkdir()
    for name in ("pyproject.toml", "packaging/engine-cpu.txt", "packaging/engine-cuda.txt"):
        (tmp_path / name).write_text(name)
    steps: list[list[str]] = []

    def record(command: list[str], otherwise: str = "") -> None:
        steps.append(command)
        if "venv" in command:
            python.parent.mkdir(parents=True)
            python.write_text("#!/bin/sh\nexit 0\n")
            python.chmod(0o755)

    python = tmp_path / ".venv" / "bin" / "python"
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "PYTHON", python)
    monkeypatch.setattr(bootstrap, "install", record)
    monkeypatch.setattr(bootstrap, "missing_libraries", list)
    return steps


def test_it_needs_the_standard_library_only() -> None:
    tree = ast.parse(SCRIPT.read_text("utf-8"))
    names = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    names |= {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert names <= set(sys.stdlib_module_names)


def test_help_lists_every_target_of_the_makefile() -> None:
    help_text = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    make = (ROOT / "Makefile").read_text("utf-8")
    targets = {line.split(":")[0] for line in make.splitlines() if ": ##" in line} - {"help"}
    assert targets == {"demo", "test", "app", "model", "check", "bench", "verify", "gpu"}
    assert all(target in help_text for target in targets)


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")
def test_the_second_time_installs_nothing_and_a_new_lock_installs_again(
    bootstrap: ModuleType, sandbox: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "has_nvidia", lambda: False)
    bootstrap.set_up("test")
    assert " ".join(sandbox[0]).endswith(f"-m venv --clear {tmp_path / '.venv'}")
    assert len(sandbox) == 4
    bootstrap.set_up("test")
    bootstrap.set_up("engine")  # the test set-up holds the engine
    assert len(sandbox) == 4
    (tmp_path / "packaging" / "engine-cpu.txt").write_text("other versions")
    bootstrap.set_up("engine")
    assert len(sandbox) == 7, "the environment is kept, its packages are renewed"


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for Python is a shell script")
@pytest.mark.parametrize(("nvidia", "lock"), [(True, "engine-cuda.txt"), (False, "engine-cpu.txt")])
def test_the_lock_follows_the_device(
    bootstrap: ModuleType, sandbox: list[list[str]], monkeypatch: pytest.MonkeyPatch, nvidia: bool, lock: str
) -> None:
    monkeypatch.setattr(bootstrap, "has_nvidia", lambda: nvidia)
    bootstrap.set_up("engine")
    assert [Path(step[step.index("-r") + 1]).name for step in sandbox if "-r" in step] == [lock]


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
        ("Failed to establish a new connection: [Errno 111] Connection refused", "network"),
        ("Temporary failure in name resolution ERROR: No matching distribution found for torch==2.13.0", "network"),
        ("ERROR: No matching distribution found for torch==2.13.0", "Python 3.11 is tested"),
    ],
)
def test_a_failed_step_says_what_to_do(bootstrap: ModuleType, said: str, hint: str) -> None:
    assert hint in bootstrap.failure_hint(said)


def test_a_failed_step_ends_with_its_last_lines(bootstrap: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        bootstrap.install(
            [sys.executable, "-c", "print('Collecting x'); print('why'); raise SystemExit(1)"], "Do this."
        )
    out, err = capfd.readouterr()
    assert caught.value.code == 3
    assert "Collecting x" in out
    assert "why" in err
    assert "Set-up stopped" in err


def test_missing_libraries_are_one_line(
    bootstrap: ModuleType, sandbox: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "missing_libraries", lambda: ["libegl1", "libgl1"])
    bootstrap.set_up("engine")
    lines = [line for line in capsys.readouterr().out.splitlines() if "apt-get" in line]
    assert len(lines) == 1
    assert lines[0].endswith("apt-get install -y libegl1 libgl1")


@pytest.mark.parametrize("name", ["engine-cpu.txt", "engine-cuda.txt"])
def test_locks_are_exact_and_name_no_host(name: str) -> None:
    lines = (ROOT / "packaging" / name).read_text("utf-8").splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    assert {line.split("==")[0] for line in packages} >= {
        "torch", "transformers", "accelerate", "bitsandbytes", "peft", "gguf", "safetensors", "tokenizers", "numpy",
    }  # fmt: skip
    assert all("==" in line and "://" not in line for line in packages)
