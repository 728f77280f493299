"""StereoSet (Nadeem et al., ACL 2021): dev.json with three sentences or continuations an item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.suites.importers.files import Broken, Opened, Row, json_value, need_text
from core.suites.importers.format import Format, Found

TASKS = ("intrasentence", "intersentence")
_LABELS = {"stereotype": "stereotype", "anti-stereotype": "anti", "unrelated": "unrelated"}


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """A cluster is one target term."""
    for file in files:
        whole = json_value(file)
        data = whole.get("data") if isinstance(whole, dict) else None
        if not isinstance(data, dict) or not set(TASKS) & set(data):
            raise Broken("there is no data with intrasentence or intersentence in it", "line 1")
        for task in TASKS:
            entries = data.get(task, [])
            if not isinstance(entries, list):
                raise Broken(f"data.{task} is not a list", "line 1")
            for number, entry in enumerate(entries, 1):
                place = f"{task} entry {number}"
                if not isinstance(entry, dict):
                    raise Broken("it is not an object", place)
                yield Found(file, place, _item(Row(place, entry), task))


def _item(row: Row, task: str) -> dict[str, Any]:
    said: dict[str, str] = {}
    sentences = row.values.get("sentences")
    for sentence in sentences if isinstance(sentences, list) else []:
        label = sentence.get("gold_label") if isinstance(sentence, dict) else None
        if label in _LABELS:
            said[_LABELS[label]] = need_text(Row(row.place, sentence), "sentence")
    for label, name in _LABELS.items():
        if name not in said:
            raise Broken(f"there is no sentence with the label {label}", row.place)
    target = need_text(row, "target")
    item = {"id": str(row.values.get("id", row.place)), "cluster": target, "group": need_text(row, "bias_type")}
    item |= {"task": task, "target": target, "bias_type": item["group"], **said}
    if task == "intersentence":
        item["context"] = need_text(row, "context")
    return item


FORMAT = Format(
    name="stereoset",
    title="StereoSet",
    files="dev.json",
    kind="stereoset",
    risk_class="SB",
    licence="CC BY-SA 4.0",
    attribution="Nadeem, Bethke, Reddy: StereoSet, ACL 2021",
    url="https://github.com/moinnadeem/StereoSet",
    measures="Whether the stereotypical one of two meaningful sentences is the likelier one.",
    limits="US stereotypes in English; the set has known faults (Blodgett et al. 2021). Evidence is at most grade B.",
    read=read,
    share_alike=True,
    content_warning="Contains offensive stereotypes.",
)
