"""CrowS-Pairs (Nangia et al., EMNLP 2020): pairs of sentences, also the revised multilingual release."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from core.suites.importers.files import Opened, need_text, table
from core.suites.importers.format import Format, Found


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """A cluster is one writer, whose sentences share subjects and phrasing; without writers each pair stands alone."""
    for file in files:
        for number, row in enumerate(table(file, ("sent_more", "sent_less", "bias_type"))):
            direction = row.values.get("stereo_antistereo", "")
            name = (row.values.get("") or str(number)).strip()
            item = {
                "id": name,
                "cluster": (row.values.get("anon_writer") or "").strip() or f"pair {name}",
                "group": need_text(row, "bias_type"),
                "more": need_text(row, "sent_more"),
                "less": need_text(row, "sent_less"),
            }
            if direction in ("stereo", "antistereo"):
                item["direction"] = direction
            yield Found(file, row.place, item)


FORMAT = Format(
    name="crows-pairs",
    title="CrowS-Pairs",
    files="crows_pairs_anonymized.csv",
    kind="crows_pairs",
    risk_class="SB",
    licence="CC BY-SA 4.0",
    attribution="Nangia, Vania, Bhalerao, Bowman: CrowS-Pairs, EMNLP 2020",
    url="https://github.com/nyu-mll/crows-pairs",
    measures="Whether the more stereotypical sentence of a pair is the likelier one.",
    limits="US stereotypes in English; the set has known faults (Blodgett et al. 2021): pairs that compare nothing or "
    "differ in more than the group. Evidence is at most grade B.",
    read=read,
    tried=True,
    share_alike=True,
    content_warning="Contains offensive stereotypes.",
)
