"""A comparison in words, for the terminal and the window."""

from __future__ import annotations

from core.report.compare import ChangeRow, Comparison, ModelChange, Side
from core.report.excerpts import plain
from core.report.figures import interval, number
from core.report.scorecard import Estimate


def lines(found: Comparison) -> list[str]:
    """What the command prints: the sentence, models, rows, notes, and the rule."""
    return [
        found.sentence,
        "",
        *(model_words(each) for each in found.models),
        "",
        *(line for row in found.rows for line in _row_lines(row)),
        "",
        *(f"note: {note}" for note in found.notes),
        f"rule: {found.rule}",
    ]


def model_words(model: ModelChange) -> str:
    """``student: small-nf4, the same files in another precision: bf16, then nf4``."""
    names = list(dict.fromkeys(plain(name) for name in (model.before, model.after) if name))
    return f"{model.role}: {', then '.join(names)}; {model.what}"


def verdict_words(row: ChangeRow) -> str:
    """``transferred`` where it stayed, ``transferred → removed`` where it did not; a dash where there is none."""
    if row.void:
        return "void"
    before, after = row.verdict_before or "–", row.verdict_after or "–"
    return before if before == after else f"{before} → {after}"


def side_words(side: Side) -> str:
    """``changed, by more than δ: +0.20 [+0.12, +0.28]``; both values where there is no difference."""
    if side.word == "identical":
        return f"identical: {_value(side.after)}"
    if side.difference is not None:
        return f"{side.word}: {number(side.difference.value)} {interval(side.difference)}"
    ends = [_value(end) for end in (side.before, side.after) if end is not None]
    return f"{side.word}: {', then '.join(ends)}"


def _value(end: Estimate | None) -> str:
    return "not measured" if end is None else f"{number(end.value)} {interval(end)}"


def _row_lines(row: ChangeRow) -> list[str]:
    said = [f"{plain(row.title)}: {verdict_words(row)}{f' ({row.void})' if row.void else ''}"]
    said += [f"  {role}: {side_words(side)}{f' ({side.how})' if side.how else ''}" for role, side in row.sides.items()]
    return said
