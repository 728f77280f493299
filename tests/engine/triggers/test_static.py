"""Embedding rows, swapped ids and changed matrices, on models in which they are known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.engine.lm import LanguageModel, load_model
from core.engine.triggers import static
from core.specs import LoadOptions
from core.types import ModelRef

pytestmark = pytest.mark.engine


class Reserved:
    """A tokenizer with 40 words and 24 reserved tokens, all of which can be written."""

    eos_token_id = bos_token_id = pad_token_id = 0
    names = [f"w{at}" for at in range(40)] + [f"<|reserved_{at}|>" for at in range(24)]

    def __len__(self) -> int:
        return len(self.names)

    def convert_ids_to_tokens(self, ids: Any) -> list[str]:
        return [self.names[at] for at in ids]

    def encode(self, text: str, **_: object) -> list[int]:
        return [self.names.index(text)]


def with_rows(rows: torch.Tensor) -> Any:
    embedding = torch.nn.Embedding.from_pretrained(rows)
    model = SimpleNamespace(get_input_embeddings=lambda: embedding)
    return SimpleNamespace(model=model, tokenizer=Reserved(), has_template=True)


def test_a_reserved_row_that_was_trained_is_found() -> None:
    torch.manual_seed(0)
    rows = torch.randn(72, 16)
    rows[40:] = 0.02 * torch.randn(32, 16)  # 8 of them behind the last id
    assert static.moved_rows(with_rows(rows)) == ([], 32)
    rows[45] = torch.randn(16)
    found, compared = static.moved_rows(with_rows(rows))
    assert [row.text for row in found] == ["<|reserved_5|>"]
    assert compared == 32
    assert found[0].candidate().text == "<|reserved_5|>"


def test_rows_that_are_equal_to_the_last_bit_do_not_divide_by_nothing() -> None:
    rows = torch.randn(64, 16)
    rows[40:] = 0.0
    assert static.moved_rows(with_rows(rows)) == ([], 24)


def test_few_reserved_rows_say_nothing() -> None:
    lm = with_rows(torch.randn(64, 16))
    lm.tokenizer.names = [f"w{at}" for at in range(60)] + ["<|reserved_0|>", "<unused1>", "[unused2]", "<extra_id_0>"]
    assert static.moved_rows(lm) == ([], 0)


def test_an_adapter_is_summarised_exactly(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    down, up = torch.randn(4, 30), torch.randn(50, 4)
    name = "base_model.model.layers.0.q_proj.lora_A.weight"
    save_file({name: down, name.replace("lora_A", "lora_B"): up}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8}))
    change = static.adapter_changes(tmp_path)[0]
    delta = 2 * up @ down
    assert change.name == "layers.0.q_proj.weight"
    assert change.relative == pytest.approx(float(delta.norm()), rel=1e-4)
    assert change.largest == pytest.approx(float(torch.linalg.svdvals(delta)[0]), rel=1e-4)
    assert change.energy == pytest.approx(1.0, abs=1e-4)
    assert static.adapter_changes(tmp_path / "none") == []


def test_a_changed_matrix_is_found_and_others_are_not() -> None:
    torch.manual_seed(0)
    base, tuned = (
        SimpleNamespace(model=torch.nn.Sequential(*(torch.nn.Linear(64, 64) for _ in range(3)))) for _ in "ab"
    )
    tuned.model.load_state_dict(base.model.state_dict())
    assert static.weight_changes(tuned, base) == []  # type: ignore[arg-type]
    with torch.no_grad():
        tuned.model[1].weight += torch.outer(torch.ones(64), torch.ones(64)) * 0.1
    (change,) = static.weight_changes(tuned, base)  # type: ignore[arg-type]
    assert change.name == "1.weight"
    assert change.largest == pytest.approx(6.4, rel=1e-3)
    assert change.energy == pytest.approx(1.0, abs=1e-3)
    assert change.entropy == pytest.approx(0.0, abs=1e-3)
    listed = static.report(([], 0), ([], 0), [change])
    assert (listed["changed_matrices"], listed["grade"]) == (1, "C")
    json.dumps(listed)


@pytest.fixture(scope="module")
def lm(small_model: Path) -> Iterator[LanguageModel]:
    with load_model(ModelRef(str(small_model)), LoadOptions()) as loaded:
        yield loaded


def test_two_swapped_ids_are_found_in_a_real_model(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text[:12_000] for text in static._texts()]
    monkeypatch.setattr(static, "_texts", lambda: texts)
    assert static.swapped_ids(lm)[0] == []
    one, two = (lm.tokenizer.encode(text)[0] for text in (" the", " not"))
    true = lm.tokenizer

    class Swapped:
        def encode(self, text: str, **more: Any) -> list[int]:
            return [{one: two, two: one}.get(token, token) for token in true.encode(text, **more)]

        def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
            return list(true.convert_ids_to_tokens(ids))

    monkeypatch.setattr(lm, "tokenizer", Swapped())
    swaps, seen = static.swapped_ids(lm)
    assert seen > 100
    assert {frozenset((swap.first, swap.second)) for swap in swaps} == {frozenset(("Ġthe", "Ġnot"))}
