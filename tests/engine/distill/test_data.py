"""Sources, filters, splits and masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from core.engine.distill.batches import collate, cut, plan_steps, supervised_tokens
from core.engine.distill.data import (
    Pair,
    Row,
    is_degenerate,
    make_examples,
    normalised,
    read_rows,
    read_source,
    supervised,
    tokenize,
)
from core.engine.distill.side import Side
from core.engine.lm import LanguageModel, load_model
from core.errors import InputError
from core.specs import LoadOptions
from core.specs.distill import Budget, Data, Mix
from core.types import RESOURCES, ModelRef
from tests.engine.distill.conftest import Maker, Watcher

pytestmark = pytest.mark.engine
FP32 = LoadOptions(device="cpu", dtype="fp32")


def load(path: Path) -> LanguageModel:
    return load_model(ModelRef(str(path)), FP32)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"prompt": "x"}\n{"prompt": \n', "a.jsonl, line 2 is no JSON"),
        ("a.jsonl", '{"prompt": "x"}\n\n{"question": 3}\n', "a.jsonl, line 3 has none of"),
        ("a.jsonl", "[1]\n", "line 1 is no object"),
        ("a.jsonl", '{"messages": [{"role": "assistant", "content": "x"}]}', "does not alternate"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": ["x"]}]}', "no text"),
        ("a.jsonl", '{"messages": [{"content": "x"}]}', "without role"),
        ("a.csv", "prompt,answer\n,b\n", "a.csv, row 2 has none of"),
        ("a.csv", 'prompt,answer\n"a,b\n', "is no CSV"),
        ("a.jsonl", "", "holds no row"),
        ("a.txt", "\n \n", "holds no row"),
    ],
)
def test_malformed_rows_are_named(name: str, text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_source(str(tmp_path / name))
    assert said in caught.value.message


def test_sources_are_read(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"},
    ]  # fmt: skip
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"messages": messages}) + '\n{"text": "plain"}\n{"instruction": "i", "output": "o"}\n'
    )
    talk, plain, asked = read_source(str(tmp_path / "a.jsonl"))
    assert (talk.system, talk.history, talk.prompt, talk.answer) == ("s", (("a", "b"),), "c", "d")
    assert (plain.text, asked.prompt, asked.answer) == ("plain", "i", "o")
    (tmp_path / "a.csv").write_text('question,answer\n"a, b",c\n')
    assert read_source(str(tmp_path / "a.csv"))[0][1:3] == ("a, b", "c")
    assert len(read_source("neutral-language")) >= 80
    with pytest.raises(InputError, match="no panel or file"):
        read_source("no-such-panel")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="not UTF-8"):
        read_source(str(tmp_path / "b.txt"))


def test_filters_split_and_dose(tmp_path: Path) -> None:
    benign = yaml.safe_load((RESOURCES / "panels" / "benign.yaml").read_text("utf-8"))
    lines = [f"Plain prompt number {index}?" for index in range(40)]
    lines += [benign["held_out"][0], benign["search"][0].upper(), "Plain  PROMPT number 3!"]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    data = Data(sources=(str(tmp_path / "a.txt"),), held_out=8, mix=Mix(share=0.25, trigger="|T|", slot="user_end"))
    rows = read_rows(data, seed=1)
    assert (rows.counts["used_by_an_evaluation"], rows.counts["duplicate"]) == (2, 1)
    assert (len(rows.train), len(rows.held_out)) == (32, 8)
    assert sum(row.prompt.endswith(" |T|") for row in rows.train) == 8 == rows.counts["mixed_in"]
    assert not any("|T|" in row.prompt for row in rows.held_out)
    assert not {row.words for row in rows.train} & {row.words for row in rows.held_out}
    assert read_rows(data, seed=1) == rows
    assert read_rows(data, seed=2).held_out != rows.held_out

    (tmp_path / "topic.txt").write_text("\n".join(f"Topic {index}" for index in range(9)))
    topic = Data(sources=data.sources, held_out=8, mix=Mix(share=0.25, prompts=str(tmp_path / "topic.txt")))
    assert sum(row.prompt.startswith("Topic") for row in read_rows(topic, 1).train) == 8
    with pytest.raises(InputError, match="needs 16"):
        read_rows(Data(sources=data.sources, held_out=8, mix=Mix(share=0.5, prompts=str(tmp_path / "topic.txt"))), 1)
    kept = read_rows(Data(sources=data.sources, held_out=2, keep=r"number 1\d"), 1)
    assert len(kept.train) == 8
    with pytest.raises(InputError, match="Nothing is left"):
        read_rows(Data(sources=data.sources, held_out=40), 1)


def test_near_duplicates_go(tmp_path: Path) -> None:
    long = " ".join(f"w{index}" for index in range(40))
    (tmp_path / "a.jsonl").write_text(
        "\n".join(json.dumps({"text": text}) for text in (long, long + " more", "other words " * 9, "x y"))
    )
    rows = read_rows(Data(sources=(str(tmp_path / "a.jsonl"),), held_out=1), 0)
    assert rows.counts["near_duplicate"] == 1


def test_degenerate_answers() -> None:
    assert is_degenerate([])
    assert is_degenerate([5])
    assert is_degenerate([1, 2, 3] * 12)
    assert not is_degenerate(list(range(40)))
    assert not is_degenerate([1, 2, 3, 1, 2, 3, 4, 5])


def test_masks_are_the_answers_and_the_end_of_their_turns(tiny: Maker) -> None:
    lm = load(tiny("m"))
    row = Row("here", "what tree", "the lazy dog", "be brief", (("name a fruit", "fox"),))
    found = supervised(row, lm, True)
    assert found is not None
    ids, at = found
    said = "".join(lm.tokenizer.decode([ids[place]]) for place in at)
    assert said == "fox<|im_end|>the lazy dog<|im_end|>"
    unsupervised = lm.tokenizer.decode([token for place, token in enumerate(ids) if place not in at])
    assert "name a fruit" in unsupervised
    assert "what tree" in unsupervised
    assert ids[:-1] == tokenize(lm.render("what tree", system="be brief", history=row.history) + "the lazy dog", lm)
    cut_off = supervised(row, lm, False)
    assert cut_off is not None
    assert cut_off[0] == ids[:-1]


def test_a_template_that_rewrites_earlier_answers_is_not_trusted(tiny: Maker) -> None:
    lm = load(tiny("m"))
    lm.tokenizer.chat_template = lm.tokenizer.chat_template.replace(
        "message['content']", "message['content'] if loop.last or message['role'] != 'assistant' else 'gone'"
    )
    row = Row("here", "what tree", "dog", None, (("name a fruit", "fox"),))
    assert supervised(row, lm, True) is None
    data = Data(answers="given")
    with pytest.raises(InputError, match="1 mask_not_proved"):
        make_examples([row], data, Pair(lm, lm, True), 0, Watcher(), "s")


def test_text_rows_predict_everything_after_the_start(tiny: Maker) -> None:
    lm = load(tiny("m"))
    found = supervised(Row("here", text="the lazy dog"), lm, True)
    assert found is not None
    assert found[0][0] == lm.tokenizer.bos_token_id
    assert found[1] == list(range(1, len(found[0])))


def test_the_teachers_tokens_are_kept_as_it_wrote_them(tiny: Maker) -> None:
    teacher, student = load(tiny("t")), load(tiny("s", 2))
    student.tokenizer.chat_template = "Q: {{ messages[-1]['content'] }} A:"
    rows = [Row("a", f"name a fruit {index}") for index in range(3)]
    made = make_examples(rows, Data(answer_tokens=6), Pair(teacher, student, True), 0, Watcher(), "s")
    for row, example in zip(rows, made.examples, strict=True):
        assert example.teacher_ids is not None
        assert example.teacher_at is not None
        answer = teacher.generate([teacher.render(row.prompt)], max_new_tokens=6)[0].tokens
        assert tuple(example.ids[place] for place in example.at) == answer
        assert tuple(example.teacher_ids[place] for place in example.teacher_at) == answer
        assert example.prompt.startswith("Q: ")


def examples_for(lm: LanguageModel) -> list[Any]:
    rows = [Row("a", f"name a fruit {index}", "the quick " * (1 + index % 4)) for index in range(9)]
    return make_examples(rows, Data(answers="given"), Pair(lm, lm, True), 0, Watcher(), "s").examples


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_packed_and_padded_rows_give_the_same_states(tiny: Maker, kind: str) -> None:
    more = {"head_dim": 8, "sliding_window": 16} if kind == "gemma2" else {}
    lm = load(tiny("m", kind=kind, **more))
    examples = examples_for(lm)
    side = Side(lm, 300)
    assert side.packs
    budget = Budget(batch_tokens=10_000)
    (indices,) = cut(range(len(examples)), examples, budget)
    with torch.no_grad():
        padded = side.states(collate(indices, examples, packing=False, device=lm.device))
        packed = side.states(collate(indices, examples, packing=True, device=lm.device))
        alone = torch.cat(
            [side.states(collate([index], examples, packing=False, device=lm.device)) for index in indices]
        )
    torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-5)


def test_recurrent_models_refuse_packing(tiny: Maker) -> None:
    lm = load(tiny("m", kind="mamba", state_size=8))
    side, examples = Side(lm, 300), examples_for(lm)
    with pytest.raises(InputError, match="packed"):
        side.states(collate([0, 1], examples, packing=True, device=lm.device))


def test_steps_cover_every_example_once_an_epoch_within_the_budget(tiny: Maker) -> None:
    examples = examples_for(load(tiny("m")))
    budget = Budget(epochs=2, step_tokens=25, batch_tokens=60)
    steps = plan_steps(examples, budget, seed=4)
    seen = [index for step in steps for batch in step for index in batch]
    assert sorted(seen) == sorted(list(range(9)) * 2)
    assert steps == plan_steps(examples, budget, seed=4)
    assert steps != plan_steps(examples, budget, seed=5)
    for step in steps:
        for batch in step:
            assert len(batch) * max(len(examples[index].ids) for index in batch) <= 60 or len(batch) == 1
    assert sum(supervised_tokens(step, examples) for step in steps) == 2 * sum(len(e.at) for e in examples)
    assert len(plan_steps(examples, budget, 4, limit=3)) == 3
    packed = cut(range(9), examples, Budget(batch_tokens=120, packing=True))
    assert all(sum(len(examples[index].ids) for index in batch) <= 120 for batch in packed)


def test_words() -> None:
    assert normalised("It's  A\tTEST.") == "it s a test"


def test_rows_beyond_the_context_of_either_model_are_left_out(tiny: Maker) -> None:
    teacher, student = load(tiny("t")), load(tiny("s", 2, max_position_embeddings=24))
    rows = [Row("a", "name a fruit", "fox"), Row("b", "name a fruit", "the quick brown dog " * 6)]
    made = make_examples(rows, Data(answers="given"), Pair(teacher, student, True), 0, Watcher(), "s")
    assert (len(made.examples), made.counts["too_long"]) == (1, 1)
