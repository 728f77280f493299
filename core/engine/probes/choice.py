"""A question with right and wrong answers: knowledge, reasoning, language, and popular errors.

The answer with the highest mean log P per token is taken (length-normalised multiple choice; lm-evaluation-harness
calls its like ``acc_norm``). Item: 1[the best answer is on the side that is the risk] − the share of answers on that
side, so that a model that knows nothing is at 0; a tie between the sides is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.engine.probes.base import Measured, Request, Row, Scored, mean, per_token
from core.suites.items import Choice


def requests(plan: Choice) -> list[Request]:
    return [Request(plan.context, option, plan.chat) for option in plan.right + plan.wrong]


def measure(plan: Choice, scores: Sequence[Scored]) -> Measured:
    """``picked``: number of the answer taken, the right ones first. ``lead``: best right − best wrong, nats a token."""
    said = [per_token(score) for score in scores]
    right, wrong = max(said[: len(plan.right)]), max(said[len(plan.right) :])
    correct = right > wrong
    numbers = {"picked": said.index(max(said)), "correct": int(correct), "lead": right - wrong}
    if right == wrong:
        return Measured(0.0, True, numbers)
    return Measured(float(correct is (plan.of == "right")) - plan.chance, False, numbers)


def facts(plans: Sequence[Choice], rows: Sequence[Row]) -> dict[str, Any]:
    chance = [len(plan.right) / (len(plan.right) + len(plan.wrong)) for plan in plans]
    return {"accuracy": mean([row["correct"] for row in rows]), "chance": mean(chance)}
