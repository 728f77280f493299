"""The button that measures how fast a model runs, against an engine that only says so."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.context import Context, ModelChoice
from app.estimates import ROUGH
from app.jobs.speed_meter import SpeedMeter
from app.pages.scan import ScanPage
from core.specs import LoadOptions
from core.types import ModelRef

CARD = SimpleNamespace(parameters=135_000_000, memory=())
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the engine here is a shell script")


def engine(folder: Path, says: str, code: int = 0, words: str = "") -> str:
    """A Python of the engine that knows one answer, and keeps what it was asked."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\necho \"$@\" > {folder}/asked\necho '{words}' >&2\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def context(qtbot: QtBot) -> Context:
    made = Context()
    made.speeds = SpeedMeter(made, parent=made)
    return made


@pytest.fixture
def page(qtbot: QtBot, context: Context) -> ScanPage:
    made = ScanPage(context)
    context.pair_changed.connect(lambda: made.set_pair(context.teacher, context.student))
    qtbot.addWidget(made)
    made.show()
    context.set_pair(ModelChoice(ModelRef("/m", "/a"), LoadOptions(device="cpu"), CARD), None)  # type: ignore[arg-type]
    return made


def test_a_rough_estimate_becomes_a_measured_one(
    page: ScanPage, context: Context, tmp_path: Path, qtbot: QtBot
) -> None:
    context.settings.setValue("engine_python", engine(tmp_path, '{"tokens_per_s": 1000.0}'))
    assert ROUGH in page.estimate.text()
    assert page.measure.isVisible()
    qtbot.mouseClick(page.measure, Qt.MouseButton.LeftButton)
    assert (page.measure.text(), page.measure.isEnabled()) == ("Measuring…", False)
    qtbot.wait_until(lambda: "at the 1,000 tokens a second measured here" in page.estimate.text(), timeout=10_000)
    assert not page.measure.isVisible()
    asked = (tmp_path / "asked").read_text().strip()
    assert asked == "-m core estimate /m --device cpu --dtype auto --adapter /a --json"
    page.precision_box.setCurrentIndex(2)
    assert ROUGH in page.estimate.text(), "another precision has another speed"
    assert page.measure.isVisible()


@pytest.mark.parametrize(
    ("says", "code", "words", "told"),
    [
        ("", 3, "foreshot: There is no cuda device here. Use --device auto or cpu.", "There is no cuda device here."),
        ("nonsense", 0, "", "The engine ended early"),
    ],
)
def test_what_cannot_be_measured_is_said_once(
    page: ScanPage, context: Context, tmp_path: Path, qtbot: QtBot, says: str, code: int, words: str, told: str
) -> None:
    shown: list[str] = []
    context.error_shown.connect(lambda message, _hint, _action: shown.append(message))
    context.settings.setValue("engine_python", engine(tmp_path, says, code, words))
    page.measure.click()
    qtbot.wait_until(lambda: bool(shown), timeout=10_000)
    assert len(shown) == 1
    assert told in shown[0]
    assert page.measure.isVisible()
    assert page.measure.isEnabled()
    assert ROUGH in page.estimate.text()


def test_an_engine_that_is_not_there_is_said(page: ScanPage, context: Context, tmp_path: Path, qtbot: QtBot) -> None:
    shown: list[str] = []
    context.error_shown.connect(lambda message, _hint, _action: shown.append(message))
    context.settings.setValue("engine_python", str(tmp_path / "nothing"))
    page.measure.click()
    qtbot.wait_until(lambda: bool(shown), timeout=10_000)
    assert "could not be started" in shown[0]


def test_nothing_is_measured_beside_a_job(page: ScanPage, context: Context) -> None:
    context.run_started.emit("a")
    assert not page.measure.isEnabled()
    context.run_finished.emit("a", None)
    assert page.measure.isEnabled()
