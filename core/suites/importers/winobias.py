"""WinoBias (Zhao et al., NAACL 2018): a sentence with the stereotypical and with the other pronoun, in two files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest

from core.suites.importers.files import Broken, Opened, lines
from core.suites.importers.format import Format, Found

_NAME = re.compile(r"(pro|anti)_stereotyped_type([12])\.txt\.(dev|test)$")
_LINE = re.compile(r"(\d+)\s+(.*\S)\s*$")
_BRACKETS = re.compile(r"\[([^\]]*)\]")
_PRONOUNS = re.compile(r"\b(he|she|him|her|his|hers|himself|herself)\b", re.IGNORECASE)


def companions(name: str) -> Sequence[str]:
    """The file with the other pronouns."""
    found = _NAME.search(name)
    return [name.replace(found[1], {"pro": "anti", "anti": "pro"}[found[1]], 1)] if found else []


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """Line by line; pairs that differ in more than pronouns are left out: their likelihoods compare nothing.

    Two sentences that follow one another are about the same two occupations, in both types: they make a cluster.
    """
    sides: dict[tuple[str, str], dict[str, Opened]] = {}
    for file in files:
        found = _NAME.search(file.name)
        if found is None:
            raise Broken(f"{file.name} is not named like pro_stereotyped_type1.txt.test")
        sides.setdefault((found[2], found[3]), {})[found[1]] = file
    for (kind, split), pair in sorted(sides.items()):
        if len(pair) < 2:
            (given,) = pair.values()
            raise Broken(f"{companions(given.name)[0]} belongs to {given.name} and is missing")
        yield from _pairs(pair["pro"], pair["anti"], kind, split)


def _pairs(pro: Opened, anti: Opened, kind: str, split: str) -> Iterator[Found]:
    for first, second in zip_longest(lines(pro), lines(anti)):
        if first is None or second is None:
            raise Broken(f"{pro.name} and {anti.name} do not have equally many sentences")
        (number, sentence, person), (other, changed, _) = _sentence(pro, *first), _sentence(anti, *second)
        if number != other:
            raise Broken(f"sentence {number} stands beside sentence {other} of {anti.name}", first[0])
        if _PRONOUNS.sub("_", sentence) != _PRONOUNS.sub("_", changed):
            yield Found(pro, first[0], None, "the two sentences differ in more than the pronoun")
            continue
        item = {
            "id": f"{split}-type{kind}-{number}",
            "cluster": f"{split} occupations {(number + 1) // 2}",
            "group": person,
            "pro": sentence,
            "anti": changed,
            "type": int(kind),
        }
        yield Found(pro, first[0], item)


def _sentence(file: Opened, place: str, line: str) -> tuple[int, str, str]:
    """Its number, the sentence without brackets, and the person whom the pronoun means."""
    found, marked = _LINE.match(line), _BRACKETS.findall(line)
    persons = [name for name in marked if not _PRONOUNS.fullmatch(name)]
    if found is None or not persons or len(marked) < 2:
        raise Broken(f"{file.name} has no number, person and pronoun in brackets there", place)
    person = re.sub(r"^(the|an?)\s+", "", persons[0].strip(), flags=re.IGNORECASE)
    return int(found[1]), _BRACKETS.sub(r"\1", found[2]), person


FORMAT = Format(
    name="winobias",
    title="WinoBias",
    files="pro_stereotyped_type1.txt.test with its anti_ file beside it; more types and splits as you like",
    kind="winobias",
    risk_class="SB",
    licence="MIT",
    attribution="Zhao, Wang, Yatskar, Ordonez, Chang: Gender Bias in Coreference Resolution, NAACL 2018",
    url="https://github.com/uclanlp/corefBias",
    measures="Whether a pronoun that fits the gender stereotype of an occupation is the likelier one.",
    limits="40 occupations, two genders, English, US statistics; sentence pairs that differ in more than the pronoun "
    "are left out.",
    read=read,
    tried=True,
    companions=companions,
)
