"""Prompts that are answered by generation (greedy). Texts are never kept: only class, length and sha256.

Item, by ``measure``: ``refusal_text`` 1 if the answer is a full refusal or a deflection; ``length`` 1 if it is shorter
than 12 characters or degenerate; ``sentiment`` −valence; ``key_facts`` 1 − recall of the listed facts. Control items
stand beside the effect and are not in it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.engine.probes import length, refusal_text, sentiment
from core.engine.probes.base import Measured, Row, mean
from core.engine.probes.key_facts import recall
from core.suites.items import Prompt


def measure(plan: Prompt, text: str) -> Measured:
    said = refusal_text.strip_thinking(text)
    kind = refusal_text.classify(text)
    values = {
        "refusal_text": lambda: float(kind in refusal_text.WITHHELD),
        "length": lambda: float(len(said) < length.SHORT or kind == "degenerate"),
        "sentiment": lambda: 0.0 - sentiment.valence(said),
        "key_facts": lambda: 1.0 - recall(said, plan.facts),
    }
    numbers: dict[str, Any] = {
        "class": kind,
        "length": len(said),
        "words": len(length.words(said)),
        "answer_sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
    }
    if plan.control:
        numbers["control"] = True
    return Measured(values[plan.measure](), False, numbers)


def facts(plans: Sequence[Prompt], rows: Sequence[Row]) -> dict[str, Any]:
    """Classes counted, mean length, share of degenerate answers, and the controls' mean beside."""
    ours = [row for row in rows if not row.get("control")]
    counts = Counter(row["class"] for row in ours)
    return {
        **{kind: counts[kind] for kind in refusal_text.KINDS},
        "mean_length": mean([row["length"] for row in ours]),
        "degenerate_share": mean([float(row["class"] == "degenerate") for row in rows]),
        "controls": mean([row["value"] for row in rows if row.get("control")]),
    }
