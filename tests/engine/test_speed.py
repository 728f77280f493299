"""How fast a model of some size runs here, measured before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.__main__ import main
from core.engine import speed
from core.engine.speed import measure_speed
from core.errors import InputError
from core.specs import LoadOptions
from tests.engine.distill.conftest import FP32, Maker, tiny  # noqa: F401

pytestmark = pytest.mark.engine


def sized(**changes: int | None) -> SimpleNamespace:
    return SimpleNamespace(**({"parameters": 1_000_000, "hidden_size": 64, "layers": 2, "vocab_size": 100} | changes))


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SECONDS", 0.2)


def test_a_model_of_twice_the_parameters_is_half_as_fast() -> None:
    one, two = (measure_speed(sized(parameters=number), FP32) for number in (1_000_000, 100_000_000))
    assert (one.precision, one.device) == ("fp32", "cpu")
    assert 30 < one.tokens_per_s / two.tokens_per_s < 300, "a hundred times the parameters"


def test_a_layer_that_is_wider_does_more_operations_a_pass() -> None:
    narrow, wide = (speed._layer(width, speed.torch.float32, "cpu") for width in (64, 128))
    sizes = [sum(weight.numel() for weight in layer.parameters()) for layer in (narrow, wide)]
    assert sizes[1] > 3 * sizes[0]
    assert all(bool(tensor.isfinite().all()) for layer in (narrow, wide) for tensor in layer.state_dict().values())


@pytest.mark.parametrize("missing", ["parameters", "hidden_size"])
def test_files_that_do_not_say_how_large_it_is(missing: str) -> None:
    with pytest.raises(InputError, match="do not say how large"):
        measure_speed(sized(**{missing: None}), LoadOptions(device="cpu"))


def test_the_command(tiny: Maker, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:  # noqa: F811
    folder = str(tiny("one"))
    assert main(["estimate", folder, "--device", "cpu", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["tokens_per_s"] > 0
    least, most = figures["scan_s"]["quick"]
    assert least * figures["tokens_per_s"] == pytest.approx(120_000)
    assert most > least
    assert main(["estimate", folder, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "tokens a second" in said
    assert said.count("\n") == 5
    assert main(["estimate", str(tmp_path / "nothing")]) == 2
    assert main(["estimate", folder, "--device", "toaster"]) == 2
