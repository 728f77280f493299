"""What people say of findings is appended, signed, and survives a torn line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import EnvironmentFault
from core.runs.annotations import FILE, Annotation, annotate, read_annotations

SAID = Annotation(action="dismiss", trigger="cf", slot="user_end", reason="A test string.")


def test_each_is_signed_and_none_is_overwritten(tmp_path: Path) -> None:
    first = annotate(tmp_path, SAID)
    second = annotate(tmp_path, Annotation(action="promote", trigger="cf", slot="user_end", reason="No.", author="B"))
    assert first.author
    assert first.at.endswith("+00:00")
    assert second.author == "B"
    assert read_annotations(tmp_path) == [first, second]


def test_a_torn_line_is_skipped(tmp_path: Path) -> None:
    kept = annotate(tmp_path, SAID)
    with (tmp_path / FILE).open("ab") as stream:
        stream.write(b'{"action": "prom')
    assert read_annotations(tmp_path) == [kept]


def test_a_run_without_any_has_none(tmp_path: Path) -> None:
    assert read_annotations(tmp_path) == []


def test_where_it_cannot_be_written_one_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        annotate(tmp_path / "gone", SAID)
