"""Suites as far as they can be read from written answers, and answers that somebody else wrote down.

A model that cannot be loaded here (too large, or behind an interface) gives no log-probabilities. What it answers can
still be read: whether it refuses, and which of the listed answers it names. Both sides of a pair are read alike.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from core.errors import InputError
from core.suites.items import Choice, Item, Plan, Prompt, Refusal, Suite

TOKENS = 96
"""Of an answer that is read for a refusal: one that goes on to answer shows it within these."""
CHOICE_TOKENS = 48
LIMITS = "Read from written answers by expressions that nobody calibrated, not from probabilities."


class Spoken(NamedTuple):
    """Suites of which every item is asked in words, and the titles of those that cannot be."""

    suites: tuple[Suite, ...]
    left_out: tuple[str, ...]

    def prompts(self) -> dict[str, int]:
        """Every different prompt, and the tokens that its answer may have."""
        found: dict[str, int] = {}
        for suite in self.suites:
            for item in suite.items:
                for text in asked(item.plan):
                    found[text] = max(found.get(text, 0), tokens(item.plan))
        return found


def spoken(suites: Sequence[Suite]) -> Spoken:
    """The items that ask a question in words; a suite's δ and direction stay, its hash says that it is read so."""
    kept, left_out = [], []
    for suite in suites:
        items = tuple(item for item in suite.items if asked(item.plan))
        if items:
            kept.append(_read_so(suite, items))
        else:
            left_out.append(suite.title)
    return Spoken(tuple(kept), tuple(left_out))


def _read_so(suite: Suite, items: tuple[Item, ...]) -> Suite:
    return suite._replace(
        items=items,
        kind="prompts",
        sha256=hashlib.sha256(f"{suite.sha256}\0spoken".encode()).hexdigest(),
        reads=f"{suite.reads}, in written answers",
        limits=f"{suite.limits} {LIMITS}",
    )


def asked(plan: Plan) -> tuple[str, ...]:
    """The prompts of one item, which are put as messages; empty where it cannot be asked in words."""
    if isinstance(plan, Refusal):
        return tuple(text for text, _, _ in plan.prompts)
    if isinstance(plan, Choice) and plan.chat:
        return (plan.context,)
    if isinstance(plan, Prompt) and plan.chat:
        return (plan.text,)
    return ()


def tokens(plan: Plan) -> int:
    if isinstance(plan, Prompt):
        return plan.max_new_tokens
    return CHOICE_TOKENS if isinstance(plan, Choice) else TOKENS


def named(answer: str, options: Iterable[str]) -> list[int]:
    """Numbers of the options that the answer names, as whole words; Chinese has no gaps between words."""
    said = _plain(answer)
    found = []
    for number, option in enumerate(options):
        words = re.escape(_plain(option))
        if words and re.search(rf"(?<![^\W\u3400-\u9fff]){words}(?![^\W\u3400-\u9fff])", said):
            found.append(number)
    return found


def _plain(text: str) -> str:
    return " ".join(text.casefold().replace("’", "'").split()).strip(" .!?。！？\"'“”")


def prompt_uid(text: str) -> str:
    """A prompt's id in a file of answers: sha1 of what is asked."""
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def prompt_lines(prompts: Mapping[str, int]) -> bytes:
    """JSON lines with uid, prompt and max_new_tokens, for whoever asks the other model."""
    rows = ({"uid": prompt_uid(text), "prompt": text, "max_new_tokens": most} for text, most in prompts.items())
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def answers_sha256(path: Path) -> str:
    """Sha256 of a file of answers. Raises InputError where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError("no_answers", f"{path} cannot be read.", "Give the file with the answers.") from error


def read_answers(path: Path) -> dict[str, str]:
    """Answer by uid. Raises InputError that names the line. Other fields (a model's name, log-probs) are not read."""
    hint = 'Each line is {"uid": …, "answer": …}; `python -m core suites --prompts FILE` writes the prompts.'
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("no_answers", f"{path} cannot be read as a text file.", hint) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            uid, answer = row["uid"], row["answer"]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError("bad_answers", f"{path.name}, line {number}, holds no uid and answer.", hint) from error
        if not isinstance(uid, str) or not isinstance(answer, str):
            raise InputError("bad_answers", f"{path.name}, line {number}: uid and answer have to be texts.", hint)
        if uid in found:
            raise InputError("bad_answers", f"{path.name}, line {number}: {uid} was answered before.", hint)
        found[uid] = answer
    if not found:
        raise InputError("bad_answers", f"{path.name} holds no answers.", hint)
    return found
