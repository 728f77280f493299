"""Reading a file by hand: what is there and of its kind, and where it is not, the place and the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

Place = str | int
_KINDS = {str: "a text", dict: "a table", list: "a list", float: "a number such as 0.05", bool: "true or false"}
_SLOT = re.compile(r"\{(\w+)\}")
_START = r"(^|[.!?]\s+)"
DEEPEST = 40
"""Levels of nesting; a suite needs seven."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml reads ten times faster, and refuses more than 1,000 levels by itself."""


class Refused(Exception):
    """Why a file is refused; ``at`` is the way to the place, e.g. ("templates", 3)."""

    def __init__(self, why: str, *at: Place) -> None:
        super().__init__(why)
        self.at = at


def need(table: Mapping[str, Any], name: str, kind: type, *at: Place) -> Any:
    """A value that is there, of its kind, and not empty."""
    value = table.get(name)
    if not isinstance(value, kind) or (isinstance(value, str) and not value.strip()) or value in ([], {}):
        raise Refused(f"{name} is missing or is not {_KINDS[kind]}", *at, name)
    return value


def may(table: Mapping[str, Any], name: str, kind: type, default: Any, *at: Place) -> Any:
    """A value of its kind, or ``default`` where it is not there."""
    return need(table, name, kind, *at) if name in table and table[name] is not False else default


def flag(table: Mapping[str, Any], name: str, default: bool, *at: Place) -> bool:
    value = table.get(name, default)
    if not isinstance(value, bool):
        raise Refused(f"{name} has to be true or false", *at, name)
    return value


def tables(table: Mapping[str, Any], name: str, *at: Place) -> Iterator[tuple[tuple[Place, ...], dict[str, Any]]]:
    """Each table of the list ``name``, with the way to it."""
    for index, row in enumerate(need(table, name, list, *at)):
        if not isinstance(row, dict):
            raise Refused(f"an entry of {name} has to be a table", *at, name, index)
        yield (*at, name, index), row


def names(values: Any, *at: Place) -> list[str]:
    """A list of different, non-empty texts."""
    if not isinstance(values, list) or not values:
        raise Refused(f"{at[-1]} has to be a list of names", *at)
    for index, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise Refused(f"{value!r} is no name (put it in quotes?)", *at, index)
        if value in values[:index]:
            raise Refused(f"{value} stands there twice", *at, index)
    return values


def only(table: Mapping[str, Any], known: Sequence[str], *at: Place) -> None:
    """Refuse a key that is not known: a misspelt one would be ignored."""
    for key in table:
        if key not in known:
            raise Refused(f"{key} is not known here (known: {', '.join(known)})", *at, str(key))


def slots(text: str, allowed: Sequence[str], required: Sequence[str], *at: Place) -> None:
    """Refuse a text with a {slot} that is not filled, or without one that has to be."""
    found = set(_SLOT.findall(text))
    for name in sorted(found - set(allowed)):
        raise Refused(f"{{{name}}} is not filled here", *at)
    for name in required:
        if name not in found:
            raise Refused(f"there is no {{{name}}} in it", *at)


def fill(text: str, **words: str) -> str:
    """Fill {name}s in, with "an" for "a" where a vowel follows; any other brace is text."""
    for name, word in words.items():
        if word[0].lower() in "aeiou":
            text = text.replace(f" a {{{name}}}", f" an {{{name}}}").replace(f"A {{{name}}}", f"An {{{name}}}")
        text = text.replace(f"{{{name}}}", word)
    return text


def fill_sentence(text: str, **words: str) -> str:
    """As ``fill``, with a capital where a name opens a sentence."""
    for name, word in words.items():
        large = word[0].upper() + word[1:]
        text = re.sub(_START + rf"\{{{name}\}}", lambda found, large=large: found[1] + large, text)  # type: ignore[misc]
    return fill(text, **words)


def compose(data: bytes) -> yaml.Node | None:
    """The tree of a YAML text, which knows its lines. Raises yaml.YAMLError for what is no YAML."""
    loader = _LOADER(data)
    try:
        tree: yaml.Node | None = loader.get_single_node()
        return tree
    finally:
        loader.dispose()


def construct(tree: yaml.Node | None) -> Any:
    """The values of a tree.

    Raises Refused for a key that stands twice, RecursionError for a nesting that no suite needs.
    """
    if tree is None:
        return None
    _check(tree, ())
    return yaml.constructor.SafeConstructor().construct_document(tree)


def _check(node: yaml.Node, at: tuple[Place, ...]) -> None:
    if len(at) > DEEPEST:
        raise RecursionError
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise Refused(f"{key.value} stands there twice", *at, key.value)
                seen.add(key.value)
                _check(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _check(value, (*at, index))


def line(node: yaml.Node | None, at: Sequence[Place]) -> int:
    """Line of the place, or of the nearest thing around it that is there."""
    number = 1
    for step in at:
        if isinstance(node, yaml.MappingNode) and isinstance(step, str):
            found = [(key, value) for key, value in node.value if key.value == step]
            if not found:
                return number
            key, node = found[-1]
            number = key.start_mark.line + 1
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            number = node.start_mark.line + 1
    return number
