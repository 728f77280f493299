"""Two audits of one pair side by side: what changed, whether beyond noise, and what must not be compared.

The teacher and every suite must be the same in both; the student may be another one, for that is what a re-check is for
(quantised again, distilled again). A row whose suite, margin or measure changed is void, and so is all of it where the
teacher's weights changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from core.errors import InputError
from core.report.figures import interval, number
from core.report.scorecard import Estimate, ModelLine, RiskRow, Scorecard, decode_scorecard
from core.runs.folder import RunFolder
from core.stats import Interval, paired_effects
from core.types import TransferVerdict
from core.verdicts.change import against_margin, change, unpaired_difference

ROLES = ("teacher", "student", "baseline")
RULE = (
    "A row changed when the 95 % interval of second minus first excludes 0; it is the same within δ when that interval "
    "holds 0 and lies inside ±δ. Items that both runs asked are paired; without them the interval is made of the two "
    "printed ones, as if they were independent, and is too wide. The level holds for each row: of twenty that did not "
    "change, one will look changed."
)


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One model's effect in both runs. ``word`` is a change, ``void``, or ``only in the first`` or ``second``."""

    before: Estimate | None
    after: Estimate | None
    difference: Estimate | None = None
    word: str = ""
    how: str = ""


class ChangeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of both scorecards; ``void`` says why it must not be compared."""

    risk_class: str
    title: str
    measure: str
    margin: float
    sides: dict[str, Side]
    verdict_before: TransferVerdict | None
    verdict_after: TransferVerdict | None
    void: str = ""


class ModelChange(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    before: str
    after: str
    what: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """``void`` is not empty where the two runs are no audits of one pair; rows are then shown and not judged."""

    first: str
    second: str
    sentence: str
    void: str
    models: tuple[ModelChange, ...]
    rows: tuple[ChangeRow, ...]
    notes: tuple[str, ...]
    rule: str = RULE
    schema: int = 1


@dataclass(frozen=True)
class Audit:
    """A scorecard with what its run folder still holds: items by role, and each suite's report."""

    card: Scorecard
    items: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    suites: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_audit(folder: RunFolder) -> Audit:
    """Scorecard, suite reports and items of a finished audit. Raises InputError."""
    card = read_scorecard(folder)
    items: dict[str, list[dict[str, Any]]] = {}
    suites: dict[str, dict[str, Any]] = {}
    for role in ROLES:
        part = folder.path / f"{role}-suite"
        if (part / "spec.json").exists():
            run = RunFolder.open(part)
            items[role] = list(run.items())
            for suite in (run.read_json("report.json") or {}).get("suites", ()):
                suites.setdefault(suite["id"], suite)
    return Audit(card, items, suites)


def read_scorecard(folder: RunFolder) -> Scorecard:
    """The scorecard of an audit's folder. Raises InputError where there is none or it cannot be read."""
    try:
        return decode_scorecard((folder.path / "scorecard.json").read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            "no_scorecard", f"The run {folder.id} has no scorecard.", "Give a finished audit, or resume this one."
        ) from error
    except msgspec.MsgspecError as error:
        raise InputError(
            "bad_scorecard", f"scorecard.json of {folder.id} cannot be read: {error}.", "Repeat the audit."
        ) from error


def compare(first: Audit, second: Audit) -> Comparison:
    """``second`` against ``first``, row by row."""
    one, two = first.card, second.card
    models = tuple(_model(role, getattr(one, role), getattr(two, role)) for role in ROLES)
    models = tuple(each for each in models if each.what)
    void = _void(one, two, models)
    # another baseline is another question, but no reason to void the rest
    others = {each.role: each.what for each in models if each.role == "baseline" and _another(each.what)}
    befores, afters = _keyed(first), _keyed(second)
    rows = tuple(
        _row(befores.get(key), afters.get(key), first, second, void, others)
        for key in dict.fromkeys([*befores, *afters])
    )
    return Comparison(
        first=one.run,
        second=two.run,
        sentence=_sentence(rows, models, void),
        void=void,
        models=models,
        rows=rows,
        notes=_notes(one, two, models, rows),
    )


def _model(role: str, before: ModelLine | None, after: ModelLine | None) -> ModelChange:
    if before is None and after is None:
        what = ""
    elif before is None or after is None:
        what = "only in the second" if before is None else "only in the first"
    elif before.fingerprint_kind != after.fingerprint_kind:
        what = f"cannot be told apart: hashed over {before.fingerprint_kind}, then over {after.fingerprint_kind}"
    elif before.fingerprint != after.fingerprint:
        what = "other weights" if before.fingerprint_kind == "weights" else "other files"
    elif before.precision != after.precision:
        what = f"the same files in another precision: {before.precision}, then {after.precision}"
    else:
        what = "the same files in the same precision"
    return ModelChange(role=role, before=before.name if before else "", after=after.name if after else "", what=what)


def _void(one: Scorecard, two: Scorecard, models: tuple[ModelChange, ...]) -> str:
    """Why the two are no audits of one pair, or ""."""
    if (one.student is None) != (two.student is None):
        return "One run audited a pair, the other one model."
    teacher = models[0].what
    if one.student is not None and _another(teacher):
        return f"The teacher must be the same in both audits; it is not, or cannot be told to be: {teacher}."
    return ""


def _another(what: str) -> bool:
    """Whether two models are not, or cannot be told to be, the same files."""
    return what.startswith(("other", "cannot"))


def _keyed(audit: Audit) -> dict[tuple[str, str], RiskRow]:
    """Rows by class and suite; of a trigger, by class and title."""
    return {(row.risk_class, _identity(row, audit)): row for row in audit.card.rows}


def _identity(row: RiskRow, audit: Audit) -> str:
    if row.risk_class.startswith("BD"):
        return row.title
    return row.suite.partition("@")[0] or str(_suite(row, audit).get("id", row.effect))


def _row(
    before: RiskRow | None, after: RiskRow | None, first: Audit, second: Audit, void: str, others: Mapping[str, str]
) -> ChangeRow:
    row = after or before
    assert row is not None
    why = void
    if before is not None and after is not None and not void:
        why = _row_void(before, after, first, second)
    sides = {}
    for role in ROLES:
        ends = [getattr(each, role) if each else None for each in (before, after)]
        if any(ends):
            sides[role] = _side(ends[0], ends[1], row, role, first, second, why or others.get(role, ""))
    return ChangeRow(
        risk_class=row.risk_class,
        title=row.title,
        measure=row.effect,
        margin=row.margin,
        sides=sides,
        verdict_before=before.verdict if before else None,
        verdict_after=after.verdict if after else None,
        void=why,
    )


def _row_void(before: RiskRow, after: RiskRow, first: Audit, second: Audit) -> str:
    if before.margin != after.margin:
        return f"the margin δ was {before.margin:g}, then {after.margin:g}"
    if before.effect != after.effect:
        return "the measure is another one"
    if before.risk_class.startswith("BD"):
        return ""
    hashes = [_hash(row, audit) for row, audit in ((before, first), (after, second))]
    if not all(hashes):
        return "no run folder says which version of the suite was asked"
    return "" if hashes[0] == hashes[1] else "the suite's file changed between the audits"


def _suite(row: RiskRow, audit: Audit) -> Mapping[str, Any]:
    """The suite's report, found by its id or, in a run that did not name it, by its title."""
    named = audit.suites.get(row.suite.partition("@")[0])
    alike = (suite for suite in audit.suites.values() if row.effect.startswith(f"{suite['title']}:"))
    return named or next(alike, {})


def _hash(row: RiskRow, audit: Audit) -> str:
    return row.suite_sha256 or str(_suite(row, audit).get("sha256", ""))


def _side(
    before: Estimate | None, after: Estimate | None, row: RiskRow, role: str, first: Audit, second: Audit, void: str
) -> Side:
    if before is None or after is None:
        return Side(before=before, after=after, word="only in the second" if before is None else "only in the first")
    if void:
        return Side(before=before, after=after, word="void")
    suite = _suite(row, second)
    asked = [
        [item for item in audit.items.get(role, ()) if item.get("suite") == suite["id"] and not item.get("control")]
        for audit in ((first, second) if suite else ())
    ]
    if asked and all(asked):
        low, high = suite.get("bounds", (-0.5, 0.5))
        paired = paired_effects(asked[0], asked[1], bounds=(low - high, high - low))
        found, how = paired.difference, "paired by item"
        if not paired.changed and not paired.left_out:
            return Side(
                before=before, after=after, difference=_estimate(found), word="identical", how="every item alike"
            )
    else:
        found, how = unpaired_difference(_interval(before), _interval(after)), "from the two intervals"
    word = change(found, row.margin)
    said = f"{word}, {against_margin(found, row.margin)}" if word == "changed" else word
    return Side(before=before, after=after, difference=_estimate(found), word=said, how=how)


def _interval(e: Estimate) -> Interval:
    return Interval(e.value, e.low, e.high, e.n, e.clusters)


def _estimate(i: Interval) -> Estimate:
    return Estimate(value=i.value, low=i.low, high=i.high, n=i.n, clusters=i.clusters)


def _sentence(rows: Sequence[ChangeRow], models: Sequence[ModelChange], void: str) -> str:
    if void:
        return f"Void: {void}"
    subject = "student" if any(each.role == "student" for each in models) else "teacher"
    words = [(row, row.sides[subject]) for row in rows if subject in row.sides]
    changed = [
        f"{row.title} {number(side.difference.value)} {interval(side.difference)}"
        for row, side in words
        if side.word.startswith("changed") and side.difference
    ]
    counts = {
        name: sum(side.word == name for _, side in words)
        for name in ("identical", "same within δ", "cannot tell", "void", "only in the first", "only in the second")
    }
    rest = [f"{count} {name}" for name, count in counts.items() if count]
    name = "student" if subject == "student" else "model"
    said = f"In the {name} {len(changed)} of {len(words)} rows changed beyond noise"
    said += f": {'; '.join(changed)}." if changed else "."
    return f"{said} The others: {', '.join(rest)}." if rest else said


def _notes(one: Scorecard, two: Scorecard, models: Sequence[ModelChange], rows: Sequence[ChangeRow]) -> tuple[str, ...]:
    notes = []
    by_role = {each.role: each.what for each in models}
    subject = "student" if one.student and two.student else "teacher"
    if by_role.get(subject) == "the same files in the same precision":
        if any(side.word.startswith("changed") for row in rows for side in row.sides.values()):
            notes.append("Both audits saw the same files in the same precision: what changed is the measurement.")
    elif subject in by_role:
        notes.append(f"The first audit's verdicts do not hold for the second's {subject}: {by_role[subject]}.")
    if subject == "student" and "another precision" in by_role.get("teacher", ""):
        notes.append("The teacher was loaded in another precision: its own effects may have moved by that.")
    if _another(by_role.get("baseline", "")):
        notes.append("The baseline is another one: origins must not be compared.")
    for card, name in ((one, "first"), (two, "second")):
        if card.control_pair:
            notes.append(f"The {name} is a control pair: nothing was distilled between its models.")
    facts = [("Foreshot", one.foreshot, two.foreshot), ("seed", one.seed, two.seed)]
    facts += [
        (name, one.environment.get(name), two.environment.get(name))
        for name in ("torch", "transformers", "system", "threads")
    ]
    notes += [f"{name}: {before}, then {after}." for name, before, after in facts if before != after]
    for audit, words in ((one, "first"), (two, "second")):
        notes += [f"Missing in the {words}: {text}" for text in audit.missing]
    only = [
        row.title
        for row in rows
        if row.risk_class.startswith("BD") and (row.verdict_before is None) != (row.verdict_after is None)
    ]
    if only:
        notes.append(
            f"Found in one audit alone: {', '.join(only)}. That is no proof of absence in the other; "
            "try the trigger there with `scan --confirm`."
        )
    return tuple(notes)
