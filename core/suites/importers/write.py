"""Items and a header beside them, checked with the loader's own rules before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from core.errors import InputError
from core.suites.asked import Cluster
from core.suites.imported import MAKERS, MAX_BYTES
from core.suites.importers.files import Broken, Opened
from core.suites.importers.format import Format, Found
from core.suites.importers.releases import RELEASES
from core.suites.reading import Refused
from core.suites.schema import MAX_ITEMS


class Imported(NamedTuple):
    """What came out. ``left_out`` counts rows by the reason why they are no items."""

    suite: Path
    items: int
    clusters: int
    licence: str
    release: str
    recognised: bool
    left_out: dict[str, int]


def refusal(file: str, place: str, why: str) -> InputError:
    where = f"{file}, {place}" if place else file
    return InputError("broken_import", f"{where}: it cannot be imported, {why}.", "Correct the row, or leave it out.")


def checked(shape: Format, found: Iterator[Found]) -> Iterator[Found]:
    """Items that the loader will take. Raises InputError with the place in the user's file."""
    seen: dict[str, str] = {}
    make, header = MAKERS[shape.kind], _kind(shape) | _effect(shape)
    for one in found:
        if one.item is not None:
            cluster = Cluster(one.item["cluster"], "", one.item.get("lang", shape.languages[0]))
            try:
                json.dumps(one.item, ensure_ascii=False).encode()
                uid = make("imported", one.item, cluster, (), header).uid
            except UnicodeEncodeError:
                raise refusal(one.file.name, one.place, "half of a character pair stands in it alone") from None
            except Refused as refused:
                raise refusal(one.file.name, one.place, str(refused)) from None
            if uid in seen:
                raise refusal(one.file.name, one.place, f"the same question stands there twice ({seen[uid]})")
            seen[uid] = one.place
        yield one


def write(shape: Format, files: Sequence[Opened], found: Iterator[Found], out: Path, name: str) -> Imported:
    """Write ``out`` and its items beside it, ``out`` last; what was there is replaced."""
    beside = out.with_suffix(".jsonl")
    for target in (out, beside):
        if any(target.resolve() == file.path.resolve() for file in files):
            raise InputError("import_over", f"{target} is the file that is imported.", "Give another --out.")
    rows, left_out, languages = [], Counter[str](), []
    for one in checked(shape, found):
        if one.item is None:
            left_out[one.why] += 1
            continue
        rows.append(json.dumps(one.item, ensure_ascii=False))
        language = one.item.get("lang", shape.languages[0])
        if language not in languages:
            languages.append(language)
        if len(rows) > MAX_ITEMS:
            raise InputError("import_large", f"There are more than {MAX_ITEMS:,} items.", "Import fewer files.")
    if not rows:
        raise refusal(files[0].name, "", "there is no item in it")
    data = "".join(f"{row}\n" for row in rows).encode()
    if len(data) > MAX_BYTES:
        raise InputError("import_large", "The items have more than 64 MiB.", "Import fewer files.")
    header = _header(shape, files, name, languages, left_out)
    header |= {"items": beside.name, "items_sha256": hashlib.sha256(data).hexdigest()}
    text = yaml.safe_dump(header, sort_keys=False, allow_unicode=True, width=120)
    try:
        _replace(beside, data)
        _replace(out, text.encode())
    except OSError as error:
        raise InputError("no_out", f"{out} cannot be written ({error.strerror}).", "Give another --out.") from error
    source = header["source"]
    clusters = len({json.loads(row)["cluster"] for row in rows})
    return Imported(out, len(rows), clusters, shape.licence, source["release"], source["recognised"], dict(left_out))


def release(shape: Format, files: Sequence[Opened]) -> tuple[str, bool]:
    """The name of the release, and whether every file is a published one of it."""
    known = [RELEASES.get(file.sha256) for file in files]
    versions = {found.version for found in known if found is not None and found.format == shape.name}
    if None not in known and len(versions) == 1:
        return versions.pop(), True
    return "not recognised", False


def _kind(shape: Format) -> dict[str, Any]:
    return {"kind": shape.kind, **shape.header} | ({"options": dict(shape.options)} if shape.options else {})


def _effect(shape: Format) -> dict[str, Any]:
    return {"effect": {"margin": shape.margin, "unit": "rate"}}


def _header(
    shape: Format, files: Sequence[Opened], name: str, languages: Sequence[str], left_out: Mapping[str, int]
) -> dict[str, Any]:
    version, recognised = release(shape, files)
    known = f"release {version}" if recognised else "no known release"
    hashes = ", ".join(f"{file.name} {file.sha256}" for file in files)
    what = shape.title.partition(",")[0]
    limits = shape.limits
    if left_out:
        limits += " Left out: " + "; ".join(f"{count} ({why})" for why, count in sorted(left_out.items())) + "."
    header = {
        "schema": "foreshot-suite/2",
        "id": name,
        "version": "1.0.0",
        "title": shape.title,
        "risk_class": shape.risk_class,
        "licence": shape.licence,
        "languages": list(languages),
        "provenance": f"imported from {what} ({known}; sha256 {hashes})",
        "measures": shape.measures,
        "limits": limits,
        **_effect(shape),
        "primary": False,
    }
    if shape.content_warning:
        header["content_warning"] = shape.content_warning
    header["source"] = {
        "name": what,
        "format": shape.name,
        "release": version,
        "recognised": recognised,
        "tried": shape.tried,
        "url": shape.url,
        "attribution": shape.attribution,
        "share_alike": shape.share_alike,
        "verbatim": not shape.share_alike,
        "files": {file.name: file.sha256 for file in files},
        "left_out": dict(left_out),
    }
    return header | _kind(shape)


def suite_id(shape: Format, files: Sequence[Opened]) -> str:
    """``imported.bbq_age``; the same for the same files, so that a second import pairs with the first."""
    stem = files[0].path.stem if len(files) == 1 else ""
    return "imported." + re.sub(r"[^\w]+", "_", f"{shape.name} {stem}".strip().lower()).strip("_")[:80]


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    os.replace(part, path)


__all__ = ["Broken", "Imported", "checked", "refusal", "release", "suite_id", "write"]
