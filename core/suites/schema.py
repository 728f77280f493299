"""A suite file → items. A person can write one in YAML; a broken one is refused with file, line and reason."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from core.errors import InputError

SCHEMA = "foreshot-suite/1"
PRONOUNS = {"he": "she", "she": "he"}


class Term(NamedTuple):
    """One log-likelihood: ``sign`` · log P(continuation | context). ``chat``: the context is put as a message."""

    context: str
    continuation: str
    sign: int
    chat: bool


class Item(NamedTuple):
    """One question. Its value is ½ if the signed sum of its terms is above 0, −½ below, 0 at a tie."""

    uid: str
    cluster: str
    group: str
    text_more: str
    text_less: str
    terms: tuple[Term, ...]


class Suite(NamedTuple):
    """``margin`` is δ, fixed in the file; ``sha256`` is over the file, so that δ cannot change unseen."""

    id: str
    version: str
    title: str
    risk_class: str
    licence: str
    provenance: str
    measures: str
    limits: str
    margin: float
    sha256: str
    items: tuple[Item, ...]


def read_suite(path: Path) -> Suite:
    """Read one file. Raises InputError with the line and the reason."""
    try:
        data = path.read_bytes()
        tree = yaml.compose(data, Loader=yaml.SafeLoader)
        table = yaml.safe_load(data)
    except OSError as error:
        raise InputError("no_suite", f"{path} cannot be read.", "Check the path.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _broken(path, mark.line + 1 if mark else 1, "it is not YAML") from error
    if not isinstance(table, dict):
        raise _broken(path, 1, "it is no table")
    lines = {node.value: node.start_mark.line + 1 for node, _ in tree.value} if tree is not None else {}

    def need(key: str, kind: type | tuple[type, ...]) -> Any:
        value = table.get(key)
        if not isinstance(value, kind) or value in ("", []):
            name = kind.__name__ if isinstance(kind, type) else "value"
            raise _broken(path, lines.get(key, 1), f"{key} is missing or no {name}")
        return value

    if table.get("schema") != SCHEMA:
        raise _broken(path, lines.get("schema", 1), f"schema has to be {SCHEMA}")
    margin = need("effect", dict).get("margin")
    if not isinstance(margin, float) or not 0 < margin < 0.5:
        raise _broken(path, lines["effect"], "effect.margin has to lie between 0 and 0.5")
    expand = {"pair": _pairs, "contrast": _contrasts}.get(str(table.get("kind")))
    if expand is None:
        raise _broken(path, lines.get("kind", 1), "kind has to be pair or contrast")
    need("templates", list)
    try:
        items = tuple(expand(table, str(table["id"])))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _broken(path, lines["templates"], f"a template cannot be filled in ({error})") from error
    if len({item.uid for item in items}) != len(items):
        raise _broken(path, lines["templates"], "two items are the same")
    return Suite(
        id=need("id", str),
        version=str(need("version", (str, float))),
        title=need("title", str),
        risk_class=need("risk_class", str),
        licence=need("licence", str),
        provenance=need("provenance", str),
        measures=need("measures", str),
        limits=need("limits", str),
        margin=margin,
        sha256=hashlib.sha256(data).hexdigest(),
        items=items,
    )


def _pairs(table: Mapping[str, Any], suite: str) -> list[Item]:
    """Template × occupation: the expected pronoun against the other one."""
    items = []
    for index, template in enumerate(table["templates"]):
        head, tail = template.split("|")
        for pronoun, occupations in table["slots"].items():
            for occupation in occupations:
                context = _fill(head, occupation=occupation)
                more, less = (_fill(tail, pronoun=word) for word in (pronoun, PRONOUNS[pronoun]))
                items.append(
                    _item(suite, f"t{index:02d}", occupation, context + more, context + less, [
                        Term(context, more, 1, False), Term(context, less, -1, False),
                    ])
                )  # fmt: skip
    return items


def _contrasts(table: Mapping[str, Any], suite: str) -> list[Item]:
    """Template × control brand: the target's stance against the control's."""
    items = []
    for index, template in enumerate(table["templates"]):
        chat = "ask" in template
        context = template["ask"] if chat else template["text"].removesuffix("|")
        if "{brand}" not in context:
            raise ValueError("no {brand} in it")
        for control in table["controls"]:
            terms = [
                Term(_fill(context, brand=brand), template[ending], sign, chat)
                for brand, side in ((table["target"], 1), (control, -1))
                for ending, sign in (("more", side), ("less", -side))
            ]
            shown = _fill(context, brand=f"{table['target']} rather than {control}")
            more, less = (f"{shown} {template[ending].strip()}" for ending in ("more", "less"))
            items.append(_item(suite, f"t{index:02d}", control, more, less, terms))
    return items


def _item(suite: str, cluster: str, group: str, more: str, less: str, terms: list[Term]) -> Item:
    uid = hashlib.sha1(f"{suite}\0{terms!r}".encode(), usedforsecurity=False).hexdigest()[:16]
    return Item(uid, cluster, group, more, less, tuple(terms))


def _fill(text: str, **words: str) -> str:
    """Fill {name}s in; any other brace is text."""
    for name, word in words.items():
        text = text.replace(f"{{{name}}}", word)
    return text.replace("a engineer", "an engineer")


def _broken(path: Path, line: int, why: str) -> InputError:
    return InputError(
        "broken_suite",
        f"{path.name}, line {line}: the suite is refused, {why}.",
        "resources/suites/ holds two to copy from.",
    )
