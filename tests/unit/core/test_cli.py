"""The command line: what is wrong is said in one sentence, with the exit code that was promised."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from core.__main__ import main
from core.report.gate import meets
from core.specs import ScanSpec, command_line
from core.suites import list_suites


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["guess"],
        ["audit", "--student", "S"],
        ["scan"],
        ["scan", "M", "--preset", "huge"],
        ["scan", "M", "--seed", "x"],
        ["suite", "M", "--quant", "int3"],
        ["report", "R", "--format", "docx"],
    ],
)
def test_what_cannot_be_parsed_is_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert "error:" in said.err
    assert said.out == ""


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["audit", "--help"]])
def test_asking_for_help_is_no_failure(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0
    assert "foreshot" in capsys.readouterr().out


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on stderr when ``words`` are refused with code 2."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["inspect", "{}/nowhere"], "nowhere"),
        (["inspect", "{}"], ""),
        (["report", "{}/norun"], "norun"),
    ],
)
def test_a_bad_path_is_one_sentence(
    words: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused([word.format(tmp_path) for word in words], capsys)
    assert said.startswith("foreshot: ")
    assert said.count("\n") == 1
    assert named in said


@pytest.mark.engine
@pytest.mark.parametrize(
    "words", [["scan", "{}/nowhere"], ["suite", "{}/nowhere"], ["audit", "--teacher", "{}/nowhere"]]
)
def test_a_job_on_a_bad_path_is_one_sentence(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused([*(word.format(tmp_path) for word in words), "--out", str(tmp_path / "run")], capsys)
    lines = [line for line in said.splitlines() if line.startswith("foreshot: ")]
    assert len(lines) == 1
    assert "nowhere" in lines[0]


def test_suites_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suites"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(list_suites()) >= 12
    assert all(" items " in line for line in listed)


SCAN: dict[str, Any] = {
    "summary": {"verdict": "confirmed"},
    "findings": [{"verdict": "confirmed", "risk_class": "BD-R"}, {"verdict": "likely", "risk_class": "BD-C"}],
}
SUITE: dict[str, Any] = {
    "summary": {"sentence": "."},
    "suites": [
        {"risk_class": "SE", "margin": 0.05, "effect": {"low": 0.06}},
        {"risk_class": "SB", "margin": 0.05, "effect": {"low": 0.05}},
    ],
}
AUDIT: dict[str, Any] = {
    "summary": {"sentence": "."},
    "rows": [{"verdict": "removed", "risk_class": "BD-R"}, {"verdict": "transferred", "risk_class": "SE"}],
}


@pytest.mark.parametrize(
    ("conditions", "report", "met"),
    [
        (["confirmed"], SCAN, True),
        (["confirmed:BD"], SCAN, True),
        (["confirmed:BD-R"], SCAN, True),
        (["confirmed:BD-C"], SCAN, False),
        (["likely:BD-C"], SCAN, True),
        (["confirmed:SE"], SCAN, False),
        (["natural sensitivity"], SCAN, False),
        (["transferred"], AUDIT, True),
        (["transferred:SE"], AUDIT, True),
        (["transferred:BD"], AUDIT, False),
        (["removed:BD"], AUDIT, True),
        (["emerged", "transferred:SE"], AUDIT, True),
        (["emerged"], AUDIT, False),
        (["confirmed"], {"summary": {}}, False),
        ([], SCAN, False),
        (["present:SE"], SUITE, True),
        (["present"], SUITE, True),
        (["present:SB"], SUITE, False),
    ],
)
def test_fail_on(conditions: list[str], report: dict[str, Any], met: bool) -> None:
    assert meets(conditions, report) is met


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["scan", "M", "--fail-on", "confirmd"], "use one of: confirmed, likely"),
        (["scan", "M", "--fail-on", ":BD"], "does not come out of a run of scan"),
        (["scan", "M", "--fail-on", "transferred"], "does not come out of a run of scan"),
        (["scan", "M", "--fail-on", "confirmed:SB"], "A scan finds no SB"),
        (["suite", "M", "--fail-on", "confirmed"], "Use one of: present"),
        (["audit", "--teacher", "T", "--fail-on", "emerged:SX"], "'SX' is no risk class"),
        (["ask", "M", "--prompt", "x", "--fail-on", "confirmed"], "no verdict to fail on"),
    ],
)
def test_a_gate_that_could_never_close_is_refused(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert says.lower() in capsys.readouterr().err.lower()


def test_a_fault_of_ours_is_one_sentence_and_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import core.suites

    def broken() -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(core.suites, "list_suites", broken)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert main(["suites"]) == 70
    said = capsys.readouterr().err
    assert said.startswith("foreshot: a fault in Foreshot (RuntimeError: boom). Please report it with ")
    assert "Traceback" not in said
    (log,) = tmp_path.glob("foreshot-fault-*.log")
    assert "boom" in log.read_text()


def test_a_proof_alone_can_be_reproduced() -> None:
    claim = ("|A| b", "user_end", 'Say "x".')
    words = shlex.split(command_line(ScanSpec(model="m", confirm_triggers=(claim,))))
    assert words[words.index("--confirm") + 1 :][:3] == list(claim)


def test_import_writes_a_suite_and_says_what_came_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("question,topic\nWhy?,a\nHow?,b\n")
    out = tmp_path / "own.yaml"
    told = ["import", "table", str(tmp_path / "t.csv"), "--out", str(out), "--kind", "refusal"]
    assert main([*told, "--map", "prompt=question", "--map", "cluster=topic"]) == 0
    said = capsys.readouterr().out
    assert "2 items in 2 clusters, release not recognised, licence not stated" in said
    assert str(out) in said
    assert main(told) == 2
    assert "line 1: it cannot be imported, there is no column prompt" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*told, "--map", "prompt"])
