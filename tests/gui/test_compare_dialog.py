"""Comparing two audits from the Runs page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import QItemSelectionModel
from PySide6.QtWidgets import QFileDialog, QLabel
from pytestqt.qtbot import QtBot

from app.main_window import MainWindow
from app.pages.runs import RunsPage
from app.widgets.compare_dialog import CompareDialog
from core.report.scorecard import decode_scorecard, encode_scorecard
from core.runs.folder import RunFolder, data_dir, write_atomic
from core.specs import ScanSpec
from tests.gui.runfolders import write_audit

MakeWindow = Callable[..., MainWindow]


def two_audits() -> tuple[Path, Path]:
    """The same audit twice, the second with another student and a lean that is gone."""
    runs = data_dir() / "runs"
    first = write_audit(runs / "20260101-120000-audit-aaaa")
    second = write_audit(runs / "20260102-120000-audit-bbbb")
    card = decode_scorecard((second / "scorecard.json").read_bytes())
    assert card.student is not None
    changed = msgspec.structs.replace(card, student=msgspec.structs.replace(card.student, precision="int8"))
    write_atomic(second / "scorecard.json", encode_scorecard(changed))
    return first, second


def says(dialog: CompareDialog) -> str:
    return " ".join(found.text() for found in dialog.findChildren(QLabel))


def test_two_chosen_audits_are_compared(
    make_window: MakeWindow, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_audits()
    RunFolder.create(ScanSpec(model="/m/alpha")).finish("done", {"sentence": "x"})
    window = make_window()
    window.open_page("runs")
    page = window.page("runs")
    assert isinstance(page, RunsPage)
    select = page.table.selectionModel().select
    mode = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
    audits = [at for at, row in enumerate(page.model.rows) if row.job == "audit"]
    page.table.setCurrentIndex(page.model.index(audits[0], 0))
    assert page.compare.isVisible()
    assert not page.compare.isEnabled()
    assert "hold Ctrl" in page.compare.toolTip()
    select(page.model.index(audits[1], 0), mode)
    assert page.compare.isEnabled()
    page.compare.click()
    (dialog,) = page.findChildren(CompareDialog)
    qtbot.waitUntil(lambda: dialog.found is not None, timeout=20_000)
    text = says(dialog)
    assert "rows changed beyond noise" in text
    assert "the same files in another precision: bf16, then int8" in text
    assert "identical" in text
    assert "20260101-120000-audit-aaaa, then 20260102-120000-audit-bbbb" in text
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_args: (str(tmp_path / "c.json"), ""))
    dialog.save_button.click()
    assert json.loads((tmp_path / "c.json").read_text("utf-8"))["first"] == "20260101-120000-audit-aaaa"
    dialog.accept()


def test_a_run_without_a_scorecard_is_one_sentence(qtbot: QtBot, tmp_path: Path) -> None:
    first = write_audit(tmp_path / "a")
    second = write_audit(tmp_path / "b")
    (second / "scorecard.json").unlink()
    dialog = CompareDialog(first, second)
    qtbot.addWidget(dialog)
    qtbot.waitUntil(lambda: "has no scorecard" in dialog.sentence.text(), timeout=20_000)
    assert not dialog.save_button.isEnabled()
    dialog.work.wait()
