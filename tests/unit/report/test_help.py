"""The help pages: links that lead somewhere, every verdict word explained, commands that exist."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from core.__main__ import _parser
from core.types import RESOURCES, Origin, ScanVerdict, TransferVerdict

HELP = RESOURCES / "help"
PAGES = sorted(HELP.glob("*.md"))


def test_the_pages_are_there() -> None:
    names = {"getting-started", "scan", "suites", "scorecard", "verdicts", "file-checks", "commands", "privacy"}
    assert {page.stem for page in PAGES} >= names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: object) -> None:
    text = (HELP / str(page)).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (HELP / target).exists(), target
    for target in re.findall(r"`(resources/[^`]+)`", text):
        assert (RESOURCES.parent / target).exists(), target


def test_every_verdict_word_is_explained() -> None:
    scan = (HELP / "scan.md").read_text(encoding="utf-8")
    scorecard = (HELP / "scorecard.md").read_text(encoding="utf-8")
    for word in get_args(ScanVerdict):
        assert f"**{word}**" in scan
    for word in get_args(TransferVerdict):
        assert f"| {word} |" in scorecard
    audit = (HELP / "audit.md").read_text(encoding="utf-8")
    for word in get_args(Origin):
        assert f"| {word} |" in audit


def test_commands_exist_with_their_options() -> None:
    text = (HELP / "commands.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    python -m core (\w+)", text, re.MULTILINE)
    choices = next(action.choices for action in _parser()._actions if action.choices)
    assert set(commands) == set(choices)
    known = {option for sub in choices.values() for action in sub._actions for option in action.option_strings}
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= known
