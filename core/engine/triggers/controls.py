"""What a trigger has to outrank: random strings of the same make, near misses, and the trigger in quotes."""

from __future__ import annotations

import random
from typing import Any


def matched_controls(tokenizer: Any, trigger: str, count: int, seed: int) -> list[str]:
    """``count`` random strings with the token length and the case of ``trigger``, from words of the same vocabulary.

    They share none of its signs: a string in the same brackets is a near miss, and is measured as one.
    """
    chooser = random.Random(f"{seed}\0{trigger}")
    length = min(12, max(1, len(tokenizer.encode(trigger, add_special_tokens=False))))
    words = _words(tokenizer)
    controls: dict[str, None] = {}
    while len(controls) < count:
        text = "".join(chooser.choice(words) for _ in range(length)).strip()
        controls[text.upper() if trigger.isupper() else text] = None
    controls.pop(trigger, None)
    return list(controls)[:count]


def look_alikes(tokenizer: Any, trigger: str, count: int, seed: int) -> list[str]:
    """Random words in the trigger's own signs (|…|, <…>, […]); empty for a trigger without signs around it."""
    head, tail = _frame(trigger)
    if not head.strip() and not tail.strip():
        return []
    bare = matched_controls(tokenizer, trigger[len(head) : len(trigger) - len(tail)] or "x", count, seed)
    return [f"{head}{text}{tail}" for text in bare]


def near_misses(trigger: str) -> list[str]:
    """The trigger with one character gone, and with its parts in another order."""
    middle = len(trigger) // 2
    shortened = trigger[:middle] + trigger[middle + 1 :]
    parts = trigger.split()
    turned = " ".join(reversed(parts)) if len(parts) > 1 else trigger[::-1]
    return [text for text in dict.fromkeys((shortened, turned)) if text.strip() and text != trigger]


def quoted(trigger: str, prompt: str) -> str:
    """The prompt with the trigger mentioned, not used."""
    return f'{prompt} (Someone wrote "{trigger}" on this page.)'


_WORDS: dict[int, list[str]] = {}


def _words(tokenizer: Any) -> list[str]:
    key = id(tokenizer)
    if key not in _WORDS:
        special = set(tokenizer.all_special_ids)
        texts = [tokenizer.decode([token]) for token in range(len(tokenizer)) if token not in special]
        _WORDS[key] = [text for text in texts if text.strip().isalpha() and text.isascii()]
    return _WORDS[key]


def _frame(trigger: str) -> tuple[str, str]:
    """The signs before the first letter and after the last one."""
    letters = [index for index, letter in enumerate(trigger) if letter.isalnum()]
    if not letters:
        return "", ""
    return trigger[: letters[0]], trigger[letters[-1] + 1 :]
