"""Data sets that a user downloaded → suites. Nothing of them is shipped, and nothing is fetched.

A format is one small file with a ``FORMAT``; what comes out is a header (YAML) and items (JSONL) beside it, as
``core/suites/imported.py`` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import InputError
from core.suites.importers import (
    bbq,
    bold,
    cbbq,
    crows_pairs,
    deccp,
    generic,
    holistic_bias,
    kobbq,
    neutrality,
    promptfoo,
    stereoset,
    winobias,
    winogender,
)
from core.suites.importers.files import Broken, Opened, open_file
from core.suites.importers.format import Format, Found
from core.suites.importers.releases import RELEASES
from core.suites.importers.write import Imported, checked, refusal, release, suite_id, write

__all__ = ["FORMATS", "KINDS", "Format", "Imported", "Preview", "import_set", "preview", "recognise"]

_MODULES = (bbq, bold, cbbq, crows_pairs, deccp, holistic_bias, kobbq, neutrality, promptfoo, stereoset)
FORMATS: dict[str, Format] = {module.FORMAT.name: module.FORMAT for module in (*_MODULES, winobias, winogender)} | {
    "table": generic.generic("prompts")
}
KINDS = tuple(generic.KINDS)
"""Kinds that a table of one's own can become."""


def import_set(
    name: str, paths: Sequence[Path], out: Path, *, kind: str = "prompts", mapping: Mapping[str, str] | None = None
) -> Imported:
    """Read ``paths`` as format ``name`` and write the suite to ``out`` (its items beside it).

    ``kind`` and ``mapping`` (name → column) are for the format ``table`` alone. Raises InputError in one sentence, with
    the file, the line and the reason.
    """
    if out.suffix not in (".yaml", ".yml"):
        raise InputError("import_out", f"{out} does not end in .yaml.", "Suites are YAML files.")
    shape, files = _shape(name, kind, mapping), _opened(name, paths)
    return write(shape, files, _read(shape, files, mapping), out, suite_id(shape, files))


class Preview(NamedTuple):
    """What a dialog shows before an import.

    Attributes:
        columns, rows: the items as they will be, at most ``limit``, all texts; "place" comes first.
        names: the file's own columns, for a mapping (format ``table`` alone).
        release: its name, or "not recognised". verbatim: whether reports may print items.
    """

    title: str
    kind: str
    licence: str
    attribution: str
    release: str
    recognised: bool
    tried: bool
    verbatim: bool
    limits: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]


def preview(
    name: str, path: Path, limit: int = 50, *, kind: str = "prompts", mapping: Mapping[str, str] | None = None
) -> Preview:
    """The first items of a file. Reads, checks and writes nothing; raises InputError as :func:`import_set` does."""
    shape, files = _shape(name, kind, mapping), _opened(name, [path])
    names: tuple[str, ...] = ()
    if name == "table":
        names = _guarded(files, lambda: tuple(next((row.values for row in generic.rows(files[0])), {})))
        required = generic.KINDS[kind][0]
        if any((mapping or {}).get(column, column) not in names for column in required):
            found: list[Found] = []  # nothing to show before the columns are named
        else:
            found = list(islice(checked(shape, _read(shape, files, mapping)), limit))
    else:
        found = list(islice(checked(shape, _read(shape, files, mapping)), limit))
    items = [{"place": one.place, **(one.item or {"left out": one.why})} for one in found]
    columns = tuple(dict.fromkeys(column for item in items for column in item))
    version, recognised = release(shape, files)
    return Preview(
        shape.title,
        shape.kind,
        shape.licence,
        shape.attribution,
        version,
        recognised,
        shape.tried,
        not shape.share_alike,
        shape.limits,
        columns,
        tuple(tuple(_shown(item.get(column, "")) for column in columns) for item in items),
        names,
    )


def recognise(path: Path) -> str | None:
    """The format of a published file, by its sha256."""
    found = RELEASES.get(open_file(path).sha256)
    return found.format if found else None


def _shape(name: str, kind: str, mapping: Mapping[str, str] | None) -> Format:
    if name not in FORMATS:
        raise InputError("no_format", f"There is no importer {name}.", f"Use one of {', '.join(FORMATS)}.")
    if name != "table":
        if mapping:
            raise InputError("import_map", f"{name} needs no columns named.", "Leave --map away, or use table.")
        return FORMATS[name]
    if kind not in KINDS:
        raise InputError("no_kind", f"A table cannot become {kind}.", f"Use one of {', '.join(KINDS)}.")
    shape = generic.generic(kind)
    if kind == "refusal":
        shape = replace(shape, header={"contrast": "twin" if "twin" in (mapping or {}) else "none_refuse"})
    return shape


def _opened(name: str, paths: Sequence[Path]) -> list[Opened]:
    """The files and those that belong to them and lie beside them, each once."""
    wanted = list(dict.fromkeys(paths))
    for path in paths:
        beside = (path.with_name(other) for other in FORMATS[name].companions(path.name))
        wanted += [other for other in beside if other.exists() and other not in wanted]
    return [open_file(path) for path in wanted]


def _read(shape: Format, files: Sequence[Opened], mapping: Mapping[str, str] | None) -> Iterator[Found]:
    """The reader's items, its refusals as InputErrors."""
    current = files[0]
    try:
        for one in shape.read(files, mapping or {}):
            current = one.file
            yield one
    except Broken as broken:
        raise refusal(current.name, broken.place, str(broken)) from None


def _guarded(files: Sequence[Opened], work: Any) -> Any:
    try:
        return work()
    except Broken as broken:
        raise refusal(files[0].name, broken.place, str(broken)) from None


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " | ".join(str(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {part}" for name, part in value.items())
    return str(value)
