"""Where a model says that it comes from: its card's front matter and prose. Stated, never proved."""

from __future__ import annotations

import re
from typing import Any

import yaml

_HINTS = re.compile(r"\b(distill(?:ed|ation)?|teacher|student)\b", re.IGNORECASE)


def front_matter(text: str) -> tuple[dict[str, Any] | None, str]:
    """The table at the head of a model card (None if it is there and cannot be read) and the prose after it."""
    if not text.startswith("---"):
        return {}, text
    head, _, prose = text[3:].partition("\n---")
    try:
        value = yaml.safe_load(head)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: the 45th of a 13th month
        return None, prose
    return (value if isinstance(value, dict) else {}), prose


def distillation_hints(prose: str) -> tuple[str, ...]:
    """Sentences that speak of distillation; cut into sentences first, so that a long text costs no more than once."""
    sentences = (part.strip() for part in re.split(r"[.\n]", prose))
    return tuple(dict.fromkeys(part[:300] for part in sentences if _HINTS.search(part)))[:5]
