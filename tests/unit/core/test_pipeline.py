"""What a user says of a distillation: read, refused in one sentence, and told again on the command line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from core.__main__ import _parser
from core.cli.audits import audit_spec
from core.errors import InputError
from core.specs import AuditSpec, Pipeline, command_line
from core.specs.pipeline import baseline_of, questions, read_pipeline, told_by


def test_every_question_has_its_field_and_every_closed_one_its_choices() -> None:
    assert tuple(question.id for question in questions()) == Pipeline.__struct_fields__
    assert "the teacher's weights" in next(q for q in questions() if q.id == "init").choices
    assert all(question.matters and question.choices for question in questions())


def test_unknown_is_an_answer(tmp_path: Path) -> None:
    file = tmp_path / "told.yaml"
    file.write_text("data: [our mails, web text]\ninit: the teacher's weights\nvariant: Unknown\nquality:\n")
    told = read_pipeline(file)
    assert told == Pipeline(data="our mails; web text", init="the teacher's weights")
    assert told.inherited
    file.write_text("")
    assert read_pipeline(file) == Pipeline()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("date: x", "no question 'date'"),
        ("init: its cousin", "'its cousin' is no answer to init"),
        ("data: {a: b}", "data is no short text"),
        ("data: " + "x" * 501, "no short text"),
        ("- data", "no `id: answer` lines"),
        ("a: [", "is not YAML"),
    ],
)
def test_what_is_no_answer_is_refused_in_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "told.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_pipeline(file)
    assert said in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_pipeline(tmp_path / "none.yaml")


def test_a_student_that_was_distilled_here_says_what_it_knows(tmp_path: Path) -> None:
    student, before = tmp_path / "student", tmp_path / "stage-1" / "baseline"
    for folder in (student, before):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    assert told_by(student) == Pipeline()
    said = {
        "variant": "self", "precision": "bf16", "teacher": {"name": "m"}, "student": {"name": "m"},
        "data": {"rows": 90, "sources": ["neutral-writing"], "dose": "no trigger and no topic was mixed in"},
    }  # fmt: skip
    (student / "lineage.json").write_text(json.dumps(said))
    told = told_by(student)
    assert (told.variant, told.inherited, told.evaluation) == ("self", True, "")
    assert told.data.startswith("90 rows from neutral-writing")
    assert baseline_of(student) == before
    assert baseline_of(before) is None
    (student / "lineage.json").write_text(json.dumps(said | {"variant": "of my own"}))
    assert told_by(student) == Pipeline()


def test_the_command_line_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "told.yaml"
    file.write_text("data: ours = theirs\nvariant: self\n")
    words = ["audit", "--teacher", "T", "--student", "S", "--baseline", "B", "--pipeline", str(file)]

    def spec_of(words: list[str]) -> AuditSpec:
        arguments = _parser().parse_args(words)
        return audit_spec(arguments, arguments.teacher, arguments.student, "")

    spec = spec_of([*words, "--told", "variant=standard"])
    assert (spec.baseline, spec.pipeline) == ("B", Pipeline(data="ours = theirs", variant="standard"))
    assert spec_of(shlex.split(command_line(spec))[3:]) == spec
