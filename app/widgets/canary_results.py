"""What an experiment's rows say: the sentence, the reasons why a row is void, what was believed before."""

from __future__ import annotations

from typing import Any

from PySide6.QtWidgets import QLabel, QVBoxLayout

from app import theme
from app.widgets.basic import label


def result_words(row: dict[str, Any], *, running: bool) -> QVBoxLayout:
    """One judged row: its sentence, the reasons why it is void, what was believed before."""
    column = QVBoxLayout()
    column.setSpacing(2)
    sentence = label(str(row["sentence"]), wrap=True)
    column.addWidget(sentence)
    reasons = [*row["void"][1:], *(text for text in row["void_runs"] if text not in row["void"])]
    for reason in reasons:
        column.addWidget(_void(f"void: {reason}"))
    if row["void"] and not running:
        sentence.setObjectName("sev_high")
    facts = [_facts(row), f"the literature expects: {row['expectation']} ({row['agrees']})"]
    prior = row["prior"]
    if prior:
        spread = f" [{prior['low']:g}, {prior['high']:g}]" if prior["low"] is not None else ""
        facts.append(f"prior {prior['value']:g}{spread}, {prior['note']}")
    column.addWidget(label(" · ".join(fact for fact in facts if fact), size=theme.SMALL, muted=True, wrap=True))
    return column


def _facts(row: dict[str, Any]) -> str:
    names = (("teacher", "teacher_lift"), ("sham", "sham_lift"), ("direct", "direct_lift"), ("near misses", "near"))
    shown = [f"{name} {row[key]:.0%}" for name, key in names if row[key] is not None]
    margins = row["margin"]["points"]
    coefficient = f", log margin {sum(margins) / len(margins):.2f} of the copy's" if margins else ""
    return f"lift: {', '.join(shown)}{coefficient}" if shown else ""


def _void(text: str) -> QLabel:
    made = label(text, size=theme.SMALL, wrap=True)
    made.setObjectName("sev_high")
    return made
