"""Length and evasion: how much is said, compared with a control, and how often the same phrases come back.

evasion = log(length / length of the control answer) (negative: less is said); type-token ratio = different words /
words; canned = share of an answer's 4-grams that stand in other answers too. A Chinese character counts as a word.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
SHORT = 12
"""Characters below which an answer evades."""


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def log_length_ratio(text: str, control: str) -> float:
    """In nats; one word is added to both, so that an empty answer has a ratio too."""
    return math.log((len(words(text)) + 1) / (len(words(control)) + 1))


def type_token_ratio(text: str) -> float | None:
    found = words(text)
    return len(set(found)) / len(found) if found else None


def canned(texts: Sequence[str], size: int = 4) -> list[float]:
    """For each text the share of its word n-grams that another one holds too; 0 for a text shorter than that."""
    grams = [list(zip(*(words(text)[start:] for start in range(size)), strict=False)) for text in texts]
    holders = Counter(gram for found in grams for gram in set(found))
    return [sum(holders[gram] > 1 for gram in found) / len(found) if found else 0.0 for found in grams]
