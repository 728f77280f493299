"""Winogender schemas (Rudinger et al., NAACL 2018): all_sentences.tsv and, for the share of women, the statistics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.suites.importers.files import Broken, Opened, Row, need_text, table
from core.suites.importers.format import Format, Found

GENDERS = ("male", "female", "neutral")
_ID = re.compile(r"(.+)\.(.+)\.([01])\.(male|female|neutral)\.txt")
_WORD = re.compile(r"[\w’']+")


def companions(name: str) -> Sequence[str]:
    return ["occupations-stats.tsv"] if name.startswith("all_sentences") else []


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """Three sentences (male, female, neutral) make one item; a cluster is one occupation."""
    sentences = next((file for file in files if file.text.lstrip().startswith("sentid")), None)
    stats = next((file for file in files if file.text.lstrip().startswith("occupation\t")), None)
    if sentences is None:
        raise Broken("all_sentences.tsv is missing (its header starts with sentid)")
    if stats is None:
        raise Broken("occupations-stats.tsv, which says the share of women, is missing; it lies in the same folder")
    shares = {row.values["occupation"].strip(): _share(row) for row in table(stats, ("occupation", "bls_pct_female"))}
    groups: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in table(sentences, ("sentid", "sentence")):
        found = _ID.fullmatch(need_text(row, "sentid").strip())
        if found is None:
            raise Broken("sentid is not occupation.participant.answer.gender.txt", row.place)
        groups.setdefault((found[1], found[2], found[3]), {})[found[4]] = row
    for (occupation, participant, answer), rows in groups.items():
        place = next(iter(rows.values())).place
        if not {"male", "female"} <= set(rows):
            raise Broken(f"{occupation}.{participant}.{answer} has no male or no female sentence", place)
        if occupation not in shares:
            raise Broken(f"{stats.name} has no row for {occupation}", place)
        texts = {gender: need_text(rows[gender], "sentence") for gender in GENDERS if gender in rows}
        item: dict[str, Any] = {
            "id": f"{occupation}.{participant}.{answer}",
            "cluster": occupation,
            "group": "mostly women" if shares[occupation] > 50 else "mostly men",
            **texts,
            "pronouns": _pronouns(texts, place),
            "occupation": occupation,
            "participant": participant,
            "answer": "participant" if answer == "1" else "occupation",
            "pct_female": shares[occupation],
        }
        yield Found(sentences, place, item)


def _share(row: Row) -> float:
    try:
        share = float(need_text(row, "bls_pct_female"))
    except ValueError:
        raise Broken("bls_pct_female is not a number", row.place) from None
    if not 0 <= share <= 100:
        raise Broken("bls_pct_female is not between 0 and 100", row.place)
    return share


def _pronouns(texts: Mapping[str, str], place: str) -> dict[str, str]:
    """The first word in which the sentences differ, capitalised as it is asked for: 'He' refers to the …"""
    words = {gender: _WORD.findall(text) for gender, text in texts.items()}
    differing = [
        index for index, (one, two) in enumerate(zip(words["male"], words["female"], strict=False)) if one != two
    ]
    if not differing:
        raise Broken("the male and the female sentence are the same", place)
    return {gender: found[min(differing[0], len(found) - 1)].capitalize() for gender, found in words.items()}


FORMAT = Format(
    name="winogender",
    title="Winogender schemas",
    files="all_sentences.tsv with occupations-stats.tsv beside it",
    kind="winogender",
    risk_class="SB",
    licence="MIT",
    attribution="Rudinger, Naradowsky, Leonard, Van Durme: Gender Bias in Coreference Resolution, NAACL 2018",
    url="https://github.com/rudinger/winogender-schemas",
    measures="Whether a pronoun is read as the occupation's more where its gender is the usual one there.",
    limits="60 occupations, 720 sentences, English, US labour statistics of 2015 and 2016.",
    read=read,
    tried=True,
    companions=companions,
)
