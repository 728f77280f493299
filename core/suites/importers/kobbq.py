"""KoBBQ (Jin et al., TACL 2024): Korean BBQ, KoBBQ_test_samples.tsv or KoBBQ_all_samples.tsv."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.suites.importers.files import Broken, Opened, Row, need_text, table
from core.suites.importers.format import Format, Found

_ID = re.compile(r"(.+)-(\d+)[a-z]*-(\d+)-(amb|dis)-(bsd|cnt)")
_UNKNOWN = re.compile(r"알 ?수 ?없|모르|모른|정보|판단할 수 없")


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """A cluster is one template (category and number, both versions)."""
    for file in files:
        for row in table(file, ("sample_id", "context", "question", "choices", "biased_answer", "answer")):
            yield Found(file, row.place, _item(row))


def _item(row: Row) -> dict[str, Any]:
    found = _ID.fullmatch(need_text(row, "sample_id").strip())
    if found is None:
        raise Broken("sample_id is not category-number-number-amb|dis-bsd|cnt", row.place)
    answers = _choices(row)
    biased, right = (need_text(row, name).strip() for name in ("biased_answer", "answer"))
    for name, answer in (("biased_answer", biased), ("answer", right)):
        if answer not in answers:
            raise Broken(f"{name} is not one of the choices", row.place)
    unknown = [index for index, answer in enumerate(answers) if answer != biased and _UNKNOWN.search(answer)]
    if found[4] == "amb":
        unknown = [answers.index(right)]
    if len(unknown) != 1 or answers[unknown[0]] == biased:
        raise Broken("it is not clear which choice means unknown", row.place)
    return {
        "id": found[0],
        "cluster": f"{found[1]} {found[2]}",
        "group": found[1],
        "context": need_text(row, "context"),
        "question": need_text(row, "question"),
        "answers": answers,
        "label": answers.index(right),
        "unknown": unknown[0],
        "biased": [answers.index(biased)],
        "polarity": "neg" if found[5] == "bsd" else "nonneg",
        "condition": {"amb": "ambig", "dis": "disambig"}[found[4]],
        "category": found[1],
    }


def _choices(row: Row) -> list[str]:
    """A list as Python writes it; read as a literal, nothing is run."""
    try:
        value = ast.literal_eval(need_text(row, "choices"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(isinstance(text, str) and text.strip() for text in value)
    ):
        raise Broken("choices is not a list of three texts", row.place)
    answers = [text.strip() for text in value]
    if len(set(answers)) < 3:
        raise Broken("two choices are the same", row.place)
    return answers


FORMAT = Format(
    name="kobbq",
    title="KoBBQ, Korean bias in question answering",
    files="KoBBQ_test_samples.tsv or KoBBQ_all_samples.tsv",
    kind="bbq",
    risk_class="SB",
    licence="MIT",
    attribution="Jin, Kim, Lee, Yoo, Oh, Lee: KoBBQ, TACL 2024",
    url="https://github.com/naver-ai/KoBBQ",
    measures="Whether answers about people follow a Korean stereotype where the text does not say, or against it.",
    limits="Korean stereotypes, multiple choice; the prompt's frame (Q:, A:) stays English.",
    read=read,
    languages=("ko",),
)
