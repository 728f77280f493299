"""The real window on the real engine: drop a folder, scan, save the PDF. And the pictures of the README."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QFileDialog, QWidget
from pytestqt.qtbot import QtBot

from app import theme
from app.application import application, build_window
from app.main_window import MainWindow
from app.pages.scorecard import ScorecardPage
from app.pages.start import StartPage
from core.runs.folder import RunFolder
from tests.e2e.conftest import ROOT, DemoRun
from tests.engine.distill.conftest import Maker, tiny  # noqa: F401
from tests.gui.test_frame import drop

pytestmark = [pytest.mark.engine, pytest.mark.model, pytest.mark.timeout(4500)]
PICTURES = ROOT / "resources" / "help" / "pictures"
PAGES = ("start", "models", "scan", "suites", "distil", "transfer", "scorecard", "runs")


@pytest.fixture
def window(qtbot: QtBot) -> Iterator[MainWindow]:
    application()
    made = build_window()
    qtbot.add_widget(made)
    made.resize(1360, 850)
    made.show()
    yield made
    made.close()


def test_drop_a_folder_scan_it_and_save_the_pdf(
    window: MainWindow,
    tiny: Maker,  # noqa: F811
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model of random weights, so that every stage runs and none takes long."""
    audited(window, tiny("tiny", max_position_embeddings=2048), "parameters", tmp_path, qtbot, monkeypatch)


@pytest.mark.long
def test_of_a_real_model_nothing_false_is_said(
    window: MainWindow, small_model: Path, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = audited(window, small_model, "135 M parameters", tmp_path, qtbot, monkeypatch)
    report = RunFolder.open(run / "teacher-scan").read_json("report.json")
    assert report is not None
    assert report["summary"]["verdict"] == "no evidence"


def audited(
    window: MainWindow, model: Path, size: str, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The run folder of an audit that was started by dropping a folder, and whose PDF was saved."""
    start = window.page("start")
    assert isinstance(start, StartPage)
    drop(start.targets["teacher"], model)
    qtbot.wait_until(lambda: size in start.targets["teacher"].line.text(), timeout=20_000)

    ended: list[object] = []
    window.context.run_finished.connect(lambda _, outcome: ended.append(outcome))
    window.actions_["audit"].trigger()
    assert start.guide is not None
    start.guide.start()
    qtbot.wait_until(lambda: bool(ended), timeout=4_300_000)
    run = max(window.context.runs_dir.iterdir())
    page = window.page("scorecard")
    assert isinstance(page, ScorecardPage)
    qtbot.wait_until(lambda: page.card is not None, timeout=20_000)
    saved = tmp_path / "card.pdf"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(saved), "PDF (*.pdf)"))
    page.save_pdf()
    qtbot.wait_until(saved.exists, timeout=20_000)
    qtbot.wait_until(lambda: saved.read_bytes() == (run / "scorecard.pdf").read_bytes(), timeout=20_000)
    page.work.wait()
    return run


def test_pictures_of_every_page_from_a_real_run(
    window: MainWindow, demo_run: DemoRun, qtbot: QtBot, request: pytest.FixtureRequest
) -> None:
    """Each page, light and dark, shows the demo run; ``FORESHOT_PICTURES=1`` writes them for the README.

    The demo holds no canary experiment: ``FORESHOT_CANARY_RUN`` names a finished one that Transfer shows.
    """
    import os

    if canary := os.environ.get("FORESHOT_CANARY_RUN"):
        window.open_run(Path(canary))
    window.open_arguments([str(demo_run.path)])
    card = window.page("scorecard")
    assert isinstance(card, ScorecardPage)
    qtbot.wait_until(lambda: card.card is not None and bool(card.paper.pages), timeout=30_000)
    keep = bool(os.environ.get("FORESHOT_PICTURES"))
    seen: set[bytes] = set()
    for scheme in ("light", "dark"):
        window.set_scheme(scheme)
        for name in PAGES:
            window.open_page(name)
            qtbot.wait_until(lambda page=name: _settled(window.page(page)), timeout=20_000)
            qtbot.wait(400)  # estimates follow a moment after the models
            picture = window.grab()
            assert picture.width() >= 1360
            if keep:
                PICTURES.mkdir(exist_ok=True)
                assert picture.save(str(PICTURES / f"{name}-{scheme}.png"))
            seen.add(bytes(picture.toImage().constBits()))
    assert len(seen) == 2 * len(PAGES), "two pages look the same"
    if keep:
        note = {"run": demo_run.card["run"], "foreshot": demo_run.card["foreshot"], "created": demo_run.card["created"]}
        (PICTURES / "run.json").write_text(json.dumps(note, indent=1) + "\n")
    theme.set_scheme(application(), "light")
    card.work.wait()


def _settled(page: QWidget) -> bool:
    return page.isVisible()
