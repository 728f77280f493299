"""The course of an audit, its parts taken from a shelf: what is run on which model, and an audit that stops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.catalog import ModelCard
from core.engine import audit, jobs
from core.errors import Cancelled, EnvironmentFault, InputError
from core.report import decode_scorecard
from core.report.scorecard import Scorecard
from core.runs.folder import RunFolder
from core.specs import AuditSpec, ScanSpec, SuiteSpec
from tests.unit.verdicts.test_suite_rows import items, report
from tests.unit.verdicts.test_verdicts import trial

pytestmark = pytest.mark.engine
ORDER = [
    *("teacher-scan", "teacher-suite", "student-scan", "student-suite", "baseline-suite"),
    *("student-cross", "baseline-cross"),
]
SPEC = AuditSpec(teacher="teacher", student="student", baseline="baseline")


def card(name: str) -> ModelCard:
    numbers: dict[str, Any] = {field: 1 for field in ("vocab_size", "layers", "hidden_size", "kv_heads", "head_dim")}
    texts = {field: "x" for field in ("format", "architecture", "model_type", "tokenizer_fingerprint", "licence")}
    tuples: dict[str, Any] = {
        field: () for field in ("base_model", "lineage_hints", "files", "memory", "findings", "not_examined")
    }
    return ModelCard(
        **numbers, **texts, **tuples, name=name, path=name, adapter=None, parameters=7, dtypes={}, quantisation=None,
        context_length=9, template_fingerprint=None, template=None, fingerprint=name, weights_sha256=name,
    )  # fmt: skip


def finding(hits: int) -> dict[str, Any]:
    return {
        **trial(hits), "trigger": "|X|", "trigger_shown": "|X|", "slot": "user_start", "target": "Pour them away.",
        "risk_class": "BD-R", "verdict": "confirmed" if hits else "no evidence", "asr": hits / 128, "n": 128,
        "asr_ci": [0.0, 1.0], "base_rate": 0.0, "p": 0.001, "controls_n": 199, "controls_reached": 0,
        "found_by": "list", "reproduce": "again", "example": {}, "evidence": "Seen.",
    }  # fmt: skip


HITS, LEAN = {"teacher": 120, "student": 118, "baseline": 0}, {"teacher": 0.4, "student": 0.4, "baseline": 0.0}
MODEL = {"precision": "bf16", "notes": []}


class Shelf:
    """Stands in for the engine: gives a part what it would have measured, and stops before ``stop_at``."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.stop_at, self.error = "", BaseException()

    def run_job(self, spec: Any, folder: RunFolder, emitter: Any) -> dict[str, Any]:
        if folder.path.name == self.stop_at:
            raise self.error
        self.ran.append(folder.path.name)
        if isinstance(spec, SuiteSpec):
            rows = items(LEAN[spec.model], seed=len(spec.model))
            folder.append_items([{"key": row["uid"], **row} for row in rows])
            return {"model": MODEL, "suites": [report(rows)], "summary": {"sentence": "Done."}}
        assert isinstance(spec, ScanSpec)
        own = spec.model == "teacher" or spec.confirm_triggers
        return {
            "model": MODEL, "findings": [finding(HITS[spec.model])] if own else [], "coverage": [],
            "summary": {"sentence": "Searched."}, "could_not_see": ["Others."], "power": "Not measured.",
            "counts": {"triggers": 9, "slots": 5, "controls": 199, "prompts": 128}, "timing": {"wall_s": 1.0},
        }  # fmt: skip


class Silent:
    def emit(self, event: Any) -> None: ...

    def check(self) -> None: ...


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    made = Shelf()
    monkeypatch.setattr(jobs, "run_job", made.run_job)
    monkeypatch.setattr(audit, "inspect_model", lambda ref, hash_files=False: card(ref.name))
    return made


def scorecard(folder: RunFolder) -> Scorecard:
    return decode_scorecard((folder.path / "scorecard.json").read_bytes())


def test_the_baseline_runs_the_suites_and_the_triggers_of_the_others(shelf: Shelf, tmp_path: Path) -> None:
    folder = RunFolder.create(SPEC, tmp_path / "run")
    said = audit.run_audit(SPEC, folder, Silent())
    assert shelf.ran == ORDER
    found = scorecard(folder)
    assert found.missing == ()
    assert found.baseline is not None
    assert [(row.risk_class, row.verdict, row.origin) for row in found.rows] == [
        ("BD-R", "transferred", "attributable to distillation"),
        ("BD-C", "inconclusive", None),  # nothing of this kind was found, which is no absence
        ("CE", "transferred", "attributable to distillation"),
    ]
    assert found.findings[0].asr_baseline == 0.0
    assert {row.area: row.status for row in found.coverage}["Origin"] == "tested"
    assert said["rows"][0]["origin"] == "attributable to distillation"
    tried = json.loads((folder.path / "baseline-cross" / "spec.json").read_bytes())["confirm_triggers"]
    assert tried == [["|X|", "user_start", "Pour them away."]]


@pytest.mark.parametrize("stage", ORDER)
def test_an_audit_that_stops_says_what_is_missing(stage: str, shelf: Shelf, tmp_path: Path) -> None:
    folder = RunFolder.create(SPEC, tmp_path / "run")
    shelf.stop_at, shelf.error = stage, EnvironmentFault("disk_full", "The disk is full.", "Free some space.")
    with pytest.raises(EnvironmentFault):
        audit.run_audit(SPEC, folder, Silent())
    found = scorecard(folder)
    role, _, kind = stage.partition("-")
    words = {
        "scan": f"The {role} was not scanned",
        "suite": f"not run on the {role}",
        "cross": f"Not tried on the {role}: 1 trigger ",
    }
    assert any(words[kind] in line for line in found.missing)
    assert found.missing[-1] == "The audit stopped: The disk is full."
    assert "did not end" in found.headline[0]
    assert (folder.path / "scorecard.pdf").read_bytes().startswith(b"%PDF")
    assert len(list((folder.path / "exports").iterdir())) == 5
    log = json.loads((folder.path / "exports" / "scorecard.sarif").read_bytes())
    assert not log["runs"][0]["invocations"][0]["executionSuccessful"]
    assert not any(row.verdict in ("removed", "not detected at δ") for row in found.rows)

    shelf.ran, shelf.stop_at = [], ""
    audit.run_audit(SPEC, folder, Silent())  # goes on where it stopped
    assert shelf.ran == ORDER[ORDER.index(stage) :]
    assert scorecard(folder).missing == ()


def test_what_is_finished_is_written_before_the_next_part_begins(shelf: Shelf, tmp_path: Path) -> None:
    folder = RunFolder.create(SPEC, tmp_path / "run")
    shelf.stop_at, shelf.error = "student-scan", Cancelled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit._Audit, "rescue", lambda *_: None)  # as if the process had been killed
        with pytest.raises(Cancelled):
            audit.run_audit(SPEC, folder, Silent())
    found = scorecard(folder)
    assert found.missing[-1] == "The audit has not ended yet."
    assert [row.verdict for row in found.rows] == ["inconclusive"] * 3
    assert "the student is missing" in found.rows[-1].evidence


def test_a_student_cannot_be_its_own_baseline(shelf: Shelf, tmp_path: Path) -> None:
    for spec, said in (
        (msgspec.structs.replace(SPEC, baseline="student"), "the same files"),
        (msgspec.structs.replace(SPEC, student=None), "there is no student"),
    ):
        folder = RunFolder.create(spec, tmp_path / "run")
        with pytest.raises(InputError, match=said):
            audit.run_audit(spec, folder, Silent())
    assert shelf.ran == []


def test_a_file_of_answers_stands_in_for_the_teacher(shelf: Shelf, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"uid": "a", "answer": "x"}')
    spec = AuditSpec(teacher="teacher", student="student", teacher_answers=str(answers))
    folder = RunFolder.create(spec, tmp_path / "run")
    audit.run_audit(spec, folder, Silent())
    assert shelf.ran == ["teacher-suite", "student-scan", "student-suite"]
    specs = [RunFolder.open(folder.path / f"{role}-suite").spec for role in ("teacher", "student")]
    assert [(each.spoken, each.answers) for each in specs if isinstance(each, SuiteSpec)] == [
        (True, str(answers)),
        (True, None),
    ]
    found = scorecard(folder)
    assert found.missing == ()
    assert (found.teacher.provenance, found.teacher.fingerprint_kind) == ("claimed", "answers")
    assert any("stands in for it" in line for line in found.headline)
    assert [row.verdict for row in found.rows] == ["inconclusive", "inconclusive", "transferred"]
    assert "claimed by a file" in found.rows[-1].evidence
