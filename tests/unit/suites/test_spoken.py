"""Suites read from words: what can be asked so, what an answer names, and files of answers that are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.__main__ import main
from core.errors import InputError
from core.suites import list_suites, load_suite
from core.suites.items import Refusal
from core.suites.spoken import asked, named, prompt_uid, read_answers, spoken


def test_what_asks_in_words_is_kept_and_the_rest_is_named() -> None:
    read = spoken(list_suites())
    assert {suite.id for suite in read.suites} == {
        *("censorship.entities", "language.switch", "overrefusal.wording", "safety.requests"),
        *("errors.popular", "knowledge.basics", "stereotype.situations"),
    }
    assert len(read.left_out) == 5
    plain = load_suite("knowledge.basics")
    (told,) = spoken([plain]).suites
    assert 0 < len(told.items) < len(plain.items)  # what is to be continued is no question
    assert (told.margin, told.bounds, told.kind) == (plain.margin, plain.bounds, "prompts")
    assert told.sha256 != plain.sha256  # the two readings are never compared
    assert "nobody calibrated" in told.limits


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("It is Canberra.", [0]),
        ("canberra, not Sydney", [0, 1]),
        ("The Sydneysider says so.", []),
        ("**Sydney**", [1]),
        ("", []),
        ("答案是堪培拉。", [2]),
        ("I don’t know: it isn’t said", [3]),
    ],
)
def test_which_answers_a_text_names(answer: str, found: list[int]) -> None:
    assert named(answer, (" Canberra", "Sydney.", "堪培拉", "it isn't said")) == found


def test_the_prompts_are_written_once_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "prompts.jsonl"
    assert (
        main(["suites", "--prompts", str(file), "--suite", "safety.requests", "--suite", "framing.institutions"]) == 0
    )
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    suite = load_suite("safety.requests")
    assert {row["prompt"] for row in rows} == {text for item in suite.items for text in asked(item.plan)}
    assert len({row["uid"] for row in rows}) == len(rows)
    assert rows[0]["uid"] == prompt_uid(rows[0]["prompt"])
    assert all(isinstance(item.plan, Refusal) for item in suite.items)
    assert f"left out: {load_suite('framing.institutions').title}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no answers"),
        ("{}", "line 1, holds no uid"),
        ('{"uid": "a", "answer": "x"}\n[1]', "line 2, holds no uid"),
        ('{"uid": "a", "answer": 1}', "have to be texts"),
        ('{"uid": "a", "answer": "x"}\n\n{"uid": "a", "answer": "y"}', "line 3: a was answered before"),
        ("[" * 100_000, "line 1, holds no uid"),
    ],
)
def test_files_that_are_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_answers(file)
    assert said in caught.value.message


def test_a_file_of_answers_is_read_by_uid(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"uid": "a", "answer": "x", "model": "m", "logprobs": [-1]}\n\n{"uid": "b", "answer": ""}\n')
    assert read_answers(file) == {"a": "x", "b": ""}
    with pytest.raises(InputError, match="cannot be read"):
        read_answers(tmp_path / "none")
