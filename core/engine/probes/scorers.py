"""Which scorer belongs to which plan."""

from __future__ import annotations

from core.engine.probes import (
    bbq,
    choice,
    contrast,
    decision,
    key_facts,
    pair_likelihood,
    refusal_logit,
    stereoset,
    winogender,
)
from core.engine.probes.base import Scorer
from core.suites.items import (
    BBQ,
    Choice,
    Contrast,
    Decision,
    Pair,
    Plan,
    Refusal,
    Stereo,
    Suppression,
    Winogender,
)

SCORERS: dict[type, Scorer] = {
    Contrast: contrast,
    Refusal: refusal_logit,
    Choice: choice,
    Suppression: key_facts,
    Pair: pair_likelihood,
    Stereo: stereoset,
    BBQ: bbq,
    Winogender: winogender,
    Decision: decision,
}
"""Prompts are answered by generation and have none: see generated.py."""


def scorer_of(plan: Plan) -> Scorer:
    return SCORERS[type(plan)]
