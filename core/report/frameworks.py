"""Risk class → its place in OWASP, ATLAS, NIST, AVID and the EU AI Act, with the version that was read."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import yaml

from core.types import RESOURCES


class Framework(msgspec.Struct, frozen=True):
    """One framework in the version that the mapping was made against."""

    name: str
    version: str
    date: str


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One number of a framework."""

    id: str
    name: str


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((RESOURCES / "report" / "frameworks.yaml").read_text("utf-8"))
    return data


def frameworks() -> dict[str, Framework]:
    """Every framework by its short name."""
    return msgspec.convert(_data()["frameworks"], dict[str, Framework])


def notes() -> tuple[str, ...]:
    """What a reader must know of the mapping as a whole."""
    return tuple(_data()["notes"])


def entries(risk_class: str, framework: str) -> tuple[Entry, ...]:
    """A class's entries in one framework; empty where it has none or the class is unknown."""
    return msgspec.convert(_data()["classes"].get(risk_class, {}).get(framework, []), tuple[Entry, ...])
