"""Any CSV, TSV, JSONL or JSON list, with columns named by the user: --map prompt=question --map cluster=topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.suites.importers.files import Broken, Opened, Row, json_rows, table
from core.suites.importers.format import Format, Found

KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "pairs": (("more", "less"), ("context",)),
    "refusal": (("prompt",), ("twin",)),
    "prompts": (("prompt",), ()),
    "choice": (("ask", "right", "wrong"), ()),
    "decision": (("ask", "reference", "favourable", "unfavourable"), ()),
}
"""Kind → (names that have to be mapped, names that may be)."""
LISTS = ("right", "wrong", "favourable", "unfavourable")
"""In a table, several answers in one field are parted by |."""
ALWAYS = ("id", "cluster", "group", "lang")


def reader(kind: str) -> Any:
    """The reader for items of ``kind``."""

    def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
        required, optional = KINDS[kind]
        for name in mapping:
            if name not in (*required, *optional, *ALWAYS):
                raise Broken(
                    f"--map {name}=… is not known for kind {kind} ({', '.join((*required, *optional, *ALWAYS))})"
                )
        columns = {name: mapping.get(name, name) for name in required}
        columns |= {name: mapping[name] for name in (*optional, *ALWAYS) if name in mapping}
        for file in files:
            for number, row in enumerate(rows(file, tuple(columns.values())), 1):
                item = {name: _value(row, name, column) for name, column in columns.items()}
                item.setdefault("cluster", f"{file.path.stem} {number}")
                yield Found(file, row.place, {name: value for name, value in item.items() if value != ""})

    return read


def rows(file: Opened, columns: Sequence[str] = ()) -> Iterator[Row]:
    """Rows of whatever the file is; ``columns`` have to be there."""
    if file.path.suffix.lower() not in (".json", ".jsonl", ".ndjson"):
        yield from table(file, columns)
        return
    for row in json_rows(file):
        missing = next((column for column in columns if column not in row.values), None)
        if missing is not None:
            raise Broken(f"there is no {missing} (names: {', '.join(row.values)})", row.place)
        yield row


def _value(row: Row, name: str, column: str) -> Any:
    value = row.values[column]
    if name in LISTS:
        parts = value if isinstance(value, list) else str(value).split("|")
        if not parts or not all(isinstance(part, str) and part.strip() for part in parts):
            raise Broken(f"{column} is not one or more texts", row.place)
        return [part if isinstance(value, list) else part.strip() for part in parts]
    if isinstance(value, bool | float | dict | list) or value is None:
        raise Broken(f"{column} is not a text", row.place)
    if not str(value).strip() and name not in ("group", "lang", "context"):
        raise Broken(f"{column} is empty", row.place)
    return str(value).strip() if name in ALWAYS else str(value)


def generic(kind: str) -> Format:
    """The format of a table that becomes a suite of ``kind``."""
    return Format(
        name="table",
        title="A table of one's own",
        files="a .csv, .tsv, .jsonl or .json file, and --map NAME=COLUMN for each of the kind's names",
        kind=kind,
        risk_class={"choice": "KN", "decision": "AD", "pairs": "SB"}.get(kind, "CE"),
        licence="not stated",
        attribution="not stated",
        url="",
        measures="What the table's author meant it to; the importer cannot know.",
        limits="Not reviewed. Without a cluster column every row counts as written independently.",
        read=reader(kind),
        tried=True,
        header={"choice": {"of": "right"}}.get(kind, {}),
    )
