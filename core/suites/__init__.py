"""Suites: the shipped ones by id, a user's own by path."""

from __future__ import annotations

import re
from pathlib import Path

from core.errors import InputError
from core.suites.items import Item, Suite, Term
from core.suites.schema import read_suite
from core.types import RESOURCES

__all__ = ["Item", "Suite", "Term", "list_suites", "load_suite", "read_suite"]


def list_suites() -> list[Suite]:
    """Every shipped suite, by file name."""
    return [read_suite(path) for path in _shipped()]


def load_suite(name: str) -> Suite:
    """A suite by id, or by the path of its file."""
    if name.endswith((".yaml", ".yml")):
        return read_suite(Path(name))
    shipped = {_id(path): path for path in _shipped()}
    if name not in shipped:
        raise InputError("no_suite", f"There is no suite {name}.", f"Use one of {', '.join(shipped)}, or a .yaml file.")
    return read_suite(shipped[name])


def _shipped() -> list[Path]:
    return sorted((RESOURCES / "suites").glob("*.yaml"))


def _id(path: Path) -> str:
    """The id that a shipped file states, without reading all of it as YAML."""
    found = re.search(rb"^id:\s*(\S+)", path.read_bytes(), re.MULTILINE)
    return found[1].decode() if found else path.stem
