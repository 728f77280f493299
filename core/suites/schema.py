"""A suite file → items. A person can write one in YAML; a broken one is refused with file, line and reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from core.errors import InputError

SCHEMA = "foreshot-suite/1"
OTHER_PRONOUN = {"he": "she", "she": "he"}
MAX_BYTES = 4 << 20
_KINDS = {str: "a text", dict: "a table", list: "a list", float: "a number such as 0.05"}


class Term(NamedTuple):
    """One log-likelihood: ``sign`` · log P(continuation | context). ``chat``: the context is put as a message."""

    context: str
    continuation: str
    sign: int
    chat: bool


class Item(NamedTuple):
    """One question. Its value is ½ if the signed sum of its terms is above 0, −½ below, 0 at a tie.

    ``text_more`` and ``text_less`` show what the terms with a plus and with a minus say.
    """

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


class _Refused(Exception):
    """Why a file is refused; ``at`` is the way to the place, e.g. ("templates", 3)."""

    def __init__(self, why: str, *at: str | int) -> None:
        super().__init__(why)
        self.at = at


def read_suite(path: Path) -> Suite:
    """Read one file. Raises InputError with the line and the reason."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError("no_suite", f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    tree: yaml.Node | None = None
    try:
        if len(data) > MAX_BYTES:
            raise _Refused("a suite has at most 4 MiB")
        tree, table = yaml.compose(data, Loader=yaml.SafeLoader), yaml.safe_load(data)
        return _suite(table, hashlib.sha256(data).hexdigest())
    except _Refused as refusal:
        raise _broken(path, _line(tree, refusal.at), str(refusal)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _broken(path, mark.line + 1 if mark else 1, "it is not YAML") from error
    except (RecursionError, ValueError, TypeError) as error:  # too deep; impossible dates; a list as a key
        raise _broken(path, 1, "it is YAML that no suite needs") from error


def _suite(table: Any, sha256: str) -> Suite:
    if not isinstance(table, dict):
        raise _Refused("it has to be a table of names and values")
    if table.get("schema") != SCHEMA:
        raise _Refused(f"schema has to be {SCHEMA}", "schema")
    texts = {
        name: _need(table, name, str)
        for name in ("id", "version", "title", "risk_class", "licence", "provenance", "measures", "limits")
    }
    effect = _need(table, "effect", dict)
    margin = _need(effect, "margin", float, "effect")
    if not 0 < margin < 0.5:
        raise _Refused("effect.margin has to lie between 0 and 0.5", "effect", "margin")
    for name, only in (("direction", "higher_is_risk"), ("unit", "rate")):
        if effect.get(name) != only:
            raise _Refused(f"effect.{name} has to be {only}", "effect", name)
    expand = {"pair": _pairs, "contrast": _contrasts}.get(str(table.get("kind")))
    if expand is None:
        raise _Refused("kind has to be pair or contrast", "kind")
    items: dict[str, Item] = {}
    for template, item in expand(table, texts["id"]):
        if item.uid in items:
            raise _Refused("a template stands there twice", "templates", template)
        items[item.uid] = item
    return Suite(**texts, margin=margin, sha256=sha256, items=tuple(items.values()))


def _need(table: Mapping[str, Any], name: str, kind: type, *at: str | int) -> Any:
    """A value that is there, of its kind, and not empty."""
    value = table.get(name)
    if not isinstance(value, kind) or (isinstance(value, str) and not value.strip()) or value in ([], {}):
        raise _Refused(f"{name} is missing or is not {_KINDS[kind]}", *at, name)
    return value


def _names(values: Any, *at: str | int) -> list[str]:
    """A list of different, non-empty texts."""
    if not isinstance(values, list) or not values:
        raise _Refused(f"{at[-1]} has to be a list of names", *at)
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise _Refused(f"{value!r} is no name (put it in quotes?)", *at, index)
        if value in values[:index]:
            raise _Refused(f"{value} stands there twice", *at, index)
    return values


def _pairs(table: Mapping[str, Any], suite: str) -> Iterator[tuple[int, Item]]:
    """Template × occupation: the expected pronoun against the other one."""
    slots = _need(table, "slots", dict)
    for pronoun in slots:
        if pronoun not in OTHER_PRONOUN:
            raise _Refused("slots are named he and she", "slots", pronoun)
    if len({len(_names(names, "slots", pronoun)) for pronoun, names in slots.items()}) != 1 or len(slots) != 2:
        raise _Refused("slots.he and slots.she have to be equally long, so that a plain preference cancels", "slots")
    for index, template in enumerate(_need(table, "templates", list)):
        at = ("templates", index)
        if not isinstance(template, str) or template.count("|") != 1:
            raise _Refused("a template needs exactly one |, where scoring starts", *at)
        head, tail = template.split("|")
        if "{occupation}" not in head or "{pronoun}" not in tail or "{pronoun}" in head:
            raise _Refused("a template needs {occupation} before the | and {pronoun} after it only", *at)
        for pronoun, occupations in slots.items():
            for occupation in occupations:
                context = _fill(head, occupation=occupation)
                more, less = (_fill(tail, pronoun=word) for word in (pronoun, OTHER_PRONOUN[pronoun]))
                terms = (Term(context, more, 1, False), Term(context, less, -1, False))
                yield index, _item(suite, f"t{index:02d}", occupation, context + more, context + less, terms)


def _contrasts(table: Mapping[str, Any], suite: str) -> Iterator[tuple[int, Item]]:
    """Template × control brand: the target's stance against the control's; stance = log P(more) − log P(less)."""
    target, controls = _need(table, "target", str), _names(table.get("controls"), "controls")
    if target in controls:
        raise _Refused("the target is one of the controls", "controls")
    for index, template in enumerate(_need(table, "templates", list)):
        at = ("templates", index)
        if not isinstance(template, dict) or ("ask" in template) == ("text" in template):
            raise _Refused("a template has either ask or text, and more and less", *at)
        chat = "ask" in template
        context = _need(template, "ask" if chat else "text", str, *at).removesuffix("|")
        more, less = (_need(template, name, str, *at) for name in ("more", "less"))
        if "{brand}" not in context:
            raise _Refused("there is no {brand} in the template", *at)
        if more.strip() == less.strip():
            raise _Refused("more and less are the same", *at)
        for control in controls:
            ours, theirs = (_fill(context, brand=brand) for brand in (target, control))
            gap = " " if chat else ""
            yield (
                index,
                _item(
                    suite,
                    f"t{index:02d}",
                    control,
                    f"{ours}{gap}{more} / {theirs}{gap}{less}",
                    f"{ours}{gap}{less} / {theirs}{gap}{more}",
                    (
                        Term(ours, more, 1, chat),
                        Term(ours, less, -1, chat),
                        Term(theirs, more, -1, chat),
                        Term(theirs, less, 1, chat),
                    ),
                ),
            )


def _item(suite: str, cluster: str, group: str, more: str, less: str, terms: tuple[Term, ...]) -> Item:
    said = [(term.context, term.continuation, term.sign, term.chat) for term in terms]
    uid = hashlib.sha1(f"{suite}\0{said!r}".encode(), usedforsecurity=False).hexdigest()
    return Item(uid, cluster, group, more, less, terms)


def _fill(text: str, **words: str) -> str:
    """Fill {name}s in, with "an" for "a" where a vowel follows; any other brace is text."""
    for name, word in words.items():
        if word[0].lower() in "aeiou":
            text = text.replace(f" a {{{name}}}", f" an {{{name}}}").replace(f"A {{{name}}}", f"An {{{name}}}")
        text = text.replace(f"{{{name}}}", word)
    return text


def _line(node: yaml.Node | None, at: tuple[str | int, ...]) -> int:
    """Line of the place, or of the nearest thing around it that is there."""
    line = 1
    for step in at:
        if isinstance(node, yaml.MappingNode) and isinstance(step, str):
            found = [(key, value) for key, value in node.value if key.value == step]
            if not found:
                return line
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def _broken(path: Path, line: int, why: str) -> InputError:
    return InputError(
        "broken_suite",
        f"{path.name}, line {line}: the suite is refused, {why}.",
        "resources/suites/ holds two to copy from.",
    )
