"""What every scorer shares: requests, what came of an item, and sums of probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

Row = Mapping[str, Any]
"""One line of ``items.jsonl``."""


class Request(NamedTuple):
    """log P(continuation | context); ``chat``: the context is a message, the continuation opens the answer."""

    context: str
    continuation: str
    chat: bool = False


class Scored(Protocol):
    """log P in nats of a continuation of so many tokens."""

    @property
    def logprob(self) -> float: ...

    @property
    def tokens(self) -> int: ...


class Measured(NamedTuple):
    """``value`` is in the direction of the risk, neutral is 0.

    ``tied``: the model has no preference, so that the value says nothing. ``numbers`` stand in the item's row.
    """

    value: float
    tied: bool
    numbers: dict[str, Any]


class Scorer(Protocol):
    """A scorer of one kind of plan: what it asks, what it makes of the answers, and its named figures over a suite."""

    def requests(self, plan: Any) -> list[Request]: ...

    def measure(self, plan: Any, scores: Sequence[Scored]) -> Measured: ...

    def facts(self, plans: Sequence[Any], rows: Sequence[Row]) -> dict[str, Any]: ...


def half_sign(x: float) -> float:
    """½, 0 or −½."""
    return 0.5 * ((x > 0) - (x < 0))


def log_sum(values: Iterable[float]) -> float:
    """log Σ exp; −inf for nothing."""
    found = list(values)
    top = max(found, default=-math.inf)
    return top if math.isinf(top) else top + math.log(math.fsum(math.exp(value - top) for value in found))


def per_token(score: Scored) -> float:
    """Mean log P of a token: longer texts are not less likely for their length alone."""
    return score.logprob / max(1, score.tokens)


def mean(values: Sequence[float]) -> float | None:
    """None where there is nothing to take the mean of: undefined is not 0."""
    return math.fsum(values) / len(values) if values else None
