"""Students: what is cut, what is kept, and that inheritance is recorded tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.engine.distill.data import Example
from core.engine.distill.students import build_student
from core.engine.lm import LanguageModel, load_model
from core.errors import InputError
from core.specs import LoadOptions
from core.specs.distill import Student
from core.types import ModelRef
from tests.engine.distill.conftest import Maker

pytestmark = pytest.mark.engine
ROWS = [Example("k", "", list(range(3, 20)), [5]), Example("k", "", list(range(40, 60)), [5])]


def load(path: Path) -> LanguageModel:
    return load_model(ModelRef(str(path)), LoadOptions(device="cpu", dtype="fp32"))


def logits(lm: LanguageModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = lm.model(input_ids=torch.tensor([ROWS[0].ids]), use_cache=False).logits
    return found


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2", "gpt2"])
def test_a_layer_that_does_nothing_is_the_first_to_go(tiny: Maker, kind: str) -> None:
    more: dict[str, Any] = {"gemma2": {"head_dim": 8}, "gpt2": {"n_embd": 32, "n_layer": 6, "n_head": 4}}.get(kind, {})
    if kind == "gpt2":
        more |= {"hidden_size": 32, "num_hidden_layers": 6}
    lm = load(tiny("m", layers=6, kind=kind, **more))
    stack = next(m for m in lm.model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 6)
    with torch.no_grad():  # layer 3 adds nothing to the stream, so that the model is the same without it
        for name, parameter in stack[3].named_parameters():
            if any(part in name for part in ("o_proj", "down_proj", "c_proj", "post_")):
                parameter.zero_()
                if "post_" in name:
                    parameter.fill_(-1.0)  # gemma's norms multiply by 1 + weight
    before = logits(lm)
    built = build_student(lm, Student(source="m", build="layer_drop", drop_layers=1), ROWS, 0)
    assert "3 of 6" in built.note
    assert lm.model.config.get_text_config().num_hidden_layers == 5
    torch.testing.assert_close(logits(lm), before, rtol=1e-4, atol=1e-5)
    assert built.share == 1.0
    moved = {row.tensor: row.origin for row in built.inherited if row.tensor != row.origin}
    assert moved
    # layers 4 and 5 of the source are the student's 3 and 4
    assert all((".4." in origin) == (".3." in name) for name, origin in moved.items())
    assert all((".5." in origin) == (".4." in name) for name, origin in moved.items())


def test_first_two_and_last_layers_stay(tiny: Maker) -> None:
    lm = load(tiny("m", layers=6))
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    built = build_student(lm, Student(source="m", build="layer_drop", drop_layers=3), ROWS, 0)
    origins = {int(row.origin.split(".")[2]) for row in built.inherited if ".layers." in row.origin}
    assert origins == {0, 1, 5}
    for row in built.inherited:
        assert torch.equal(lm.model.state_dict()[row.tensor], before[row.origin])
    with pytest.raises(InputError, match="cannot be dropped"):
        build_student(lm, Student(source="m", build="layer_drop", drop_layers=3), ROWS, 0)


def test_idle_neurons_are_pruned_and_nothing_else_changes(tiny: Maker) -> None:
    lm = load(tiny("m"))
    with torch.no_grad():
        for layer in lm.model.model.layers:
            layer.mlp.up_proj.weight[::2] = 0  # every other neuron is always 0
    before = logits(lm)
    built = build_student(lm, Student(source="m", build="width_prune", keep_width=0.5), ROWS, 0)
    assert lm.model.config.intermediate_size == 32
    torch.testing.assert_close(logits(lm), before, rtol=1e-4, atol=1e-5)
    assert built.share == 1.0
    with pytest.raises(InputError, match="gate, up and down"):
        build_student(
            load(tiny("g", kind="gpt2", n_embd=32, n_layer=2, n_head=4)),
            Student(source="g", build="width_prune", keep_width=0.5), ROWS, 0,
        )  # fmt: skip


def test_noise_keeps_its_share_and_depends_on_the_seed(tiny: Maker) -> None:
    path = tiny("m")
    source = load(path).model.state_dict()
    made = []
    for seed in (1, 1, 2):
        lm = load(path)
        built = build_student(lm, Student(source="m", build="noise", noise=0.25), ROWS, seed)
        made.append(lm.model.state_dict())
    assert torch.equal(made[0]["lm_head.weight"], made[1]["lm_head.weight"])
    assert not torch.equal(made[0]["lm_head.weight"], made[2]["lm_head.weight"])
    noise = made[0]["lm_head.weight"] - 0.75 * source["lm_head.weight"]
    assert noise.std().item() == pytest.approx(0.25 * 0.02, rel=0.05)
    assert torch.equal(made[0]["model.norm.weight"], source["model.norm.weight"])
    shares = {row.tensor: row.share for row in built.inherited}
    assert (shares["model.norm.weight"], shares["model.embed_tokens.weight"]) == (1.0, 0.75)


def test_fresh_inherits_nothing_and_takes_another_size(tiny: Maker) -> None:
    lm = load(tiny("m"))
    plan = Student(source="m", build="fresh", config={"hidden_size": 16, "num_hidden_layers": 3, "head_dim": 4})
    built = build_student(lm, plan, ROWS, 0)
    assert built.share == 0
    assert logits(lm).shape[-1] == lm.model.config.vocab_size
    assert lm.model.config.num_hidden_layers == len(lm.model.model.layers) == 3
    with pytest.raises(InputError, match="has no depth"):
        build_student(lm, Student(source="m", build="fresh", config={"depth": 3}), ROWS, 0)
