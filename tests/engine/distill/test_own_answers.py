"""On-policy stages: what the student said itself, judged by the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from core.engine.distill import train as train_module
from core.engine.distill.data import Example
from core.engine.distill.own_answers import own_answers, replaced
from core.engine.lm import load_model
from core.errors import Cancelled, InputError
from core.runs.events import Samples
from core.specs.distill import Cache, LossPlan, OnPolicy, Trainable, check_plan, make_plan
from core.types import ModelRef
from tests.engine.distill.conftest import FP32, Maker, Planner, Watcher, run

pytestmark = pytest.mark.engine


def test_only_the_last_answer_is_replaced_and_supervised() -> None:
    made = replaced(
        Example("k", "p", [1, 5, 6, 7, 5, 8, 9, 2], [2, 3, 6, 7], [0, 1, 5, 6, 7, 5, 8, 9, 2], [3, 4, 7, 8]), [4, 4, 4]
    )
    assert made.ids == [1, 5, 6, 7, 5, 8, 4, 4, 4]
    assert made.at == [6, 7, 8]
    assert made.teacher_ids == [0, 1, 5, 6, 7, 5, 8, 4, 4, 4]
    assert made.teacher_at == [7, 8, 9]


def test_answers_are_the_students_and_depend_on_the_seed_alone(tiny: Maker) -> None:
    with load_model(ModelRef(str(tiny("s"))), FP32) as student:
        head = student.tokenizer("the quick")["input_ids"]
        examples = [Example(str(n), "the quick", [*head, 7, 8], [len(head), len(head) + 1]) for n in range(8)]
        examples.append(Example("text", "", [1, 2, 3], [1, 2]))
        plan = OnPolicy(share=0.5, tokens=4)
        one, again, other = (own_answers(range(9), examples, student, plan, seed) for seed in ("a", "a", "b"))
        assert one == again != other
        assert 0 < len(one) < 8
        whole = own_answers(range(9), examples, student, OnPolicy(share=1.0, tokens=4), "a")
        assert set(whole) == set(range(8))  # plain text has no prompt to answer
        # greedy answers are what the model says
        greedy = own_answers([0], examples, student, OnPolicy(share=1.0, tokens=4, temperature=1e-4), "a")[0]
        (said,) = student.generate(["the quick"], max_new_tokens=4)
        assert greedy.ids[len(head) :] == list(said.tokens)
        assert own_answers(range(9), examples, student, OnPolicy(share=0.0), "a") == {}


@pytest.mark.parametrize("trainable", [Trainable(), Trainable(mode="lora", rank=4)], ids=lambda t: t.mode)
def test_a_last_stage_on_own_answers_learns_and_resumes_bit_for_bit(
    trainable: Trainable, planned: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(on_policy=OnPolicy(share=0.5, tokens=8), trainable=trainable)
    assert [stage.name for stage in plan.stages] == ["stage-1", "on-policy"]
    seen: list[dict[int, Any]] = []
    true = own_answers
    monkeypatch.setattr(train_module, "own_answers", lambda *a: seen.append(true(*a)) or seen[-1])
    watcher = Watcher()
    report = run(plan, tmp_path / "whole", watcher)
    assert sum(map(len, seen)) > 10
    last = report["stages"][1]
    assert last["after"]["kl"] < report["stages"][0]["before"]["kl"]
    losses = [
        r["loss"]
        for e in watcher.events
        if isinstance(e, Samples) and e.table == "training"
        for r in e.rows
        if r["stage"] == "on-policy"
    ]
    assert sum(losses[-3:]) < sum(losses[:3])
    if trainable.mode == "lora":
        return
    checks = 10**9 - watcher_left(plan, tmp_path)
    for after in (checks - 60, checks - 30):
        place = tmp_path / f"cut-{after}"
        with pytest.raises(Cancelled):
            run(plan, place, Watcher(after))
        run(plan, place, resume=True)
        one, other = (load(path / "stage-2" / "student") for path in (tmp_path / "whole", place))
        assert all(torch.equal(one[name], other[name]) for name in one)


def watcher_left(plan: Any, tmp_path: Path) -> int:
    """How many checks of a whole run are left of a billion."""
    watcher = Watcher(10**9)
    run(plan, tmp_path / "counted", watcher)
    return watcher.left


def load(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_plans_that_cannot_be_on_policy_are_refused() -> None:
    for wrong in ({"cache": Cache()}, {"loss": LossPlan(kind="ce")}, {"loss": LossPlan(kind="jsd", alpha=0.5)}):
        made = make_plan("standard", "t", "s", on_policy=OnPolicy(), **wrong)  # type: ignore[arg-type]
        own = made.stages[1]
        assert (own.cache, own.loss.alpha) == (None, 1.0)  # the last stage is made so that it can be
        assert own.loss.kind == ("jsd" if wrong.get("loss") == LossPlan(kind="jsd", alpha=0.5) else "reverse_kl")

    made = make_plan("standard", "t", "s", on_policy=OnPolicy())
    cached = {"cache": Cache(), "loss": LossPlan()}
    for wrong in (cached, {"loss": LossPlan(kind="ce")}, {"loss": LossPlan(kind="jsd", alpha=0.5)}):
        bad = msgspec.structs.replace(made, stages=(made.stages[0], msgspec.structs.replace(made.stages[1], **wrong)))
        with pytest.raises(InputError, match="judged by the teacher alone"):
            check_plan(bad)
