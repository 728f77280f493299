"""The teacher on disk: the same loss as in memory, checks that mean something, foreign caches refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from core.engine.distill import cache as module
from core.engine.distill.batches import collate, cut
from core.engine.distill.cache import Identity, TeacherCache, capture, data_sha256, is_complete
from core.engine.distill.data import Example, Pair, Row, make_examples
from core.engine.distill.head import fused_loss
from core.engine.distill.losses import Dense, Objective
from core.engine.distill.side import Side
from core.engine.lm import load_model
from core.errors import Cancelled, InputError
from core.specs import LoadOptions
from core.specs.distill import Budget, Data, LossPlan
from core.types import ModelRef
from tests.engine.distill.conftest import Maker, Watcher

pytestmark = pytest.mark.engine
BUDGET = Budget(batch_tokens=120)


@pytest.fixture
def sides(tiny: Maker) -> tuple[Side, Side, list[Example]]:
    load = LoadOptions(device="cpu", dtype="fp32")
    teacher, student = (load_model(ModelRef(str(tiny(name, seed))), load) for name, seed in (("t", 1), ("s", 2)))
    rows = [Row("a", f"name a fruit {index}", "the quick " * (1 + index % 4)) for index in range(9)]
    examples = make_examples(rows, Data(answers="given"), Pair(teacher, student, True), 0, Watcher(), "s").examples
    size = len(teacher.tokenizer)
    return Side(teacher, size), Side(student, size), examples


def identity(side: Side, examples: list[Example], **changes: Any) -> Identity:
    base = Identity("t", "k", data_sha256(examples), side.vocabulary, "topk", 16, "fp32", (1.0,), 0)
    return msgspec.structs.replace(base, **changes)


def loss_and_gradient(student: Side, examples: list[Example], plan: LossPlan, source: Any) -> tuple[torch.Tensor, ...]:
    """Over all examples, in batches."""
    student.lm.model.zero_grad()
    total = torch.zeros(())
    for indices in cut(range(len(examples)), examples, BUDGET):
        batch = collate(indices, examples, packing=False, device=student.device)
        states = student.states(batch)
        loss = fused_loss(
            states, student.head, batch.labels, source(batch), Objective(plan), student.vocabulary, weight=0.01, chunk=5
        )
        loss.backward()
        total += loss.detach()
    return total, student.causal.get_input_embeddings().weight.grad.clone()


def in_memory(teacher: Side, examples: list[Example]) -> Any:
    def source(batch: Any) -> Any:
        with torch.no_grad():
            states = teacher.states(batch)
            return lambda part: Dense(teacher.head.logits(states[part], teacher.vocabulary))

    return source


@pytest.mark.parametrize(("k", "kind"), [(1000, "forward_kl"), (16, "topk")])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_cached_equals_the_teacher_in_memory(
    sides: tuple[Side, Side, list[Example]], tmp_path: Path, k: int, kind: Any, temperature: float
) -> None:
    teacher, student, examples = sides
    plan = LossPlan(kind=kind, temperature=temperature, topk=16, alpha=0.7)
    wanted = in_memory(teacher, examples)
    own = identity(teacher, examples, k=min(k, teacher.vocabulary), temperatures=(temperature,))
    cache = capture(tmp_path / "c", teacher, examples, own, BUDGET, Watcher(), "s")
    found = loss_and_gradient(student, examples, plan, lambda batch: cache.side(batch, temperature))
    expected = loss_and_gradient(student, examples, plan, wanted)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_fp16_is_near_and_its_error_is_reported(sides: tuple[Side, Side, list[Example]], tmp_path: Path) -> None:
    teacher, student, examples = sides
    own = identity(teacher, examples, precision="fp16")
    cache = capture(tmp_path / "c", teacher, examples, own, BUDGET, Watcher(), "s")
    assert 0 < cache.checks.stored_kl < 1e-4
    found = loss_and_gradient(student, examples, LossPlan(kind="topk", topk=16), lambda batch: cache.side(batch, 1.0))
    expected = loss_and_gradient(student, examples, LossPlan(kind="topk", topk=16), in_memory(teacher, examples))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-2, atol=1e-4)
    assert torch.nn.functional.cosine_similarity(found[1].flatten(), expected[1].flatten(), dim=0) > 0.999


def test_checks_are_what_they_say(sides: tuple[Side, Side, list[Example]], tmp_path: Path) -> None:
    teacher, _, examples = sides
    cache = capture(tmp_path / "c", teacher, examples, identity(teacher, examples), BUDGET, Watcher(), "s")
    masses, losses = [], []
    for index in range(len(examples)):
        batch = collate([index], examples, packing=False, device=teacher.device)
        with torch.no_grad():
            p = teacher.head.logits(teacher.states(batch), teacher.vocabulary).double().softmax(1)
        top = p.topk(16, 1)
        masses.append(top.values.sum(1))
        even = ((1 - top.values.sum(1)) / (p.shape[1] - 16))[:, None].expand_as(p).scatter(1, top.indices, top.values)
        losses.append((p * (p / even).log()).sum(1))
    assert cache.checks.mass == pytest.approx(float(torch.cat(masses).mean()), abs=1e-6)
    assert cache.checks.mass_least == pytest.approx(float(torch.cat(masses).min()), abs=1e-6)
    assert cache.checks.dense_kl == pytest.approx(float(torch.cat(losses).mean()), abs=1e-6)
    assert cache.checks.stored_kl == pytest.approx(0, abs=1e-6)
    assert cache.checks.tokens == sum(len(example.at) for example in examples)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher": "another"}, "another teacher"),
        ({"data": "another"}, "other data"),
        ({"tokenizer": "another"}, "another tokenizer"),
        ({"k": 8}, "keeps 16 tokens"),
        ({"temperatures": (2.0,)}, "temperatures"),
    ],
)
def test_a_foreign_cache_is_refused(
    sides: tuple[Side, Side, list[Example]], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    teacher, _, examples = sides
    own = identity(teacher, examples)
    capture(tmp_path / "c", teacher, examples, own, BUDGET, Watcher(), "s")
    with pytest.raises(InputError, match=said):
        TeacherCache(tmp_path / "c", msgspec.structs.replace(own, **change))


def test_a_damaged_cache_is_refused(sides: tuple[Side, Side, list[Example]], tmp_path: Path) -> None:
    teacher, _, examples = sides
    own = identity(teacher, examples)
    capture(tmp_path / "c", teacher, examples, own, BUDGET, Watcher(), "s")
    (shard,) = (tmp_path / "c").glob("shard-*")
    data = bytearray(shard.read_bytes())
    data[-3] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(InputError, match="damaged"):
        TeacherCache(tmp_path / "c", own)
    (tmp_path / "c" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        TeacherCache(tmp_path / "c", own)


def test_an_interrupted_capture_goes_on_and_gives_the_same_bytes(
    sides: tuple[Side, Side, list[Example]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHARD_EXAMPLES", 4)
    teacher, _, examples = sides
    for mode in ("topk", "sampled"):
        own = identity(teacher, examples, mode=mode, k=5)
        capture(tmp_path / f"whole-{mode}", teacher, examples, own, BUDGET, Watcher(), "s")
        with pytest.raises(Cancelled):
            capture(tmp_path / f"cut-{mode}", teacher, examples, own, BUDGET, Watcher(cancel_after=5), "s")
        assert not is_complete(tmp_path / f"cut-{mode}")
        capture(tmp_path / f"cut-{mode}", teacher, examples, own, BUDGET, Watcher(), "s")
        first, second = (
            json.loads((tmp_path / name / "manifest.json").read_text()) for name in (f"whole-{mode}", f"cut-{mode}")
        )
        assert first == second
        assert len(first["shards"]) == 3


def test_sampled_draws_estimate_the_dense_loss(sides: tuple[Side, Side, list[Example]], tmp_path: Path) -> None:
    teacher, student, examples = sides
    own = identity(teacher, examples, mode="sampled", k=4000)
    cache = capture(tmp_path / "c", teacher, examples, own, BUDGET, Watcher(), "s")
    found = loss_and_gradient(student, examples, LossPlan(), lambda batch: cache.side(batch, 1.0))
    expected = loss_and_gradient(student, examples, LossPlan(), in_memory(teacher, examples))
    torch.testing.assert_close(found[0], expected[0], rtol=0.1, atol=0)
    assert torch.nn.functional.cosine_similarity(found[1].flatten(), expected[1].flatten(), dim=0) > 0.98
