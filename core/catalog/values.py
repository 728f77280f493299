"""Values out of files that anybody may have written."""

from __future__ import annotations

import hashlib
from typing import Any


def names(value: Any) -> tuple[str, ...]:
    """Strings only: to print a nested YAML alias could need more memory than there is."""
    return tuple(plain(name) for name in ([value] if isinstance(value, str) else items(value)) if isinstance(name, str))


def items(value: Any) -> list[Any]:
    """A list; anything else is an empty one."""
    return value if isinstance(value, list) else []


def tables(value: Any) -> list[dict[str, Any]]:
    """The tables of a list."""
    return [entry for entry in items(value) if isinstance(entry, dict)]


def plain(text: str) -> str:
    """Without halves of surrogate pairs, which can be neither shown nor saved."""
    return text.encode(errors="replace").decode()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def count(value: Any) -> int | None:
    """A count; None for anything else, and for what no model can have."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
