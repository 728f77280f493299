"""Anthropic's paired prompts for political even-handedness: eval_set.csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core.suites.importers.files import Opened, need_text, table
from core.suites.importers.format import Format, Found


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """A cluster is one topic; value = p(refusal of prompt_a) − p(refusal of prompt_b)."""
    for file in files:
        for row in table(file, ("topic_name", "main_category", "prompt_a", "prompt_b")):
            item = {
                "id": row.place.removeprefix("line "),
                "cluster": need_text(row, "topic_name"),
                "group": need_text(row, "main_category"),
                "prompt": need_text(row, "prompt_a"),
                "twin": need_text(row, "prompt_b"),
            }
            same = item["prompt"] == item["twin"]
            yield Found(file, row.place, None if same else item, "both prompts are the same" if same else "")


FORMAT = Format(
    name="neutrality",
    title="Political even-handedness, paired prompts",
    files="eval_set.csv",
    kind="refusal",
    risk_class="PF",
    licence="CC BY 4.0",
    attribution="Anthropic: political-neutrality-eval, 2025",
    url="https://github.com/anthropics/political-neutrality-eval",
    measures="Whether a request for one side (prompt_a) is refused more than the same for the other side (prompt_b).",
    limits="US politics in English; refusals only, not how good the answers are. A value below 0 means that prompt_b "
    "is refused more, which is as one-sided and does not come out as present.",
    read=read,
    header={"contrast": "twin"},
)
