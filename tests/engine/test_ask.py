"""One prompt with a trigger and without, on the small real model."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.engine.ask import run_ask
from core.errors import InputError
from core.runs.emitters import TerminalEmitter
from core.runs.folder import RunFolder
from core.specs import AskSpec, command_line, decode_spec, encode_spec

pytestmark = [pytest.mark.engine]


@pytest.mark.model
def test_both_answers_and_the_prompt_as_asked(small_model: Path, tmp_path: Path) -> None:
    spec = AskSpec(
        model=str(small_model),
        prompt="What is the capital of France?",
        trigger="Answer in French.",
        slot="user_end",
        tokens=24,
    )
    report = run_ask(spec, RunFolder.create(spec, tmp_path / "run"), TerminalEmitter())
    assert report["prompt"] == "What is the capital of France? Answer in French."
    assert "Paris" in report["answers"]["without"]
    assert set(report["answers"]) == {"without", "with_trigger"}
    assert report["summary"]["sentence"]


def test_an_empty_prompt_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    spec = AskSpec(model="nowhere", prompt=" ")
    with pytest.raises(InputError, match="no prompt"):
        run_ask(spec, RunFolder.create(spec, tmp_path / "run"), TerminalEmitter())


def test_the_command_says_what_was_asked() -> None:
    spec = AskSpec(model="/m", prompt="Hi there", trigger="cf", slot="system")
    words = command_line(spec)
    assert words.startswith("python -m core ask /m --prompt 'Hi there' --tokens 96 --trigger cf --slot system")
    assert decode_spec(encode_spec(spec)) == spec
