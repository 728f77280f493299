"""What processes of one job share, with three of them played by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch

from core.__main__ import main
from core.engine.lm import load_model, packed
from core.engine.ranks import Ranks
from core.specs import LoadOptions
from core.types import ModelRef
from tests.engine.lm.conftest import Maker
from tests.engine.lm.conftest import make as make  # a fixture of these tests too

pytestmark = pytest.mark.engine
WORLD = 3


class Part(Ranks):
    """One of three processes that never hear of one another: what others compute stays 0."""

    def __init__(self, rank: int) -> None:
        self.world, self.rank = WORLD, rank

    def agree(self, value: Any) -> Any:
        return value

    def same(self, *asked: object) -> None: ...

    def add(self, tensors: Iterable[torch.Tensor]) -> None: ...


def test_a_process_alone_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")  # left over from somewhere, with no world around it
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = Ranks()
    assert (ranks.first, ranks.agree("x"), ranks.share([1, 2, 3])) == (True, "x", [1, 2, 3])
    assert ranks.placed(LoadOptions(device="cuda:0")) == LoadOptions(device="cuda:0")
    ranks.same("never asked")
    with ranks.together():
        assert ranks.each("abc", str.upper) == ["A", "B", "C"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10])
def test_every_item_is_worked_on_once_and_comes_back_in_its_place(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    items = list(range(count))
    shares = [[10 * item for item in Part(rank).share(items)] for rank in range(WORLD)]
    assert sorted(item for share in shares for item in share) == [10 * item for item in items]

    def gather(parts: list[Any], mine: Sequence[int]) -> None:
        assert mine == shares[1]
        parts[:] = shares

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    assert Part(1).each(items, lambda item: 10 * item) == [10 * item for item in items]


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_the_parts_of_three_processes_are_the_whole_bit_for_bit(
    kind: str, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed rows (llama) and plain ones (bloom), in many small packs."""
    monkeypatch.setattr(packed, "ROW_NODES", 8)
    monkeypatch.setattr(packed, "PACK_NODES", 24)
    monkeypatch.setattr(packed, "GROW_BRANCHES", 4)
    with load_model(ModelRef(str(make(kind))), LoadOptions(device="cpu", dtype="fp32", force=True)) as lm:
        branches = [[5 + at % 7, 9 + at, *range(20, 20 + at % 5)] for at in range(17)]
        prefixes = [lm.prefill([3, 4, 6]), lm.prefill([7, 8])]
        asked = [*((branch, 1) for branch in branches), ([11], 1)]

        def everything() -> list[torch.Tensor]:
            pairs = lm.continuations(prefixes[0], asked)
            return [
                *lm.read(prefixes[0], [*branches, ()], 6, wanted=[7, 11]),
                *lm.extend(prefixes, branches, 3),
                *(torch.cat([pair.logprobs for pair in pairs]), torch.cat([pair.greedy for pair in pairs]).int()),
                lm.slopes([([3, 4, 6, 7], 1), ([3, 4, 6], 2), ([9, 4], 0), ([5, 5, 5], 1)], [8, 9]),
            ]

        whole = everything()
        parts = []
        for rank in range(WORLD):
            lm.ranks = Part(rank)
            parts.append(everything())
    for one, shares in zip(whole, zip(*parts, strict=True), strict=True):
        if one.is_floating_point():  # whether a token is the likeliest may be said of none
            assert one.count_nonzero()
            assert all(int(share.count_nonzero()) < int(one.count_nonzero()) for share in shares)
        assert torch.equal(one, sum(shares))


def test_threads_are_shared_by_the_processes_of_a_machine(make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "1000")
        load_model(ModelRef(str(make("llama"))), LoadOptions(device="cpu", dtype="fp32")).close()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_command_that_cannot_be_split_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["ask", "model", "--prompt", "hello"]) == 2
    assert "Only scan and distill run in several processes" in capsys.readouterr().err
