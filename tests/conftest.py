"""Fixtures that every room shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.specs.demo import small_model_folder

SHARED = Path(__file__).resolve().parents[2] / "shared"


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
