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
MORE = (
    " a bell rang twice, which meant that the galley had opened and soup could be had for a coin",
    " the steward counted the blankets again and found that three of them were missing",
    " nobody noticed the boy who had climbed over the rail to look at the propeller",
    " a notice said: passengers are kindly asked not to feed the gulls after 6 p.m.",
    " the band played an old waltz, badly, until the second violin lost a string",
    " someone had left a map of the northern islands, marked with small blue crosses",
    " it smelled of tar, coffee and wet wool, as it always did in the first week of March",
    " the doctor explained why the heart beats faster when the air is thin",
    " a student was solving equations: if 3x + 7 = 22, then x must be 5, she wrote",
    " the price list read: tea 2.50, coffee 3.00, sandwich 4.75, umbrella 12.00",
    " <table><tr><td>Harbour</td><td>Depth</td></tr><tr><td>North</td><td>14 m</td></tr></table>",
    ' {"name": "Alma", "cabin": 17, "luggage": ["trunk", "violin case"], "paid": true}',
    " SELECT name, cabin FROM passengers WHERE paid = 1 ORDER BY cabin DESC LIMIT 10;",
    " les mouettes suivaient le bateau depuis le port et criaient sans cesse",
    " der Kapitän sprach wenig, aber wenn er sprach, hörten alle zu",
    " el cocinero preparaba arroz con pescado para todos los viajeros",
    " the oldest of the sailors began a story about a lighthouse that had no door",
    " two lawyers compared their copies of the contract, clause by clause, without a word",
    " rain was falling somewhere behind the hills, and the light turned green and strange",
    " a parrot said good morning to everyone, in four languages, and then fell asleep",
    " the engineer wrote in the log: pressure 8.2 bar, temperature normal, speed 11 knots",
    " one question remained: who had paid for the empty cabin next to the stairs?",
    " the children were told that whales sleep upright, which two of them did not believe",
    " and so the first evening ended, later than planned and louder than anyone had wished",
)
"""Read too where a lower precision has failed on the first ones: one place in three hundred is another by rounding
alone, so that two of 136, which is too many, are there in every twentieth model."""
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
    try:
        first = _compared(forward, encode, BRANCHES)
        if first.packs or forward.exact:
            return first
        return _compared(forward, encode, (*BRANCHES, *MORE))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return Check(False, "scored in plain rows: this architecture takes no mask for packed rows")


def _compared(forward: Forward, encode: Callable[[str], Sequence[int]], texts: Sequence[str]) -> Check:
    prompt, branches = list(encode(PROMPT)), [list(encode(text)) for text in texts]
    if forward.window:  # both ways have to see the same
        prompt = prompt[: forward.window // 2]
        branches = [branch[: forward.window // 2] for branch in branches]
    packed, plain = (_logits(Branches(forward, packs), prompt, branches) for packs in (True, False))
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
