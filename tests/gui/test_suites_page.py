"""The Suites page on run folders of its own making, and on live events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from app.context import Context, ModelChoice
from app.estimates import ROUGH, suite_words
from app.pages.suites import SuitesPage, dot_rows, own_suites
from app.tables.suite_items import FILTERS
from app.widgets.interval_strip import signed
from core.runs.events import Samples
from core.runs.folder import RunFolder
from core.specs import SuiteSpec
from core.suites import Suite, list_suites
from core.types import RESOURCES, ModelRef
from tests.gui.runfolders import SUITES, suite_items, write_audit, write_suite


class Queue:
    def __init__(self) -> None:
        self.waiting: list[RunFolder] = []

    def submit(self, folder: RunFolder) -> None:
        self.waiting.append(folder)

    def cancel(self, run_id: str) -> None: ...

    def shutdown(self) -> None: ...


@pytest.fixture
def context(qtbot: QtBot) -> Context:
    made = Context()
    made.jobs = Queue()
    return made


@pytest.fixture
def page(qtbot: QtBot, context: Context, monkeypatch: pytest.MonkeyPatch) -> SuitesPage:
    suites = [
        Suite(name, "1", name.capitalize(), "SB", "CC0", "own", f"what {name} shows", "English only.", 0.05, "cd", ())
        for name in SUITES
    ]
    monkeypatch.setattr("core.suites.list_suites", lambda: suites)
    made = SuitesPage(context)
    context.pair_changed.connect(lambda: made.set_pair(context.teacher, context.student))
    qtbot.addWidget(made)
    made.resize(1280, 760)
    made.show()
    return made


def test_an_empty_page_says_what_to_do_and_what_a_suite_measures(page: SuitesPage) -> None:
    assert "Open a teacher and a student" in page.empty.text()
    assert not page.run_button.isEnabled()
    assert "Measures what occupation-gender shows." in page.about.text()
    assert page.limits.text() == "English only."
    assert not page.below.isVisible()


def test_the_ticked_suites_run_on_each_model(page: SuitesPage, context: Context) -> None:
    context.set_pair(ModelChoice(ModelRef("/t", "/a")), ModelChoice(ModelRef("/s")))
    page.tree.tick(SUITES[1], False)
    page.run_button.click()
    assert isinstance(context.jobs, Queue)
    specs = [folder.spec for folder in context.jobs.waiting]
    assert [(s.model, s.adapter, s.suites) for s in specs if isinstance(s, SuiteSpec)] == [
        ("/t", "/a", (SUITES[0],)),
        ("/s", None, (SUITES[0],)),
    ]
    assert sorted(page.runs.values()) == ["student", "teacher"]
    assert not page.run_button.isEnabled()


def test_an_audit_pairs_both_models(page: SuitesPage, tmp_path: Path) -> None:
    page.open_run(write_audit(tmp_path / "audit-1"))
    assert [row.suite for row in page.plot.rows if not row.group] == list(SUITES)
    first = page.plot.rows[0]
    assert first.teacher is not None
    assert first.student is not None
    assert (first.teacher.value, first.student.value) == (0.2, 0.16)
    assert len(page.items) == 120
    assert all(set(item.values) == {"teacher", "student"} for item in page.items.values())
    assert not [row for row in page.plot.rows if row.group], "groups stay closed until a suite is chosen"
    page.plot.choose(1)
    groups = [row for row in page.plot.rows if row.group]
    assert {row.suite for row in groups} == {SUITES[1]}
    assert page.plot.rows[page.plot.chosen].suite == SUITES[1]
    assert page.tree.chosen() == SUITES[1]
    assert groups[0].teacher is not None
    assert groups[0].teacher.low is None
    page.plot.grab()


def test_an_item_is_read_in_full(page: SuitesPage, tmp_path: Path) -> None:
    page.open_run(write_audit(tmp_path / "audit-1"))
    page.view.selectRow(3)
    item = page.table.rows[3]
    said = [each.text() for each in page.detail.findChildren(QLabel)]
    assert item.more in said
    assert {"teacher", "student"} <= set(said)
    assert signed(item.values["teacher"]) in said
    assert any(item.uid in text for text in said)


def test_effort_is_said_before_the_start(page: SuitesPage, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    context.set_pair(ModelChoice(ModelRef("/t")), None)
    assert "2 suites, 0 items a model" in page.note.text()
    write_suite(context.runs_dir / "20260101-000000-suite-x", "/t", 0.8, 0.2)
    suites = [suite for suite in list_suites() if suite.id == "knowledge.basics"]
    assert [len(suite.items) for suite in suites] == [600]
    said = suite_words(context.runs_dir, ModelChoice(ModelRef("/t")), suites)
    assert said == "about 60 s, at the rate of an earlier run", "120 items in 12 s"
    unknown = ModelChoice(ModelRef("/unknown"))
    assert suite_words(context.runs_dir, unknown, suites) == ""
    sized = replace(unknown, card=SimpleNamespace(parameters=135_000_000))  # type: ignore[arg-type]
    assert suite_words(context.runs_dir, sized, suites).startswith(ROUGH)
    assert suite_words(context.runs_dir, sized, suites, 650) == "about 60 s, at the 650 tokens a second measured here"


def test_own_suites_stand_below_the_shipped_ones(qtbot: QtBot) -> None:
    own_suites().mkdir(parents=True)
    shipped = RESOURCES / "suites" / "occupation-gender.yaml"
    (own_suites() / "mine.yaml").write_bytes(shipped.read_bytes())
    (own_suites() / "broken.yaml").write_text("schema: nothing")
    page = SuitesPage(Context())
    qtbot.addWidget(page)
    keys = page.tree.keys()
    assert keys[-1] == str(own_suites() / "mine.yaml")
    assert not [key for key in keys if "broken" in key]


def test_search_filter_and_row_narrow_the_items(page: SuitesPage, tmp_path: Path, qtbot: QtBot) -> None:
    page.open_run(write_audit(tmp_path / "audit-1"))
    qtbot.mouseClick(page.plot, Qt.MouseButton.LeftButton, pos=QPoint(20, 10))
    assert {item.suite for item in page.table.rows} == {SUITES[0]}
    page.kind.setCurrentIndex(FILTERS.index("teacher and student differ"))
    assert page.table.rows
    assert all(item.difference for item in page.table.rows)
    page.kind.setCurrentIndex(0)
    page.search.setText("welder late")
    qtbot.waitUntil(lambda: len(page.table.rows) == 15)
    assert all("welder" in item.more for item in page.table.rows)
    page.search.setText("no such words")
    qtbot.waitUntil(lambda: not page.table.rows)
    assert page.count.text() == "· 0 of 120 in Occupation and gender"


def test_two_runs_of_the_pair_are_joined(page: SuitesPage, context: Context, tmp_path: Path) -> None:
    context.set_pair(ModelChoice(ModelRef("/t")), ModelChoice(ModelRef("/s")))
    page.open_run(write_suite(tmp_path / "a", "/t", 0.8, 0.2))
    assert page.plot.rows[0].student is None
    page.open_run(write_suite(tmp_path / "b", "/s", 0.1, 0.0))
    assert page.plot.rows[0].student is not None
    assert len(page.items) == 120


def test_live_items_arrive_before_effects(page: SuitesPage, context: Context, qtbot: QtBot) -> None:
    context.set_pair(ModelChoice(ModelRef("/t")), None)
    page.run_suites()
    run_id = next(iter(page.runs))
    page.on_event(run_id, Samples("items", suite_items(SUITES[0], 1.0, n=8)))
    page.on_event("other", Samples("items", suite_items(SUITES[1], 1.0, n=8)))
    qtbot.waitUntil(lambda: len(page.table.rows) == 8)
    assert page.plot.rows == ()


def test_values_sort_with_the_missing_last(page: SuitesPage, tmp_path: Path) -> None:
    page.open_run(write_suite(tmp_path / "a", "/t", 0.3, 0.2))
    page.table.sort(2, Qt.SortOrder.DescendingOrder)
    values = [item.values["teacher"] for item in page.table.rows]
    assert values == sorted(values, reverse=True)
    page.table.sort(3, Qt.SortOrder.DescendingOrder)
    assert page.table.rows[-1].difference is None


def test_no_reports_no_rows() -> None:
    assert dot_rows({}) == []


def test_the_shipped_suites_are_listed(qtbot: QtBot) -> None:
    page = SuitesPage(Context())
    qtbot.addWidget(page)
    assert len(page.tree.keys()) >= 2
    assert page.about.text().startswith("Measures ")
    assert page.limits.text()
