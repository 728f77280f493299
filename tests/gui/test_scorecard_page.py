"""The Scorecard page: the printed page, the strip, the drawer, saving."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PySide6.QtWidgets import QFileDialog, QLabel, QTableView
from pytestqt.qtbot import QtBot

from app.context import Context, ModelChoice
from app.pages.scorecard import TITLE, ScorecardPage, drawer_lines
from core.report.forms import FORMS
from core.report.scorecard import Estimate, Joint, RiskRow, decode_scorecard
from core.runs.folder import RunFolder
from core.specs import AuditSpec
from core.types import ModelRef
from tests.gui.runfolders import PAYLOAD, scorecard, write_audit


@pytest.fixture
def context(qtbot: QtBot) -> Context:
    return Context()


@pytest.fixture
def page(qtbot: QtBot, context: Context) -> Iterator[ScorecardPage]:
    made = ScorecardPage(context)
    context.pair_changed.connect(lambda: made.set_pair(context.teacher, context.student))
    qtbot.addWidget(made)
    made.resize(1280, 760)
    made.show()
    yield made
    made.work.wait()


def opened(page: ScorecardPage, qtbot: QtBot, folder: Path) -> None:
    with qtbot.waitSignal(page.rendered, timeout=60_000):
        page.open_run(folder)


def test_an_empty_page_says_what_to_do(page: ScorecardPage, context: Context) -> None:
    assert page.heading.text() == TITLE == "Partial-risk-laundering scorecard"
    assert "Open a teacher and a student" in page.empty_words.text()
    assert not page.save_pdf_button.isEnabled()
    assert not page.export_button.isEnabled()
    assert not page.audit_button.isVisible()
    context.set_pair(ModelChoice(ModelRef("/t")), ModelChoice(ModelRef("/s")))
    assert page.audit_button.isVisible()
    asked: list[bool] = []
    context.audit_requested.connect(lambda: asked.append(True))
    page.audit_button.click()
    assert asked == [True]


def test_the_page_as_it_will_print(page: ScorecardPage, qtbot: QtBot, tmp_path: Path) -> None:
    opened(page, qtbot, write_audit(tmp_path / "audit-1"))
    assert page.paper.pages
    assert page.paper.pages[0].width() > 1000
    assert page.paper.labels[0].pixmap().width() <= page.paper.viewport().width()
    assert [row.row.verdict for row in page.rows] == ["removed", "transferred", "inconclusive"]
    assert page.rows[0].accessibleName() == "Rare-token trigger cf: removed"


def test_a_row_opens_its_evidence_and_items(page: ScorecardPage, qtbot: QtBot, tmp_path: Path) -> None:
    opened(page, qtbot, write_audit(tmp_path / "audit-1"))
    page.rows[1].click()
    assert page.drawer.isVisible()
    assert page.drawer_title.text() == "Stereotype"
    (table,) = page.drawer.findChildren(QTableView)
    assert table.model().rowCount() == 60
    assert {item.suite for item in page.items_of(page.rows[1].row)} == {"occupation-gender"}
    assert page.rows[1].range == page.rows[2].range != page.rows[0].range
    page.rows[0].click()
    assert page.drawer_title.text() == "Rare-token trigger cf"

    def says() -> str:
        return " ".join(found.text() for found in page.drawer.findChildren(QLabel) if found.isVisible())

    qtbot.waitUntil(lambda: "126 of 128 prompts (controls: 0 of 199); in the student 0 of 128." in says())
    page.close_drawer()
    assert not page.drawer.isVisible()


def choose(page: ScorecardPage, form: str) -> None:
    """What the user picks: the button or an entry of the menu."""
    if form == "pdf":
        page.save_pdf_button.click()
    else:
        page.export_button.forms[form].trigger()


def test_saving_in_every_form(
    page: ScorecardPage, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(page, qtbot, write_audit(tmp_path / "audit-1"))
    saved = {}
    for name, form in FORMS.items():
        answer = (str(tmp_path / f"card{form.ending}"), "")
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_args, answer=answer: answer)
        with qtbot.waitSignal(page.saved, timeout=60_000):
            choose(page, name)
        saved[name] = Path(answer[0]).read_bytes()
    assert saved["pdf"].startswith(b"%PDF")
    assert decode_scorecard(saved["json"]) == scorecard("audit-1")
    assert json.loads(saved["json"])["title"] == TITLE
    assert json.loads(saved["sarif"])["runs"][0]["tool"]["driver"]["name"] == "Foreshot"
    assert PAYLOAD not in saved["sarif"].decode()
    page.export_button.whole.trigger()
    with qtbot.waitSignal(page.saved, timeout=60_000):
        choose(page, "sarif")
    assert PAYLOAD in Path(answer[0]).read_text("utf-8")


def test_saving_where_it_cannot_be_is_one_sentence(
    page: ScorecardPage, context: Context, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(page, qtbot, write_audit(tmp_path / "audit-1"))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_args: (str(tmp_path / "absent" / "x.json"), ""))
    with qtbot.waitSignal(context.error_shown, timeout=10_000) as said:
        page.save("json")
    assert "cannot be written" in said.args[0]


def test_the_drawer_says_where_a_risk_is_from() -> None:
    part = Estimate(value=0.4, low=0.3, high=0.5, n=400, clusters=40)
    row = RiskRow(
        risk_class="SB", title="Stereotype", effect="Gender: share", margin=0.05, teacher=part, student=part,
        difference=part, verdict="transferred", baseline=part, gain=part, origin="was in the student before",
        origin_note="nothing was added",
        joint=Joint(level=0.99, rows=5, teacher=part, student=part, difference=part, verdict="inconclusive"),
    )  # fmt: skip
    lines = dict(drawer_lines(row))
    assert lines["Origin"] == "was in the student before: nothing was added"
    assert lines["All at once"] == "inconclusive, for all 5 primary rows together"
    assert "n = 400 in 40 clusters" in lines["Baseline"]
    assert "Origin" not in dict(drawer_lines(msgspec.structs.replace(row, origin=None)))


def test_an_interrupted_audit_says_so(page: ScorecardPage, tmp_path: Path) -> None:
    RunFolder.create(AuditSpec(teacher="/t", student="/s"), tmp_path / "audit-2")
    page.open_run(tmp_path / "audit-2")
    assert "Resume it from Runs" in page.empty_words.text()


def test_a_spoilt_scorecard_is_one_sentence(page: ScorecardPage, context: Context, tmp_path: Path) -> None:
    said: list[str] = []
    context.error_shown.connect(lambda message, _hint, _action: said.append(message))
    folder = write_audit(tmp_path / "audit-3")
    (folder / "scorecard.json").write_text("{")
    page.open_run(folder)
    assert len(said) == 1
    assert "cannot be read" in said[0]
    assert page.empty.isVisible()
