"""Do packed rows say what plain rows say? Asked once for a model, on fixed texts, before packed rows are trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from core.engine.lm.forward import Forward
from core.engine.lm.packed import Branches

PROMPT = "The ferry left the old harbour at noon, and on the upper deck"
BRANCHES = (
    " a woman in a red coat was reading the letter that her brother had sent",
    " a woman in a red coat was selling oranges to the children of the captain",
    " a woman sang. Nobody had asked her to, but everyone listened until it grew dark",
    " two men argued about the price of 12 barrels: 300 francs, or 25 each?",
    " 两位旅客在谈论天气。",
    " def total(items):\n    return sum(item.price for item in items)\n",
    " it was cold",
    " it was colder than anyone could remember, even though the sun stood high",
)
LOGIT_TOLERANCE = 1e-3
"""fp32: the largest difference of a logit."""
AGREEMENT, LOGPROB_TOLERANCE = 0.99, 0.05
"""Lower precision: how often the most probable token is the same; the median difference of log p, in nats.

Choices count as the same when the plain row's two logits are ``STEPS`` rounding steps of the precision apart or less:
either of them may be a step off. In bf16 a step is 0.125 at a logit of 20, and a plain row alone disagrees with the
same row in a batch about as often as with packed rows (SmolLM2-135M: at 3 and 5 of 136 places; packed rows were nearer
to fp32). With one step, two of ten fine-tunes of one model had plain rows, which are five times slower and no truer.
"""
STEPS = 2


class Check(NamedTuple):
    """Whether packed rows may be used, and what a report says about it."""

    packs: bool
    note: str


@torch.inference_mode()
def check(forward: Forward, encode: Callable[[str], Sequence[int]]) -> Check:
    """Compare packed rows with plain ones, at every token of the branches."""
    if forward.stateful:
        return Check(False, "scored in plain rows: a recurrent state cannot be shared by branches")
    if not forward.separable or not forward.places:
        return Check(False, "scored in plain rows: this architecture has to be run whole")
    prompt, branches = list(encode(PROMPT)), [list(encode(text)) for text in BRANCHES]
    if forward.window:  # both ways have to see the same
        prompt = prompt[: forward.window // 2]
        branches = [branch[: forward.window // 2] for branch in branches]
    try:
        packed, plain = (_logits(Branches(forward, packs), prompt, branches) for packs in (True, False))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return Check(False, "scored in plain rows: this architecture takes no mask for packed rows")
    return _verdict(packed, plain, 0.0 if forward.exact else torch.finfo(forward.causal.dtype).eps)


def _logits(reader: Branches, prompt: list[int], branches: list[list[int]]) -> torch.Tensor:
    """(n, V) at every token of every branch, in the order of the branches."""
    rows: dict[int, torch.Tensor] = {}
    runs = reader._packed if reader.packs else reader._rows
    for members, paths, states in runs(reader.prefill(prompt), branches):
        for member, path in zip(members, paths, strict=True):
            rows[member] = torch.cat(list(states(path)))
    return torch.cat([rows[at] for at in range(len(branches))])


def _verdict(packed: torch.Tensor, plain: torch.Tensor, step: float) -> Check:
    largest = float((packed - plain).abs().max())
    one, two = packed.log_softmax(1), plain.log_softmax(1)
    best = two.argmax(1)
    first, other = (plain.gather(1, token[:, None])[:, 0] for token in (best, one.argmax(1)))
    agreement = float((first - other <= STEPS * step * first.abs()).double().mean())
    median = float((one - two).gather(1, best[:, None]).abs().median())
    if not step:
        passed, figures = largest <= LOGIT_TOLERANCE, f"largest difference of a logit {largest:.1g}"
    else:
        passed = agreement >= AGREEMENT and median <= LOGPROB_TOLERANCE
        figures = f"same first choice at {agreement:.1%} of {len(one)} places, median difference {median:.2g} nats"
    if passed:
        return Check(True, f"scored in packed rows, checked against plain ones: {figures}")
    return Check(False, f"scored in plain rows, because packed ones differ: {figures}")
