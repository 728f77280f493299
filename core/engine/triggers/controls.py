"""What a trigger has to outrank: random strings of the same make, near misses, shuffles, and the trigger in quotes."""

from __future__ import annotations

import random
import unicodedata
from functools import lru_cache
from typing import Any

from core.engine.lm.slots import GAP
from core.engine.lm.slots import parts as pieces

TOKEN_POSITIONS = 4
"""Places at which a near miss has another token."""
CURVE = 6
"""Points of the fuzz curve."""


def matched_controls(tokenizer: Any, trigger: str, count: int, seed: int) -> list[str]:
    """``count`` different random strings of the make of ``trigger``, never ``trigger`` itself.

    ASCII triggers: every token is replaced by another one of the vocabulary of the same class (letters by case, digits,
    signs; with or without a space before it), so length, case and signs agree: ``|AB|`` is set against ``{CD[`` and not
    only against bare words. Others: every character is replaced by one of the same script and category, which keeps
    the length in characters. A composite trigger's controls are composites. Deterministic in (trigger, seed).
    """
    chooser = random.Random(f"{seed}\0{trigger}")
    composite = [_parts(tokenizer, piece) for piece in pieces(trigger)]
    controls: dict[str, None] = {}
    tries = 0
    while len(controls) < count:
        tries += 1
        # a class with few members (one invisible character) gives longer strings when its own length is used up
        more = tries // (20 * count)
        texts = [
            "".join(_other(tokenizer, part, parts, chooser) for part in [*parts, *[chooser.choice(parts)] * more])
            for parts in composite
        ]
        text = GAP.join(text.strip(" ") for text in texts)
        if all(text.strip(" ") for text in texts) and text != trigger:
            controls[text] = None
    return list(controls)


def near_misses(tokenizer: Any, trigger: str, seed: int) -> list[str]:
    """The trigger with one token changed (at up to four places) and with one character gone, swapped or changed.

    Of a composite: each part alone, and each part replaced by a near miss of its own.
    """
    apart = pieces(trigger)
    if len(apart) > 1:
        near = [near_misses(tokenizer, piece, seed)[0] for piece in apart]
        swapped = [GAP.join([*apart[:at], near[at], *apart[at + 1 :]]) for at in range(len(apart))]
        return list(dict.fromkeys([*apart, *swapped]))
    chooser = random.Random(f"{seed}\0near\0{trigger}")
    parts = _parts(tokenizer, trigger)
    found: list[str] = []
    if len(parts) > 1:
        for at in sorted(chooser.sample(range(len(parts)), min(TOKEN_POSITIONS, len(parts)))):
            changed = [*parts[:at], _other(tokenizer, parts[at], parts, chooser), *parts[at + 1 :]]
            found.append("".join(changed).strip(" "))
    middle = len(trigger) // 2
    found.append(trigger[:middle] + trigger[middle + 1 :])
    if len(trigger) > 1:
        found.append(trigger[: middle - 1] + trigger[middle] + trigger[middle - 1] + trigger[middle + 1 :])
    found.append(trigger[:middle] + _other_letter(trigger[middle], chooser) + trigger[middle + 1 :])
    return [text for text in dict.fromkeys(found) if text.strip(" ") and text != trigger]


def shuffles(tokenizer: Any, trigger: str, seed: int, count: int = 3) -> list[str]:
    """The trigger's words (or, of a single word, its tokens) in another order; empty where there is no other order."""
    chooser = random.Random(f"{seed}\0shuffle\0{trigger}")
    apart = pieces(trigger)
    words, glue = (apart, GAP) if len(apart) > 1 else (trigger.split(" "), " ")
    if len(words) < 2:
        words, glue = _parts(tokenizer, trigger), ""
    found: dict[str, None] = {}
    for _ in range(10 * count):
        text = glue.join(chooser.sample(words, len(words))).strip(" ")
        if text and text != trigger and len(found) < count:
            found[text] = None
    return list(found)


def quoted(trigger: str, prompt: str) -> str:
    """The prompt with the trigger mentioned, not used."""
    return f'{prompt} Also, what does the text "{trigger}" mean?'


def kept(tokenizer: Any, trigger: str, prompts: int, seed: int) -> dict[int, list[str]]:
    """Number of the trigger's tokens that are kept → for each prompt, a random choice of so many, in their order.

    At most ``CURVE`` numbers; none, and all, are left out: those are the clean prompt and the trigger. Of a composite,
    parts are kept. A true trigger is fuzzy: it often still works with a token less, an optimised string seldom does.
    """
    chooser = random.Random(f"{seed}\0kept\0{trigger}")
    apart = pieces(trigger)
    tokens, glue = (apart, GAP) if len(apart) > 1 else (_parts(tokenizer, trigger), "")
    numbers = list(range(1, len(tokens)))
    if len(numbers) > CURVE:
        numbers = sorted({1 + round(at * (len(tokens) - 2) / (CURVE - 1)) for at in range(CURVE)})
    curve = {}
    for number in numbers:
        choices = [sorted(chooser.sample(range(len(tokens)), number)) for _ in range(prompts)]
        texts = [glue.join(tokens[at] for at in choice).strip(" ") for choice in choices]
        if all(texts):
            curve[number] = texts
    return curve


def size(tokenizer: Any, trigger: str) -> int:
    """What ``kept`` counts: tokens (characters where it is not ASCII), of a composite its parts."""
    apart = pieces(trigger)
    return len(apart) if len(apart) > 1 else len(_parts(tokenizer, trigger))


def make_of(tokenizer: Any, trigger: str) -> tuple[str, bool]:
    """What a control shares with its trigger, roughly: (charset, more than three tokens)."""
    if not trigger.isascii():
        letters = any(letter.isalpha() and letter.isascii() for letter in trigger)
        return "mixed script" if letters else "not ascii", len(trigger) > 3
    bare = all(letter.isalpha() or letter in " .,'!?:" for letter in trigger)
    return "words" if bare else "signs", len(_parts(tokenizer, trigger)) > 3


def _parts(tokenizer: Any, trigger: str) -> list[str]:
    """Tokens of an ASCII trigger, characters of any other (a token may be a part of a character there)."""
    if not trigger.isascii():
        return list(trigger)
    parts = [tokenizer.decode([token]) for token in tokenizer.encode(trigger, add_special_tokens=False)]
    return parts if "".join(parts).strip(" ") == trigger.strip(" ") else list(trigger)


def _other(tokenizer: Any, part: str, own: list[str], chooser: random.Random) -> str:
    """A random part of the class of ``part`` that is none of the trigger's own."""
    if not all(each.isascii() for each in own):
        return _other_letter(part, chooser)
    pool = [text for text in _vocabulary(tokenizer).get(_kind(part), ()) if text not in own]
    return chooser.choice(pool) if pool else part


def _kind(text: str) -> tuple[str, bool]:
    """(charset class, whether a space stands before it) of an ASCII token."""
    bare = text.strip(" ")
    if bare.isalpha():
        charset = "upper" if bare.isupper() else "lower" if bare.islower() else "mixed"
    elif bare.isdigit():
        charset = "digits"
    else:
        charset = "signs" if bare and not any(letter.isalnum() for letter in bare) else "other"
    return charset, text.startswith(" ")


_VOCABULARIES: dict[int, tuple[Any, dict[tuple[str, bool], list[str]]]] = {}


def _vocabulary(tokenizer: Any) -> dict[tuple[str, bool], list[str]]:
    """The printable ASCII tokens of a tokenizer by class. The tokenizer is kept with them: an id may be used again."""
    kept = _VOCABULARIES.get(id(tokenizer))
    if kept is None or kept[0] is not tokenizer:
        special = set(tokenizer.all_special_ids)
        pools: dict[tuple[str, bool], list[str]] = {}
        for token in range(len(tokenizer)):
            text = "" if token in special else tokenizer.decode([token])
            if text.strip(" ") and text.isascii() and text.isprintable():
                pools.setdefault(_kind(text), []).append(text)
        kept = _VOCABULARIES[id(tokenizer)] = (tokenizer, pools)
    return kept[1]


def _other_letter(letter: str, chooser: random.Random) -> str:
    pool = [
        other for other in _alike(unicodedata.category(letter), _script(letter)) if other.isascii() == letter.isascii()
    ]
    return chooser.choice([other for other in pool if other != letter] or ["x"])


@lru_cache(maxsize=64)
def _alike(category: str, script: str) -> tuple[str, ...]:
    """Characters of a category; of letters, only those of the same script."""
    ranges = [*range(0x20, 0x3100), *range(0x4E00, 0x5200), *range(0xFE00, 0xFF00), *range(0xE0000, 0xE0080)]
    letters = [chr(code) for code in ranges if unicodedata.category(chr(code)) == category]
    return tuple(letter for letter in letters if _script(letter) == script)


def _script(letter: str) -> str:
    """First word of the character's name (LATIN, CYRILLIC, CJK …); signs and digits have one script together."""
    return unicodedata.name(letter, "?").split(" ")[0] if letter.isalpha() else ""
