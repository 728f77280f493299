"""What a trigger has to outrank: random strings of the same make, near misses, and the trigger in quotes."""

from __future__ import annotations

import random
from typing import Any


def matched_controls(tokenizer: Any, trigger: str, count: int, seed: int) -> list[str]:
    """``count`` random strings with the token length of ``trigger``, from printable words of the same vocabulary.

    Half keep the trigger's frame of signs (|…|, <…>, […]) around random words, so that a control differs from the
    trigger in what it says and not in what it looks like.
    """
    chooser = random.Random(f"{seed}\0{trigger}")
    length = max(1, len(tokenizer.encode(trigger, add_special_tokens=False)))
    words = _words(tokenizer)
    head, tail = _frame(trigger)
    upper = trigger.isupper()
    controls: list[str] = []
    seen = {trigger}
    while len(controls) < count:
        inner = max(1, length - (2 if head or tail else 0))
        text = "".join(chooser.choice(words) for _ in range(min(inner, 12))).strip()
        if upper and len(controls) % 2:
            text = text.upper()
        if (head or tail) and len(controls) % 2 == 0:
            text = f"{head}{text.upper() if upper else text}{tail}"
        if text and text not in seen:
            seen.add(text)
            controls.append(text)
    return controls


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
