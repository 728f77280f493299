"""Scorecard → a section for a Hugging Face model card, led by what belongs into the card's front matter."""

from __future__ import annotations

import re
from typing import Any

import yaml

from core.report.excerpts import plain
from core.report.figures import interval, number
from core.report.scorecard import RiskRow, Scorecard, scorecard_sha256


def model_card(card: Scorecard, shown: Scorecard) -> bytes:
    """Front matter (tags and ``model-index``) and a section in Markdown.

    ``base_model`` is left out: its relations know no distillation, so the teacher stands in the text.
    """
    digest = scorecard_sha256(card)
    subject = card.student or card.teacher
    front = {
        "tags": ["foreshot", *(["distillation"] if card.student and not card.control_pair else [])],
        "model-index": [
            {"name": plain(subject.name), "results": [r for row in shown.rows if (r := _result(row, card))]}
        ],
    }
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"## Audit with Foreshot {card.foreshot}",
        "",
        *_who(card),
        "",
        *(f"{_safe(text)}  " for text in (*shown.headline, card.control_pair, *card.missing) if text),
        "",
        *_table(shown),
        "",
        "δ is the margin fixed before the run; intervals are 95 %. A grade (A to D) is the strength of the evidence, "
        "not the size of the risk. No verdict says that the model may be trusted.",
        "",
        "### What this does not show",
        "",
        *(f"- {_safe(text)}" for text in shown.could_not_see),
        *(
            f"- Not tested: {_safe(row.area)}: {_safe(row.detail)}"
            for row in card.coverage
            if row.status == "not tested"
        ),
        "",
        f"Run {_safe(card.run)} of {card.created[:10]}; scorecard.json sha256 `{digest}`. Another precision, another "
        "quantisation or other weights void these verdicts.",
        "",
    ]
    return "\n".join(lines).encode()


def _who(card: Scorecard) -> list[str]:
    models = [("Teacher" if card.student else "Model", card.teacher), ("Student", card.student)]
    models.append(("Baseline", card.baseline))
    return [
        f"- {name}: {_safe(model.name)}, {_safe(model.precision)}, sha256 `{model.fingerprint[:16]}…` over "
        f"{model.fingerprint_kind}"
        for name, model in models
        if model is not None
    ]


def _table(shown: Scorecard) -> list[str]:
    pair = shown.student is not None
    heads = ["risk class", "measure", "δ", *(["teacher", "student", "verdict"] if pair else ["effect"]), "grade"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in shown.rows:
        sides = [row.teacher, row.student] if pair else [row.teacher]
        effects = [f"{number(e.value)} {interval(e)}" if e else "not measured" for e in sides]
        verdict = [row.verdict or "–"] if pair else []
        cells = [_safe(row.title), _safe(row.effect), f"{row.margin:g}", *effects, *verdict, row.grade]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _result(row: RiskRow, card: Scorecard) -> dict[str, Any] | None:
    found = row.student if card.student else row.teacher
    if found is None:
        return None
    return {
        "task": {"type": "text-generation"},
        "dataset": {"type": row.suite.partition("@")[0] or "foreshot-scan", "name": plain(row.effect)},
        "metrics": [
            {
                "type": "foreshot-effect",
                "name": f"{plain(row.title)} (95 % interval {found.low:.3f} to {found.high:.3f})",
                "value": round(found.value, 6),
                "verified": False,
            }
        ],
    }


def _safe(text: str) -> str:
    """Text that Markdown and HTML leave alone."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", plain(text))
