"""Files as users have them: a BOM, CRLF, empty lines, quotes and very long fields are read; what is broken is refused.

Every row comes with its place ("line 12", "entry 3"), so that a refusal can name it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from core.errors import InputError

MAX_BYTES = 256 << 20
MAX_FIELD = 16 << 20
_LINE_END = re.compile(r"\r\n|\n|\r")  # not str.splitlines: U+2028 may stand inside a JSON text
_COMMA_BEFORE_END = re.compile(r",(?=\s*[\]}])")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class Broken(Exception):
    """Why a row, or a file (``place`` ""), cannot be imported."""

    def __init__(self, why: str, place: str = "") -> None:
        super().__init__(why)
        self.place = place


class Row(NamedTuple):
    """``values`` by column name, all texts for CSV."""

    place: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Opened:
    """One file, read whole."""

    path: Path
    data: bytes

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def name(self) -> str:
        return self.path.name

    @cached_property
    def text(self) -> str:
        """UTF-8 with or without a BOM, or UTF-16 with one."""
        if self.data.startswith(_UTF16):
            try:
                return self.data.decode("utf-16")
            except UnicodeDecodeError:
                raise Broken("it starts like UTF-16 and is not") from None
        try:
            return self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            raise Broken(f"byte {self.data[error.start]:#04x} is not UTF-8", f"line {line}") from None

    @cached_property
    def quoted(self) -> bool:
        """Whether a tab-separated file quotes fields as CSV does, or its quotation marks are text.

        It quotes where reading it so gives every row as many fields as the header has.
        """
        csv.field_size_limit(MAX_FIELD)
        try:
            reader = csv.reader(io.StringIO(self.text, newline=""), delimiter="\t", strict=True)
            return len({len(fields) for fields in reader if any(fields)}) == 1
        except csv.Error:
            return False


def open_file(path: Path) -> Opened:
    """Read a file. Raises InputError where it cannot be read or is too large."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError("import_large", f"{path} has more than 256 MiB.", "Import a part of it.")
        return Opened(path, path.read_bytes())
    except OSError as error:
        raise InputError("no_import", f"{path} cannot be read ({error.strerror}).", "Check the path.") from error


def lines(file: Opened) -> Iterator[tuple[str, str]]:
    """(place, line) of each line with something in it."""
    for number, line in enumerate(_LINE_END.split(file.text), 1):
        if line.strip():
            yield f"line {number}", line


def json_rows(file: Opened) -> Iterator[Row]:
    """Objects, one a line, or one list of objects. A BOM inside the first key is dropped."""
    if file.text.lstrip("\ufeff \t\r\n").startswith("["):
        found: Iterator[tuple[str, Any]] = (
            (f"entry {number}", value) for number, value in enumerate(json_value(file), 1)
        )
    else:
        found = ((place, _json(line.lstrip("\ufeff"), place)) for place, line in lines(file))
    for place, value in found:
        if not isinstance(value, dict):
            raise Broken("it is not an object with names and values", place)
        yield Row(place, {key.lstrip("\ufeff").strip(): entry for key, entry in value.items()})


def json_value(file: Opened) -> Any:
    """The whole file as one JSON value; a comma before a closing bracket is forgiven, as published files have it."""
    try:
        return json.loads(file.text)
    except (ValueError, RecursionError):
        return _json(_without_spare_commas(file.text), "")


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Broken(f"it is not JSON ({error.msg})", place or f"line {error.lineno}") from None
    except (RecursionError, ValueError):
        raise Broken("it is JSON that no data set needs", place) from None


def _without_spare_commas(text: str) -> str:
    """Only outside of texts: those are skipped over."""
    parts = re.split(r'("(?:[^"\\]|\\.)*")', text)
    return "".join(part if index % 2 else _COMMA_BEFORE_END.sub("", part) for index, part in enumerate(parts))


def table(file: Opened, required: Sequence[str], delimiters: str = ",\t;") -> Iterator[Row]:
    """Rows of a CSV or TSV file whose header holds ``required``; the delimiter is the one that finds them.

    Fields hold line ends where they are quoted. A row with too few or too many fields is refused.
    """
    delimiter = next((mark for mark in delimiters if set(required) <= set(_header(file, mark))), None)
    if delimiter is None:
        found = max((_header(file, mark) for mark in delimiters), key=len)
        missing = next(name for name in required if name not in found)
        raise Broken(f"there is no column {missing} (columns: {', '.join(found) or 'none'})", "line 1")
    names = _header(file, delimiter)
    for place, fields in _records(file, delimiter, skip=1):
        if len(fields) != len(names):
            raise Broken(f"it has {len(fields)} fields where the header has {len(names)}", place)
        yield Row(place, dict(zip(names, fields, strict=True)))


def _header(file: Opened, delimiter: str) -> list[str]:
    fields = next(_records(file, delimiter, skip=0), ("", []))[1]
    names = [field.strip().lstrip("\ufeff") for field in fields]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise Broken(f"column {repeated or 'without a name'} stands there twice", "line 1")
    return names


def _records(file: Opened, delimiter: str, skip: int) -> Iterator[tuple[str, list[str]]]:
    """(place, fields); the place is the line where the record starts."""
    csv.field_size_limit(MAX_FIELD)
    text = io.StringIO(file.text, newline="")
    if delimiter == "\t" and not file.quoted:
        reader = csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(text, delimiter=delimiter, strict=True)
    seen, start = 0, 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise Broken(f"it is not CSV ({error})", f"line {start}") from None
        place, start = f"line {start}", reader.line_num + 1
        if not any(field.strip() for field in fields):
            continue
        seen += 1
        if seen > skip:
            yield place, fields


def need_text(row: Row, name: str) -> str:
    """A text that is there and not blank."""
    value = row.values.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Broken(f"{name} is missing or empty", row.place)
    return value


def need_one_of(row: Row, name: str, allowed: Sequence[str]) -> str:
    value = need_text(row, name)
    if value not in allowed:
        raise Broken(f"{name} is {value[:40]!r}, not one of {', '.join(allowed)}", row.place)
    return value
