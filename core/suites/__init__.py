"""Suites: the shipped ones by id, a user's own by path."""

from __future__ import annotations

from pathlib import Path

from core.errors import InputError
from core.suites.items import Item, Suite, Term
from core.suites.schema import read_suite
from core.types import RESOURCES

__all__ = ["Item", "Suite", "Term", "list_suites", "load_suite", "read_suite"]


def list_suites() -> list[Suite]:
    """Every shipped suite, by file name."""
    return [read_suite(path) for path in sorted((RESOURCES / "suites").glob("*.yaml"))]


def load_suite(name: str) -> Suite:
    """A suite by id, or by the path of its file."""
    if name.endswith((".yaml", ".yml")):
        return read_suite(Path(name))
    shipped = {suite.id: suite for suite in list_suites()}
    if name not in shipped:
        raise InputError("no_suite", f"There is no suite {name}.", f"Use one of {', '.join(shipped)}, or a .yaml file.")
    return shipped[name]
