"""Packed rows are trusted where they differ from plain ones by rounding alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.engine.lm import selfcheck

pytestmark = pytest.mark.engine
PLACES = 10
FORWARD: Any = SimpleNamespace(
    stateful=False, separable=True, places=True, window=None, exact=False, causal=SimpleNamespace(dtype=torch.bfloat16)
)


def rows(texts: int) -> torch.Tensor:
    """Ten places for each text; at each, the first of four tokens is surer by far."""
    return torch.tensor([[20.0, 0.0, 0.0, 0.0]]).repeat(PLACES * texts, 1)


def asked(monkeypatch: pytest.MonkeyPatch, wrong: Any, forward: Any = FORWARD) -> tuple[selfcheck.Check, list[int]]:
    """The check of a model whose packed rows choose another token at ``wrong(places)`` places."""
    seen = []

    def logits(reader: Any, _: list[int], branches: list[list[int]]) -> torch.Tensor:
        made = rows(len(branches))
        if reader.packs:
            seen.append(len(branches))
            made[: wrong(len(made)), 1] = 30.0
        return made

    monkeypatch.setattr(selfcheck, "_logits", logits)
    return selfcheck.check(forward, lambda text: [len(text)]), seen


def test_what_agrees_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, seen = asked(monkeypatch, lambda _: 0)
    assert (found.packs, seen) == (True, [len(selfcheck.BRANCHES)])


def test_two_places_by_rounding_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found, seen = asked(monkeypatch, lambda _: 2)
    every = len(selfcheck.BRANCHES) + len(selfcheck.MORE)
    assert (found.packs, seen) == (True, [len(selfcheck.BRANCHES), every])
    assert f"of {PLACES * every} places" in found.note


def test_rows_that_differ_everywhere_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    found, seen = asked(monkeypatch, lambda places: places // 50)
    assert not found.packs
    assert len(seen) == 2
    assert "scored in plain rows" in found.note


def test_fp32_has_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = SimpleNamespace(**{**vars(FORWARD), "exact": True})
    found, seen = asked(monkeypatch, lambda _: 1, exact)
    assert (found.packs, len(seen)) == (False, 1)
