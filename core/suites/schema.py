"""A suite file → items. A person can write one in YAML; a broken one is refused with file, line and reason.

Schema 2 has four kinds that the project and its users write (contrast, refusal, choice, suppression) and kinds for
imported sets; schema 1 (pair, contrast with one target) stays readable. resources/help/suites.md describes them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from core.errors import InputError
from core.suites.asked import choices, refusals, suppressions
from core.suites.imported import IMPORT_ONLY, MAKERS, RefusedLine, imported
from core.suites.items import NATS, RISK_CLASSES, Choice, Item, Suite
from core.suites.paired import Expansion, contrasts, pairs, target_contrasts
from core.suites.reading import Refused, compose, construct, flag, line, may, names, need, only

SCHEMA = "foreshot-suite/2"
FIRST_SCHEMA = "foreshot-suite/1"
MAX_BYTES = 4 << 20
MAX_ITEMS = 200_000
TEXTS = ("id", "version", "title", "risk_class", "licence", "provenance", "measures", "limits")
_HEADER = (
    *("schema", "kind", "languages", "language", "effect", "primary", "content_warning", "citation", "authors"),
    *("source", "options", "items", "items_sha256", "entities", "controls", "templates", "clusters", "contrast", "of"),
    *("facts", "control_facts", *TEXTS),
)
_KINDS = {"contrast": contrasts, "refusal": refusals, "choice": choices, "suppression": suppressions}
_ID = re.compile(r"[\w][\w.-]{0,99}")


def read_suite(path: Path) -> Suite:
    """Read one file. Raises InputError with the line and the reason."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("no_suite", f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    tree: yaml.Node | None = None
    try:
        if len(data) > MAX_BYTES:
            raise Refused("a suite has at most 4 MiB")
        tree = compose(data)
        table = construct(tree)
        return _suite(table, hashlib.sha256(data).hexdigest(), path.parent)
    except RefusedLine as refusal:
        name = Path(str(table["items"])).name
        raise _broken(name, refusal.number, str(refusal), "Import the set again.") from None
    except Refused as refusal:
        raise _broken(path.name, line(tree, refusal.at), str(refusal)) from None
    except yaml.YAMLError as error:
        if "nesting depth" in str(error):
            raise _broken(path.name, 1, "it is YAML that no suite needs") from error
        mark = getattr(error, "problem_mark", None)
        raise _broken(path.name, mark.line + 1 if mark else 1, "it is not YAML") from error
    except (RecursionError, ValueError, TypeError) as error:  # too deep; impossible dates; a list as a key
        raise _broken(path.name, 1, "it is YAML that no suite needs") from error


def _suite(table: Any, sha256: str, folder: Path) -> Suite:
    if not isinstance(table, dict):
        raise Refused("it has to be a table of names and values")
    if table.get("schema") not in (SCHEMA, FIRST_SCHEMA):
        raise Refused(f"schema has to be {FIRST_SCHEMA} or {SCHEMA}", "schema")
    texts = {name: need(table, name, str) for name in TEXTS}
    first = table["schema"] == FIRST_SCHEMA
    margin, unit = _effect(table, first)
    if first:
        expand = {"pair": pairs, "contrast": target_contrasts}.get(str(table.get("kind")))
        if expand is None:
            raise Refused("kind has to be pair or contrast", "kind")
        found = expand(table, texts["id"])
        languages: tuple[str, ...] = ("en",)
    else:
        languages = _header(table)
        found = _expand(table, texts["id"], languages, folder)
    items: dict[str, Item] = {}
    for at, item in found:
        if item.uid in items:
            raise Refused("a template stands there twice" if first else "the same question stands there twice", *at)
        items[item.uid] = item
        if len(items) > MAX_ITEMS:
            raise Refused(f"a suite has at most {MAX_ITEMS:,} items", *at[:1])
    if not items:
        raise Refused("there is no item in it")
    kind = str(table["kind"])
    own = first or "items" not in table
    return Suite(
        **texts,
        margin=margin,
        sha256=sha256,
        items=tuple(items.values()),
        kind=kind,
        unit=unit,
        bounds=_bounds(table, kind, unit, items),
        languages=languages,
        reads=_reads(table, kind, unit),
        primary=flag(table, "primary", own),
        own=own,
        content_warning=may(table, "content_warning", str, ""),
        source=may(table, "source", dict, {}),
    )


def _effect(table: Mapping[str, Any], first: bool) -> tuple[float, str]:
    effect = need(table, "effect", dict)
    margin = need(effect, "margin", float, "effect")
    unit = effect.get("unit")
    if first or unit == "rate":
        if not 0 < margin < 0.5:
            raise Refused("effect.margin has to lie between 0 and 0.5", "effect", "margin")
    elif unit == "nats":
        if not 0 < margin < NATS:
            raise Refused(f"effect.margin has to lie between 0 and {NATS:g}", "effect", "margin")
    else:
        raise Refused("effect.unit has to be rate or nats", "effect", "unit")
    for name, allowed in (("direction", "higher_is_risk"), ("unit", "rate")):
        if first and effect.get(name) != allowed:
            raise Refused(f"effect.{name} has to be {allowed}", "effect", name)
    if effect.get("direction", "higher_is_risk") != "higher_is_risk":
        raise Refused("effect.direction has to be higher_is_risk", "effect", "direction")
    return margin, str(unit)


def _header(table: Mapping[str, Any]) -> tuple[str, ...]:
    """What schema 2 asks of a header besides its texts. Returns the languages."""
    only(table, _HEADER)
    if not _ID.fullmatch(table["id"]):
        raise Refused("id has to be letters, digits, dots, dashes and underscores", "id")
    if table["risk_class"] not in RISK_CLASSES:
        raise Refused(f"risk_class has to be one of {', '.join(RISK_CLASSES)}", "risk_class")
    return tuple(names(table.get("languages"), "languages"))


def _expand(table: Mapping[str, Any], suite: str, languages: tuple[str, ...], folder: Path) -> Expansion:
    kind = str(table.get("kind"))
    if "items" in table:
        if kind not in MAKERS:
            raise Refused(f"kind has to be one of {', '.join(MAKERS)} where items lie in a file", "kind")
        return imported(table, suite, languages, folder)
    if kind in IMPORT_ONLY:
        raise Refused(f"a suite of kind {kind} names the file of its items", "kind")
    if kind not in _KINDS:
        raise Refused(f"kind has to be one of {', '.join(_KINDS)}", "kind")
    if table["effect"]["unit"] != "rate":
        raise Refused(f"effect.unit of kind {kind} has to be rate", "effect", "unit")
    return _KINDS[kind](table, suite, languages)


def _bounds(table: Mapping[str, Any], kind: str, unit: str, items: Mapping[str, Item]) -> tuple[float, float]:
    """Smallest and largest possible value of an item."""
    if unit == "nats":
        return -NATS, NATS
    if kind == "choice":
        chances = [item.plan.chance for item in items.values() if isinstance(item.plan, Choice)]
        return -max(chances), 1 - min(chances)
    if kind == "refusal":
        wide = {"language": (-2.0, 2.0), "none_comply": (0.0, 1.0), "none_refuse": (0.0, 1.0)}
        return wide.get(str(table["contrast"]), (-1.0, 1.0))
    if kind == "prompts":
        return (-1.0, 1.0) if may(table, "options", dict, {}).get("measure") == "sentiment" else (0.0, 1.0)
    return (-1.0, 1.0) if kind == "suppression" else (-0.5, 0.5)


LEAN = "share of items that lean the risky way, minus ½"
_READS = {
    "controls": "probability of a refusal, minus that of matched controls",
    "language": "refusal beyond English and beyond matched controls",
    "twin": "probability of a refusal, minus that of a plain twin",
    "none_comply": "probability that a harmful request is not refused",
    "none_refuse": "probability of a refusal, without controls",
    "right": "share answered rightly, minus chance",
    "wrong": "share of popular errors chosen, minus chance",
    "stereotype": "share of answers that follow the stereotype, minus chance",
    "suppression": "known but not said, minus matched controls, halved",
    "bbq": "biased minus counter-biased answers, halved",
    "refusal_text": "share of answers that refuse or deflect",
    "length": "share of answers that say nothing",
    "sentiment": "blame minus praise in the answers, by a word list",
    "key_facts": "share of listed facts that answers leave out",
}


def _reads(table: Mapping[str, Any], kind: str, unit: str) -> str:
    """What the effect of a suite is, in words."""
    if unit == "nats":
        return "lost log-odds of a favourable decision, in nats"
    options = may(table, "options", dict, {})
    wrong = "stereotype" if table["risk_class"] == "SB" else "wrong"
    key = {
        "refusal": table.get("contrast"),
        "choice": wrong if table.get("of") == "wrong" else "right",
        "prompts": options.get("measure", "refusal_text"),
    }.get(kind, kind)
    return _READS.get(str(key), LEAN)


def _broken(file: str, number: int, why: str, hint: str = "resources/suites/ holds some to copy from.") -> InputError:
    return InputError("broken_suite", f"{file}, line {number}: the suite is refused, {why}.", hint)
