"""What an importer is: how a set is read, what it becomes, and under which licence it came."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from core.suites.importers.files import Opened


class Found(NamedTuple):
    """One item, as the suite's kind asks for it, and where it stood. Without an ``item``: left out, because ``why``."""

    file: Opened
    place: str
    item: dict[str, Any] | None
    why: str = ""


Read = Callable[[Sequence[Opened], Mapping[str, str]], Iterator[Found]]
"""(files, column mapping) → items. Raises Broken with the place of a row that cannot be read."""


@dataclass(frozen=True)
class Format:
    """A data set's format.

    Attributes:
        files: what to give, for a person. companions: names that may lie beside the file and belong to it.
        tried: whether the importer was tried on the published file, not only on the description of its format.
        share_alike: items may only be passed on under the same licence, so reports name them and do not print them.
        kind, header, options: of the suite that comes out.
    """

    name: str
    title: str
    files: str
    kind: str
    risk_class: str
    licence: str
    attribution: str
    url: str
    measures: str
    limits: str
    read: Read
    tried: bool = False
    share_alike: bool = False
    languages: tuple[str, ...] = ("en",)
    companions: Callable[[str], Sequence[str]] = lambda name: ()
    header: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    content_warning: str = ""
    margin: float = 0.05
