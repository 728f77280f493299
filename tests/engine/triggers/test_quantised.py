"""A quantised model is scanned by its quantised layers, not by a copy in another precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.engine.lm import LanguageModel, load_model
from core.engine.triggers import run_scan
from core.engine.triggers import scan as module
from core.errors import Cancelled
from core.runs.folder import RunFolder
from core.specs import LoadOptions, ScanSpec
from core.types import Quant
from tests.engine.triggers.fake import Watcher

pytestmark = [pytest.mark.engine, pytest.mark.model]
LAYERS = 30 * 7


@pytest.mark.parametrize(("quant", "kind"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt")])
def test_every_quantised_layer_works_while_scanning(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quant: Quant, kind: str
) -> None:
    working: set[int] = set()

    def hooked(*arguments: Any) -> LanguageModel:
        lm = load_model(*arguments)
        for layer in lm.model.modules():
            if type(layer).__name__ == kind:
                layer.register_forward_hook(lambda layer, *_: working.add(id(layer)))
        return lm

    monkeypatch.setattr(module, "load_model", hooked)
    spec = ScanSpec(model=str(small_model), load=LoadOptions(device="cpu", quant=quant))
    with pytest.raises(Cancelled):  # the search is under way; its end is tested elsewhere
        run_scan(spec, RunFolder.create(spec, tmp_path / "run"), Watcher(checks=3))
    assert len(working) == LAYERS
