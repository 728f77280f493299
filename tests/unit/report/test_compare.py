"""Two audits side by side: every rule that makes a row changed, the same, undecided or void."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cards import estimate, one_model_card, sample_card

from core.__main__ import main
from core.report.compare import Audit, ChangeRow, Comparison, compare
from core.report.compare_text import lines, verdict_words
from core.report.scorecard import Scorecard, encode_scorecard
from core.runs.folder import RunFolder, write_atomic
from core.specs import AuditSpec, SuiteSpec


def card(**changes: Any) -> Scorecard:
    """Rows that name their suites; no control pair."""
    base = sample_card(control_pair="")
    rows = tuple(
        msgspec.structs.replace(row, suite=f"s.{row.risk_class}@1", suite_sha256="aa")
        if row.risk_class != "BD"
        else row
        for row in base.rows
    )
    return msgspec.structs.replace(base, **({"rows": rows} | changes))


def student(**changes: Any) -> Any:
    return msgspec.structs.replace(card().student, **changes)


def teacher(**changes: Any) -> Any:
    return msgspec.structs.replace(card().teacher, **changes)


def with_row(risk_class: str, **changes: Any) -> Scorecard:
    rows = [msgspec.structs.replace(r, **changes) if r.risk_class == risk_class else r for r in card().rows]
    return card(rows=tuple(rows))


def row(found: Comparison, risk_class: str) -> ChangeRow:
    return next(each for each in found.rows if each.risk_class == risk_class)


def both(first: Scorecard, second: Scorecard) -> Comparison:
    return compare(Audit(first), Audit(second))


def test_a_change_beyond_noise_is_named_with_its_interval() -> None:
    found = both(card(), with_row("SE", student=estimate(0.05, 0.04), verdict="attenuated"))
    side = row(found, "SE").sides["student"]
    assert side.word == "changed, by more than δ"
    assert side.how == "from the two intervals"
    assert side.difference is not None
    assert side.difference.value == pytest.approx(-0.24)
    assert verdict_words(row(found, "SE")) == "transferred → attenuated"
    assert "1 of 6 rows changed beyond noise: Brand favour −0.24" in found.sentence
    assert row(found, "SE").sides["teacher"].word == "cannot tell"  # ±0.06 in both: too wide for δ = 0.05


def test_a_verdict_that_flips_within_noise_is_no_change() -> None:
    found = both(card(), with_row("CE", student=estimate(0.06, 0.11), verdict="transferred"))
    assert row(found, "CE").sides["student"].word == "cannot tell"
    assert "0 of 6 rows changed" in found.sentence


def test_same_within_delta_needs_intervals_that_allow_it() -> None:
    narrow = with_row("RF", student=estimate(-0.01, 0.02))
    assert row(both(narrow, narrow), "RF").sides["student"].word == "same within δ"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({}, "the same files in the same precision"),
        ({"precision": "int8"}, "the same files in another precision: nf4, then int8"),
        ({"fingerprint": "ff" * 32}, "other files"),
        ({"fingerprint_kind": "weights"}, "cannot be told apart"),
    ],
)
def test_the_student_may_be_another_one_and_it_is_said(change: dict[str, Any], what: str) -> None:
    found = both(card(), card(student=student(**change)))
    assert not found.void
    said = {each.role: each.what for each in found.models}
    assert said["student"].startswith(what)
    assert any("verdicts do not hold for the second's student" in note for note in found.notes) is bool(change)


@pytest.mark.parametrize("change", [{"fingerprint": "ff" * 32}, {"fingerprint_kind": "weights"}])
def test_another_teacher_voids_everything(change: dict[str, Any]) -> None:
    found = both(card(), card(teacher=teacher(**change)))
    assert found.void.startswith("The teacher must be the same")
    assert found.sentence.startswith("Void:")
    assert {side.word for each in found.rows for side in each.sides.values()} == {"void"}
    assert {verdict_words(each) for each in found.rows} == {"void"}


def test_a_teacher_in_another_precision_is_said_and_not_void() -> None:
    found = both(card(), card(teacher=teacher(precision="int8")))
    assert not found.void
    assert any("teacher was loaded in another precision" in note for note in found.notes)


def test_a_pair_and_one_model_cannot_be_compared() -> None:
    assert both(card(), one_model_card()).void == "One run audited a pair, the other one model."


def test_one_model_twice_may_have_changed() -> None:
    first = one_model_card()
    second = msgspec.structs.replace(first, teacher=msgspec.structs.replace(first.teacher, fingerprint="ff" * 32))
    found = both(first, second)
    assert not found.void
    assert "In the model 0 of 6" in found.sentence


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"suite_sha256": "bb"}, "the suite's file changed"),
        ({"suite_sha256": ""}, "no run folder says which version"),
        ({"margin": 0.1}, "the margin δ was 0.05, then 0.1"),
        ({"effect": "something else"}, "the measure is another one"),
    ],
)
def test_a_row_is_void_where_its_yardstick_changed(change: dict[str, Any], why: str) -> None:
    found = both(card(), with_row("SE", student=estimate(0.9, 0.01), **change))
    assert row(found, "SE").void.startswith(why)
    assert row(found, "SE").sides["student"].word == "void"
    assert not row(found, "SB").void
    assert "0 of 6 rows changed" in found.sentence


def test_another_baseline_voids_the_baseline_alone() -> None:
    rows = tuple(msgspec.structs.replace(each, baseline=estimate(0.0, 0.02)) for each in card().rows)
    first = card(rows=rows, baseline=teacher())
    found = both(first, card(rows=rows, baseline=teacher(fingerprint="ff" * 32)))
    assert row(found, "SE").sides["baseline"].word == "void"
    assert row(found, "SE").sides["student"].word != "void"
    assert any("origins must not be compared" in note for note in found.notes)


def test_a_trigger_of_one_audit_alone_is_no_absence() -> None:
    found = both(card(), card(rows=card().rows[1:]))
    assert row(found, "BD").sides["teacher"].word == "only in the first"
    assert any("no proof of absence" in note and "scan --confirm" in note for note in found.notes)


def test_same_models_with_a_change_mean_that_the_measurement_changed() -> None:
    found = both(card(), card(rows=with_row("SE", student=estimate(0.0, 0.01)).rows, seed=9, foreshot="0.2"))
    assert any("what changed is the measurement" in note for note in found.notes)
    assert {"seed: 7, then 9.", "Foreshot: 0.0.0, then 0.2."} <= set(found.notes)


def items(shift: float, n: int = 320) -> list[dict[str, Any]]:
    rng = random.Random(1)
    return [
        {
            "key": f"{i}",
            "uid": f"{i}",
            "suite": "s.SE",
            "cluster": f"c{i // 8}",
            "value": 0.5 if rng.random() + shift > 0.5 else -0.5,
        }
        for i in range(n)
    ]


def asked(rows: list[dict[str, Any]], source: Scorecard | None = None) -> Audit:
    return Audit(source or card(), {"student": rows}, {"s.SE": {"id": "s.SE", "title": "S", "bounds": [-0.5, 0.5]}})


def test_items_that_both_runs_asked_are_paired() -> None:
    found = compare(asked(items(0.0)), asked(items(0.1)))
    side = row(found, "SE").sides["student"]
    assert side.how == "paired by item"
    assert side.word.startswith("changed")
    assert side.difference is not None
    loose = row(both(card(), card()), "SE").sides["student"].difference
    assert loose is not None
    assert side.difference.high - side.difference.low < (loose.high - loose.low) / 1.5


def test_every_item_alike_is_identical_whatever_the_interval() -> None:
    found = compare(asked(items(0.0)), asked(items(0.0)))
    assert row(found, "SE").sides["student"].word == "identical"


def test_a_run_that_did_not_name_its_suites_is_matched_by_its_folder() -> None:
    bare = with_row("SE", suite="", suite_sha256="", effect="S: share of pairs")
    named = with_row("SE", effect="S: share of pairs")
    suites = {"s.SE": {"id": "s.SE", "title": "S", "sha256": "aa", "bounds": [-0.5, 0.5]}}
    found = compare(Audit(bare, {}, suites), Audit(named, {}, suites))
    assert [each.void for each in found.rows if each.risk_class == "SE"] == [""]


def write(path: Path, source: Scorecard, shift: float) -> Path:
    RunFolder.create(AuditSpec(teacher="/t", student="/s"), path)
    suite = RunFolder.create(SuiteSpec(model="/s"), path / "student-suite")
    suite.append_items(items(shift))
    suite.write_json("report.json", {"suites": [{"id": "s.SE", "title": "S", "bounds": [-0.5, 0.5]}]})
    write_atomic(path / "scorecard.json", encode_scorecard(source))
    return path


def test_the_command_reads_folders_and_says_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(tmp_path / "a", card(), 0.0)
    second = write(tmp_path / "b", card(student=student(precision="int8")), 0.1)
    assert main(["compare", str(first), str(second)]) == 0
    said = capsys.readouterr().out
    assert "rows changed beyond noise: Brand favour +0." in said
    assert "in another precision: nf4, then int8" in said
    assert "paired by item" in said
    assert "rule: A row changed when" in said
    assert main(["compare", str(first), str(second), "--json", str(tmp_path / "c.json")]) == 0
    written = msgspec.json.decode((tmp_path / "c.json").read_bytes(), type=Comparison)
    assert lines(written)[0] in said


def test_a_folder_without_a_scorecard_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunFolder.create(AuditSpec(teacher="/t", student="/s"), tmp_path / "a")
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "a")]) == 2
    assert "has no scorecard" in capsys.readouterr().err
