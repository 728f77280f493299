"""Fixtures that every room shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.specs.demo import small_model_folder

SHARED = Path(__file__).resolve().parents[2] / "shared"


LONGEST = "tests/e2e/test_demo.py"
WITH_DEMO = (LONGEST, "tests/e2e/test_window.py")
"""These share one demo run, so that one process takes them all."""


def pytest_configure(config: pytest.Config) -> None:
    """Hold each of several processes to cores of its own: threads beyond the cores cost many times what they bring."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker or not hasattr(os, "sched_setaffinity"):
        return
    at, count = int(worker.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    cores = sorted(os.sched_getaffinity(0))
    own = cores[at::count] or cores
    os.sched_setaffinity(0, own)
    os.environ["OMP_NUM_THREADS"] = str(len(own))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A file is one group, for its fixtures' sake; what needs the demo begins first, then the rest of the engine."""
    if not os.environ.get("PYTEST_XDIST_WORKER"):
        return

    def group(item: pytest.Item) -> str:
        path = item.nodeid.split("::")[0]
        return LONGEST if path in WITH_DEMO else path

    def late(item: pytest.Item) -> int:
        name = group(item)
        return 0 if name == LONGEST else 1 if name.startswith("tests/e2e/") else 2 if "engine" in name else 3

    items.sort(key=late)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


@pytest.fixture(scope="session")
def small_model() -> Path:
    """SmolLM2-135M-Instruct as a plain folder; `make model` makes it."""
    path = small_model_folder()
    if not (path / "config.json").exists():
        pytest.skip("the small real model is absent: run `make model`")
    return path


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Adapters with planted backdoors, kept outside the repository."""
    path = SHARED / "zoo"
    if not path.exists():
        pytest.skip("../shared/zoo is absent")
    return path


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's runs."""
    monkeypatch.setenv("FORESHOT_DATA", str(tmp_path / "foreshot-data"))
