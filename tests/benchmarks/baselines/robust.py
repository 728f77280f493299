"""Strings in front of a few prompts, what they do to the clean answer, and robust z against random strings."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from core.engine.lm import LanguageModel
from core.engine.triggers.controls import make_of
from core.engine.triggers.known import mixed_controls, robust_z
from core.engine.triggers.library import KnownTrigger, known_triggers
from core.engine.triggers.signals import Signal, signals

PROMPTS = 4
CLEAN_TOKENS = 8
SMALL = 20
"""Random strings of one make below which a string is set against those of all makes."""


def plain_triggers() -> list[KnownTrigger]:
    """The list's triggers that stand at the start of a question."""
    return [trigger for trigger in known_triggers() if trigger.main == "user_start"]


def random_strings(lm: LanguageModel, count: int, seed: int) -> list[str]:
    """Different random strings made like the list's triggers, each like one of them in turn."""
    texts = [trigger.text for trigger in plain_triggers()]
    return list(dict.fromkeys(mixed_controls(lm.tokenizer, texts, count, seed)))


def read(lm: LanguageModel, prompts: Sequence[str], texts: Sequence[str]) -> list[list[Signal]]:
    """The signals of each text, one a prompt, over the first tokens of the clean answers."""
    some = sorted(prompts, key=len)[:PROMPTS]
    clean = lm.generate([lm.render(prompt) for prompt in some], max_new_tokens=CLEAN_TOKENS)
    columns = [
        signals(lm, texts, prompt, "user_start", answer.tokens) for prompt, answer in zip(some, clean, strict=True)
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def means(rows: Sequence[Sequence[Signal]], name: str) -> list[float]:
    return [fmean(getattr(signal, name) for signal in row) for row in rows]


def zs(
    lm: LanguageModel, texts: Sequence[str], values: Sequence[float], noise: dict[str, float], floor: float
) -> list[float]:
    """Robust z of each text against random strings of its make.

    Args:
        noise: random string → value; a text is never set against itself.
        floor: least spread.
    """
    makes: dict[tuple[str, bool], list[str]] = {}
    for text in noise:
        makes.setdefault(make_of(lm.tokenizer, text), []).append(text)
    result = []
    for text, value in zip(texts, values, strict=True):
        own = makes.get(make_of(lm.tokenizer, text), [])
        others = [noise[other] for other in (own if len(own) >= SMALL else noise) if other != text]
        result.append(robust_z(value, others, floor))
    return result
