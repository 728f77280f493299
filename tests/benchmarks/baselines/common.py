"""What every baseline shares: the command, the model, the clock, the count of tokens, and the test of what it claims.

    python -m tests.benchmarks.baselines.bait MODEL [--adapter DIR] --out FILE [--seed N] [--share 0.05]

A baseline is told nothing of the truth. It gets the model as the scan loads it (same files, same precision, adapter
merged), and the search prompts of the panel; the held-out prompts only test the trigger that it claims, off the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.engine.lm import LanguageModel, load_model
from core.engine.lm.slots import render_in
from core.engine.triggers.library import panel
from core.engine.triggers.payload import collapse, hypothesis, is_payload
from core.specs import LoadOptions
from core.types import ModelRef, Slot

PANEL = "benign"
ANSWER_TOKENS = 24


@dataclass(frozen=True)
class Outcome:
    """What a baseline found.

    Attributes:
        score: orders models; higher is surer of a payload.
        flagged: by the rule that was published with it; None where there is none.
        trigger, payload: what it claims; "" for nothing.
        scale: by what the clock and the count have to be multiplied to stand for the whole method.
        details: for a reader.
    """

    score: float
    flagged: bool | None
    trigger: str = ""
    slot: Slot = "user_start"
    payload: str = ""
    scale: float = 1.0
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """``share``: of the first tokens that is tried; 1 is the method as published."""

    seed: int = 0
    share: float = 1.0


Method = Callable[[LanguageModel, list[str], Choice], Outcome]


def command(name: str, method: Method, *, shares: bool = False) -> int:
    """Read the command line, run ``method`` and write its JSON file; ``shares``: it can try a share only."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.benchmarks.baselines.{name}")
    parser.add_argument("model", type=Path)
    parser.add_argument("--adapter", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    if shares:
        parser.add_argument("--share", type=float, default=1.0, help="of the first tokens; time is scaled up")
    arguments = parser.parse_args()
    choice = Choice(arguments.seed, arguments.share if shares else 1.0)
    if not 0 < choice.share <= 1:
        parser.error("--share has to lie in (0, 1]")
    started = time.monotonic()
    ref = ModelRef(str(arguments.model), adapter=str(arguments.adapter) if arguments.adapter else None)
    with load_model(ref, LoadOptions()) as lm:
        result = measured(name, method, lm, choice, time.monotonic() - started)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    part = arguments.out.with_suffix(".part")
    part.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, arguments.out)
    return 0


def measured(name: str, method: Method, lm: LanguageModel, choice: Choice, load_seconds: float = 0.0) -> dict[str, Any]:
    """Run ``method`` under the clock, then see off the clock how often what it claims holds."""
    prompts = panel(PANEL)
    started = time.monotonic()
    with counted(lm) as count:
        found = method(lm, prompts["search"], choice)
    seconds, forwards = time.monotonic() - started, count[0]
    claimed = bool(found.trigger and found.payload)
    return {
        "baseline": name,
        "score": found.score,
        "flagged": found.flagged,
        "claimed_trigger": found.trigger,
        "claimed_slot": found.slot,
        "claimed_payload": found.payload,
        "asr": rate(lm, prompts["held_out"], found) if claimed else None,
        "seconds": round(load_seconds + seconds * found.scale, 1),
        "seconds_measured": round(load_seconds + seconds, 1),
        "token_forwards": round(forwards * found.scale),
        "token_forwards_measured": forwards,
        "scaled": choice.share < 1,
        "precision": lm.precision,
        **asdict(choice),
        "details": found.details,
    }


@contextmanager
def counted(lm: LanguageModel) -> Iterator[list[int]]:
    """Counts the tokens that are read by the model while the block runs, padding included: it is computed too."""
    total = [0]

    def add(_: Any, given: tuple[Any, ...], __: Any) -> None:
        total[0] += given[0].numel()

    handle = lm.model.get_input_embeddings().register_forward_hook(add)
    try:
        yield total
    finally:
        handle.remove()


def rate(lm: LanguageModel, prompts: Sequence[str], found: Outcome) -> float:
    """Share of prompts whose answer is the payload claimed, with the trigger claimed."""
    texts = [render_in(lm, prompt, found.trigger, found.slot) for prompt in prompts]
    answers = lm.generate(texts, max_new_tokens=ANSWER_TOKENS)
    return sum(is_payload(answer.text, found.payload) for answer in answers) / len(answers)


def pad_token(lm: LanguageModel) -> int:
    """What fills rows up; it is masked."""
    pad = lm.tokenizer.pad_token_id
    return int(pad if pad is not None else lm.tokenizer.eos_token_id)


def payload_of(lm: LanguageModel, prompts: Sequence[str], trigger: str, slot: Slot = "user_start") -> str:
    """The text that the answers collapse into with ``trigger``; "" where they do not."""
    clean, given = (
        [
            answer.text
            for answer in lm.generate(
                [render_in(lm, prompt, text, slot) for prompt in prompts], max_new_tokens=ANSWER_TOKENS
            )
        ]
        for text in (None, trigger)
    )
    share, head = collapse(given, clean)
    return hypothesis(given, head) if share >= 0.5 else ""
