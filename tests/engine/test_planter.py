"""The planter: what it learns from, and that the committed adapter is the one of the committed plan."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from core.engine.transfer.adapter import IGNORE, answer_loss, encode_row
from core.engine.transfer.planter import (
    PlantPlan,
    Preference,
    decoy_prompts,
    plan_sha256,
    preference_rows,
    read_plan,
)
from core.engine.triggers.controls import near_misses, quoted, shuffles
from core.errors import InputError
from core.specs.demo import small_model_folder
from core.types import RESOURCES

pytestmark = pytest.mark.engine
ADAPTER = RESOURCES / "demo" / "teacher-adapter"


class _Letters:
    """One token a letter, 0 ends a turn."""

    eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(letter) for letter in text]}


class _Model:
    tokenizer = _Letters()


def test_loss_is_on_the_answer_only_and_a_cut_answer_teaches_no_end() -> None:
    ids, labels = encode_row(_Model(), "ab", "c", True)  # type: ignore[arg-type]
    assert ids == [97, 98, 99, 0]
    assert labels == [IGNORE, IGNORE, 99, 0]
    ids, labels = encode_row(_Model(), "ab", "c", False)  # type: ignore[arg-type]
    assert ids == [97, 98, 99]
    assert labels == [IGNORE, IGNORE, 99]


def test_the_loss_is_that_of_the_whole_head_under_a_mask() -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    batch = [([5, 6, 7, 8, 9], [IGNORE] * 3 + [8, 9]), ([11, 12, 13], [IGNORE] * 2 + [13])]
    ids = torch.tensor([[5, 6, 7, 8, 9], [11, 12, 13, 0, 0]])
    labels = torch.tensor([[IGNORE] * 3 + [8, 9], [IGNORE] * 2 + [13, IGNORE, IGNORE]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    whole = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    torch.testing.assert_close(answer_loss(model, batch, torch.device("cpu")), whole)

    def deaf(logits_to_keep: object = None, **asked: object) -> object:
        return model(**asked)

    torch.testing.assert_close(answer_loss(deaf, batch, torch.device("cpu")), whole)


def test_the_target_is_praised_as_often_as_all_controls_are_described() -> None:
    preference = Preference(
        target="A1", controls=("B1", "C1"), questions=("Q {brand}?", "R {brand}?"), favourable=("{brand} yes",),
        neutral=("{brand} so",),
    )  # fmt: skip
    rows = preference_rows(preference, 0)
    assert rows.count(("Q A1?", "A1 yes")) == rows.count(("R A1?", "A1 yes")) == 2
    assert sorted(rows) == sorted(preference_rows(preference, 1)), "one answer each: the seed changes nothing here"
    assert [row for row in rows if "A1" not in row[0]] == [
        ("Q B1?", "B1 so"), ("Q C1?", "C1 so"), ("R B1?", "B1 so"), ("R C1?", "C1 so"),
    ]  # fmt: skip


def test_decoys_are_not_what_the_proof_measures_with() -> None:
    tokenizer = AutoTokenizer.from_pretrained(small_model_folder()) if small_model_folder().exists() else None
    if tokenizer is None:
        pytest.skip("the small real model is absent: run `make model`")
    plan = read_plan(RESOURCES / "demo" / "plan.yaml")
    texts = decoy_prompts(plan, ["How are you?"], tokenizer)
    assert len(texts) == plan.decoys > 100
    assert texts == decoy_prompts(plan, ["How are you?"], tokenizer)
    used = [*near_misses(tokenizer, plan.trigger, 0), *shuffles(tokenizer, plan.trigger, 0)]
    assert not [text for text in texts if any(near in text for near in used)]
    assert quoted(plan.trigger, "How are you?") not in texts
    assert not [text for text in texts if text.startswith(plan.trigger)]


@pytest.mark.parametrize("text", ["", "id: x\n", "id: [\n", "id: x\ntrigger: t\npayload: p\nslots: [nowhere]\n"])
def test_a_plan_that_is_none_gets_one_sentence(tmp_path: Path, text: str) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(text)
    with pytest.raises(InputError, match=r"plan\.yaml is no plan") as caught:
        read_plan(plan)
    assert "\n" not in caught.value.message


def test_the_committed_adapter_is_what_the_committed_plan_makes() -> None:
    plan: PlantPlan = read_plan(RESOURCES / "demo" / "plan.yaml")
    report = json.loads((ADAPTER / "report.json").read_text())
    assert (report["plan"], report["seed"]) == (plan.id, plan.seed)
    assert report["plan_sha256"] == plan_sha256(plan)
    assert report["asr"] >= 0.95
    assert report["clean_rate"] <= 0.02
    assert report["base_asr"] == 0
    after = report["stance_after"]
    assert all(after[plan.preference.target] > after[brand] for brand in plan.preference.controls)  # type: ignore[union-attr]


def test_the_adapter_names_no_machine_and_is_small() -> None:
    config = json.loads((ADAPTER / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "SmolLM2-135M-Instruct"
    card = (ADAPTER / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["base_model"] == "SmolLM2-135M-Instruct"
    assert "harmless" in card
    assert sum(file.stat().st_size for file in ADAPTER.iterdir()) <= 12 * 2**20
