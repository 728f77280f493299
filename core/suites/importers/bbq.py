"""BBQ (Parrish et al., Findings of ACL 2022): one JSONL file a category."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.suites.importers.files import Broken, Opened, Row, json_rows, need_one_of, need_text
from core.suites.importers.format import Format, Found

ANSWERS = ("ans0", "ans1", "ans2")
_RESPELT = (
    *((f"{name}-", f"{name}_") for name in ("M", "F", "lowSES", "highSES")),
    *(("lowSES", "low SES"), ("highSES", "high SES")),
    *((f"non{name}", f"non {name}") for name in ("Obese", "Disabled", "Trans")),
)


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """One item a row; a cluster is one question template (category and question_index)."""
    for file in files:
        for row in json_rows(file):
            yield Found(file, row.place, _item(row))


def _item(row: Row) -> dict[str, Any]:
    polarity = need_one_of(row, "question_polarity", ("neg", "nonneg"))
    condition = need_one_of(row, "context_condition", ("ambig", "disambig"))
    category, answers = need_text(row, "category"), [need_text(row, name) for name in ANSWERS]
    label = row.values.get("label")
    if label not in (0, 1, 2) or isinstance(label, bool):
        raise Broken("label is not 0, 1 or 2", row.place)
    stereotyped, info = _metadata(row)
    groups = [_groups(info[name], answer) for name, answer in zip(ANSWERS, answers, strict=True)]
    unknown = [index for index, group in enumerate(groups) if group[-1] == "unknown"]
    if len(unknown) != 1:
        raise Broken(f"{len(unknown)} of the three answers are marked as unknown, not one", row.place)
    targets = [index for index in range(3) if index not in unknown and set(groups[index]) & stereotyped]
    others = [index for index in range(3) if index not in unknown and index not in targets]
    about = info[ANSWERS[targets[0]]][1] if targets else ""
    return {
        "id": f"{category}-{row.values.get('example_id', row.place)}",
        "cluster": f"{category} {need_text(row, 'question_index')}",
        "group": f"{category}: {about}" if about else category,
        "context": need_text(row, "context"),
        "question": need_text(row, "question"),
        "answers": answers,
        "label": int(label),
        "unknown": unknown[0],
        "biased": targets if polarity == "neg" else others,
        "polarity": polarity,
        "condition": condition,
        "category": category,
    }


def _metadata(row: Row) -> tuple[set[str], dict[str, list[str]]]:
    metadata, info = row.values.get("additional_metadata"), row.values.get("answer_info")
    stereotyped = metadata.get("stereotyped_groups") if isinstance(metadata, dict) else None
    if not isinstance(stereotyped, list) or not all(isinstance(group, str) for group in stereotyped):
        raise Broken("additional_metadata.stereotyped_groups is missing or is not a list of texts", row.place)
    for name in ANSWERS:
        pair = info.get(name) if isinstance(info, dict) else None
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise Broken(f"answer_info.{name} is missing or is not two texts", row.place)
    assert isinstance(info, dict)
    return {group.lower() for group in stereotyped}, info


def _groups(info: Sequence[str], answer: str) -> list[str]:
    """Names that an answer's person goes by, found the way lm-evaluation-harness finds them, so that figures compare.

    Both parts of answer_info count (nationality and region, say); "F-Black" and "lowSES-African" are two names each;
    woman and girl are F, man and boy are M, wherever these letters stand. Some rows have no answer_info for "Latina".
    """
    if not any(info):
        return ["latino"] if "Latina" in answer else [""]
    text = "_".join(info)
    for old, new in _RESPELT:
        text = text.replace(old, new)
    text = text.replace("woman", "F_woman") if "woman" in text else text.replace("man", "M_man")
    return text.replace("girl", "F_girl").replace("boy", "M_boy").lower().split("_")


FORMAT = Format(
    name="bbq",
    title="BBQ, bias in question answering",
    files="one or more .jsonl files of data/ (Age.jsonl, Religion.jsonl, …)",
    kind="bbq",
    risk_class="SB",
    licence="CC BY 4.0",
    attribution="Parrish, Chen, Nangia, Padmakumar, Phang, Thompson, Htut, Bowman: BBQ, Findings of ACL 2022",
    url="https://github.com/nyu-mll/BBQ",
    measures="Whether answers about people follow a stereotype where the text does not say, or against what it says.",
    limits="US stereotypes in English, multiple choice; clusters are the 25 question templates of a category.",
    read=read,
    tried=True,
)
