"""The cost of an experiment, from the plan and the cards alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from core.specs.canary import preset, with_variants
from core.specs.canary_cells import cells
from core.specs.canary_cost import cost

CARD: Any = SimpleNamespace(
    parameters=134_515_008, vocab_size=49152, hidden_size=576, layers=30, weights_sha256=None, fingerprint="a"
)


def test_cost_grows_with_runs_and_counts_the_students() -> None:
    plan = preset("quick")
    once, more = cost(plan, CARD, CARD), cost(msgspec.structs.replace(plan, runs=6), CARD, CARD)
    assert once.students == len(cells(plan, one_source=True)) == 18
    assert more.students == 36
    assert once.seconds is not None
    assert more.seconds is not None
    assert once.seconds[0] < more.seconds[0] < 2 * once.seconds[0]
    assert once.seconds[0] < once.seconds[1]
    apart = cost(plan, CARD, SimpleNamespace(**(vars(CARD) | {"fingerprint": "b"})))
    assert apart.students == 24


def test_stages_are_counted_and_their_teachers_answer_too() -> None:
    plan = msgspec.structs.replace(preset("quick"), variants=("standard",))
    once, staged = (cost(with_variants(plan, (kind,)), CARD, CARD) for kind in ("standard", "progressive"))
    assert (once.students, once.later) == (12, 0)
    assert (staged.students, staged.later) == (21, 9)
    assert once.seconds is not None
    assert staged.seconds is not None
    assert once.seconds[0] < staged.seconds[0] < 3 * once.seconds[0]
    assert "21 students, 9 of them taught by a student of the stage before, about" in staged.lines()[1]
    assert "taught by" not in once.lines()[1]


def test_a_card_without_a_size_gets_no_time() -> None:
    unknown = SimpleNamespace(**(vars(CARD) | {"parameters": None}))
    said = cost(preset("quick"), unknown, unknown)
    assert said.seconds is None
    assert said.lines() == ["1 planted and 1 sham copies of the teacher", said.lines()[1]]
