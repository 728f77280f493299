"""The import dialog on small files of its own making."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.context import Context
from app.pages.suites import SuitesPage, own_suites
from app.widgets.import_dialog import ImportDialog

CROWS = (
    ",sent_more,sent_less,stereo_antistereo,bias_type,annotations,anon_writer,anon_annotators\n"
    "0,The old man was slow.,The young man was slow.,stereo,age,\"[['age']]\",a1,\"['a2']\"\n"
    "1,The girl was shy.,The boy was shy.,antistereo,gender,\"[['gender']]\",a1,\"['a2']\"\n"
)


@pytest.fixture
def dialog(qtbot: QtBot, tmp_path: Path) -> ImportDialog:
    made = ImportDialog(tmp_path / "suites")
    qtbot.addWidget(made)
    made.show()
    return made


def choose(dialog: ImportDialog, name: str) -> None:
    dialog.format.setCurrentIndex(dialog.format.findData(name))


def test_nothing_can_be_imported_before_a_file_is_read(dialog: ImportDialog) -> None:
    assert not dialog.ok.isEnabled()
    assert dialog.table.rowCount() == 0


def test_a_set_is_shown_with_its_licence_and_then_kept(dialog: ImportDialog, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "crows.csv").write_text(CROWS)
    choose(dialog, "crows-pairs")
    dialog.take(tmp_path / "crows.csv")
    assert dialog.fault.text() == ""
    assert "CC BY-SA 4.0" in dialog.facts.text() or "CC-BY-SA-4.0" in dialog.facts.text()
    assert "not a release that is known here" in dialog.facts.text()
    assert dialog.table.rowCount() == 2
    assert not dialog.grab().isNull()
    dialog.ok.click()
    qtbot.waitUntil(lambda: dialog.imported is not None, timeout=10_000)
    assert dialog.imported is not None
    assert (dialog.imported.suite, dialog.imported.items) == (tmp_path / "suites" / "crows.yaml", 2)


def test_a_name_that_is_taken_is_not_overwritten(dialog: ImportDialog, tmp_path: Path) -> None:
    (tmp_path / "crows.csv").write_text(CROWS)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "crows.yaml").write_text("mine")
    choose(dialog, "crows-pairs")
    dialog.take(tmp_path / "crows.csv")
    dialog.ok.click()
    assert "there already" in dialog.fault.text()
    assert (tmp_path / "suites" / "crows.yaml").read_text() == "mine"


def test_a_file_of_another_format_gets_one_sentence(dialog: ImportDialog, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    choose(dialog, "crows-pairs")
    dialog.take(tmp_path / "odd.csv")
    assert "cannot be imported" in dialog.fault.text()
    assert not dialog.ok.isEnabled()


def test_columns_of_a_table_are_named_by_the_user(dialog: ImportDialog, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("question,topic\nWho are you?,self\nWhat is rain?,weather\n")
    choose(dialog, "table")
    dialog.take(tmp_path / "mine.csv")
    assert not dialog.ok.isEnabled(), "the prompt's column is not named yet"
    dialog.columns["prompt"].setCurrentText("question")
    dialog.columns["cluster"].setCurrentText("topic")
    assert dialog.ok.isEnabled()
    assert dialog.chosen_columns() == {"prompt": "question", "cluster": "topic"}
    assert dialog.table.rowCount() == 2


def test_an_imported_set_joins_the_tree(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = SuitesPage(Context())
    qtbot.addWidget(page)
    before = page.tree.keys()

    def accept(dialog: ImportDialog) -> int:
        (tmp_path / "crows.csv").write_text(CROWS)
        choose(dialog, "crows-pairs")
        dialog.take(tmp_path / "crows.csv")
        with qtbot.waitSignal(dialog.accepted, timeout=10_000):
            dialog.start()
        return 1

    monkeypatch.setattr(ImportDialog, "exec", accept)
    page.import_button.click()
    assert page.tree.keys() == (*before, str(own_suites() / "crows.yaml"))
    assert page.tree.chosen() == str(own_suites() / "crows.yaml")
