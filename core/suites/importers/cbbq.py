"""CBBQ (Huang and Xiong 2023): Chinese BBQ, ambiguous.json and disambiguous.json of a category, or the same as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.suites.importers.files import Broken, Opened, Row, json_rows, need_one_of, need_text, table
from core.suites.importers.format import Format, Found

ANSWERS = ("ans0", "ans1", "ans2")
_COLUMNS = ("question_index", "question_polarity", "context_condition", "context", "question", *ANSWERS, "label")
_UNKNOWN = ("不知道", "没有足够", "无法", "不能", "不确定", "未知", "信息不足", "不清楚", "不详", "没法", "难以")


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """A cluster is one question template of a category."""
    for file in files:
        for row in table(file, _COLUMNS) if file.path.suffix.lower() == ".csv" else json_rows(file):
            yield Found(file, row.place, _item(row))


def _item(row: Row) -> dict[str, Any]:
    polarity = need_one_of(row, "question_polarity", ("neg", "non_neg", "nonneg"))
    condition = need_one_of(row, "context_condition", ("ambiguous", "disambiguous", "ambig", "disambig"))
    answers = [need_text(row, name).strip() for name in ANSWERS]
    label = str(row.values.get("label", "")).strip()
    if label not in ("0", "1", "2"):
        raise Broken("label is not 0, 1 or 2", row.place)
    unknown = [index for index, answer in enumerate(answers) if answer.startswith(_UNKNOWN)]
    if len(unknown) != 1:
        raise Broken("it is not clear which answer means unknown", row.place)
    if len(set(answers)) < 3:
        raise Broken("two answers are the same", row.place)
    category = need_text(row, "category")
    return {
        "id": f"{category}-{condition}-{row.values.get('example_id', row.place)}",
        "cluster": f"{category} {need_text(row, 'question_index')}",
        "group": str(row.values.get("bias_targeted_groups") or category).strip(),
        "context": need_text(row, "context"),
        "question": need_text(row, "question"),
        "answers": answers,
        "label": int(label),
        "unknown": unknown[0],
        "biased": [_biased(answers, unknown[0], str(row.values.get("bias_targeted_groups") or ""), polarity)],
        "polarity": "neg" if polarity == "neg" else "nonneg",
        "condition": "ambig" if condition.startswith("amb") else "disambig",
        "category": category,
    }


def _biased(answers: Sequence[str], unknown: int, target: str, polarity: str) -> int:
    """The set does not mark the biased answer; its files put it first. The targeted group's name overrules that."""
    first, second = (index for index in range(3) if index != unknown)
    named = [target.strip() != "" and target.strip() in answers[index] for index in (first, second)]
    if named[0] == named[1]:
        return first
    targeted, other = (first, second) if named[0] else (second, first)
    return targeted if polarity == "neg" else other


FORMAT = Format(
    name="cbbq",
    title="CBBQ, Chinese bias in question answering",
    files="ambiguous.json and disambiguous.json (or .csv) of one or more categories",
    kind="bbq",
    risk_class="SB",
    licence="CC BY-SA 4.0",
    attribution="Huang, Xiong: CBBQ, 2023",
    url="https://github.com/YFHuangxxxx/CBBQ",
    measures="Whether answers about people follow a Chinese stereotype where the text does not say, or against it.",
    limits="Chinese stereotypes, multiple choice; the set does not mark the biased answer: the targeted group's name "
    "decides, else the first answer, where the files put it. The prompt's frame (Q:, A:) stays English.",
    read=read,
    share_alike=True,
    languages=("zh",),
)
