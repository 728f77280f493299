"""The window is tested without a screen, against a fake engine and fake model cards."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from app.application import application, build_window
from app.main_window import MainWindow
from core.errors import InputError
from core.types import ModelRef

FAKE_ENGINE = str(Path(__file__).with_name("fake_engine.py"))


def fake_card(ref: ModelRef, hash_files: bool = False, **changes: Any) -> Any:
    """A card as the catalog would give it, without a model."""
    if "broken" in ref.name:
        raise InputError("config_not_json", "config.json is not JSON.", "Copy the folder again.")
    facts: dict[str, Any] = {
        "name": ref.name,
        "path": ref.path,
        "adapter": ref.adapter,
        "format": "safetensors",
        "architecture": "LlamaForCausalLM",
        "model_type": "llama",
        "parameters": 134_515_008,
        "dtypes": {"bf16": 134_515_008},
        "quantisation": None,
        "vocab_size": 49152,
        "layers": 30,
        "hidden_size": 576,
        "context_length": 8192,
        "tokenizer_fingerprint": "9f" * 32,
        "template_fingerprint": "cd" * 32,
        "template": "a\nb",
        "licence": "apache-2.0",
        "base_model": ("org/base",),
        "lineage_hints": ("distilled from big-teacher",) if "student" in ref.name else (),
        "files": (SimpleNamespace(path="model.safetensors", bytes=269_000_000, sha256=None),),
        "fingerprint": ("7be0114d" if "student" in ref.name else "a41c09e2") * 8,
        "weights_sha256": None,
        "memory": (
            SimpleNamespace(precision="fp32", bytes=1_100_000_000, fits=False, free_bytes=900_000_000),
            SimpleNamespace(precision="bf16", bytes=600_000_000, fits=True, free_bytes=900_000_000),
            SimpleNamespace(precision="nf4", bytes=None, fits=None, free_bytes=900_000_000),
        ),
        "findings": (
            SimpleNamespace(id="remote_code", severity="high", file="config.json", message="It asks for remote code."),
        ),
        "not_examined": ("the values of the weights",),
    }
    return SimpleNamespace(**(facts | changes))


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are read by ``fake_card``."""
    import core.catalog

    monkeypatch.setattr(core.catalog, "inspect_model", fake_card, raising=False)


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        return folder

    return make


@pytest.fixture
def make_window(qtbot: QtBot, cards: None) -> Iterator[Callable[..., MainWindow]]:
    """Real windows with a fake engine behind them; closed at the end."""
    application()
    made: list[MainWindow] = []

    def make(mode: str = "normal") -> MainWindow:
        window = build_window(engine=(FAKE_ENGINE, mode))
        qtbot.add_widget(window)
        window.show()
        window.activateWindow()
        qtbot.wait_until(window.isActiveWindow, timeout=3000)
        made.append(window)
        return window

    yield make
    for window in made:
        window.close()
