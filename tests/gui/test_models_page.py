"""The Models page: the list, the card, the pair."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QLabel, QPushButton
from pytestqt.qtbot import QtBot

from app.context import ModelChoice
from app.main_window import MainWindow
from app.pages.models import ModelsPage, lineage, pair_differences
from app.tables.models import models_table
from app.widgets.fit_bars import FitBars
from app.widgets.lineage import LineageLine
from core.types import ModelRef
from tests.gui.conftest import fake_card
from tests.gui.test_frame import drop

MakeWindow = Callable[..., MainWindow]
MakeModel = Callable[[str], Path]


def opened(window: MainWindow, qtbot: QtBot) -> ModelsPage:
    window.open_page("models")
    page = window.page("models")
    assert isinstance(page, ModelsPage)
    qtbot.wait_until(lambda: all(r.card or r.error for r in page.model.rows), timeout=5000)
    return page


def words(page: ModelsPage) -> str:
    return "\n".join(made.text() for made in page.findChildren(QLabel) if made.isVisible())


def test_card_shows_findings_fit_and_what_was_not_examined(
    make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot
) -> None:
    window = make_window()
    drop(window, model_folder("big-teacher"), model_folder("small-student"))
    page = opened(window, qtbot)
    assert [(r.ref.name, r.place) for r in page.model.rows] == [
        ("big-teacher", "teacher"),
        ("small-student", "student"),
    ]
    qtbot.wait_until(lambda: "Not examined" in words(page), timeout=2000)
    shown = words(page)
    for text in ("It asks for remote code.", "▲ high", "Not examined", "–  the values of the weights"):
        assert text in shown
    assert "Both use the same tokenizer and the same chat template." in shown
    (bars,) = (b for b in page.findChildren(FitBars) if b.isVisible())
    assert bars.accessibleName() == "fp32: 1.1 GB · does not fit; bf16: 0.60 GB · fits; nf4: unknown"


def test_a_broken_model_shows_its_sentence(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window()
    drop(window, model_folder("broken"))
    page = opened(window, qtbot)
    qtbot.wait_until(lambda: "config.json is not JSON." in words(page), timeout=2000)
    assert page.model.index(0, 4).data() == "unreadable"


def test_use_as_student_and_precision(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window()
    drop(window, model_folder("one"))
    page = opened(window, qtbot)
    qtbot.wait_until(lambda: "Not examined" in words(page), timeout=2000)
    use = next(b for b in page.findChildren(QPushButton) if b.text() == "Use as student" and b.isVisible())
    qtbot.mouseClick(use, Qt.MouseButton.LeftButton)
    assert window.context.student is not None
    assert window.context.student.card is not None
    qtbot.wait_until(lambda: any(b.isVisible() for b in page.findChildren(QComboBox)), timeout=2000)
    box = next(b for b in page.findChildren(QComboBox) if b.isVisible())
    box.activated.emit(2)
    assert window.context.student.load.quant == "nf4"
    assert "nf4" in window.chips["student"]._parts()[2]


def test_models_are_remembered(make_window: MakeWindow, model_folder: MakeModel, qtbot: QtBot) -> None:
    window = make_window()
    drop(window, model_folder("one"), model_folder("two"))
    opened(window, qtbot)
    window.close()
    again = make_window()
    again.open_page("models")
    page = again.page("models")
    assert isinstance(page, ModelsPage)
    assert [r.ref.name for r in page.model.rows] == ["one", "two"]
    qtbot.wait_until(lambda: page.model.rows[0].card is not None, timeout=5000)  # read when it is looked at


def test_pair_differences_in_words() -> None:
    teacher = fake_card(ModelRef("/big-teacher"))
    other = fake_card(ModelRef("/small-student"), tokenizer_fingerprint="00", template_fingerprint="11")
    said = pair_differences(teacher, other)
    assert any(text.startswith("The tokenizers differ") for text in said)
    assert any(text.startswith("The chat templates differ") for text in said)
    same = pair_differences(teacher, fake_card(ModelRef("/small-student")))
    assert same == ["Both use the same tokenizer and the same chat template."]


def test_lineage_is_stated_only_where_a_file_says_so(qtbot: QtBot) -> None:
    def choice(path: str) -> ModelChoice:
        return ModelChoice(ModelRef(path), card=fake_card(ModelRef(path)))

    teacher, student, other = choice("/m/big-teacher"), choice("/m/small-student"), choice("/m/unrelated")
    assert teacher.card is not None
    stated = [(n.role, n.stated) for n in lineage(teacher.card, teacher, student)]
    assert stated == [("base", True), ("teacher", True), ("student", False)]
    assert [n.stated for n in lineage(teacher.card, teacher, other)] == [True, False, False]
    line = LineageLine()
    qtbot.add_widget(line)
    line.set_nodes(lineage(teacher.card, teacher, other))
    assert "which no file says" in line.accessibleName()


def test_model_tables_keep_qt_contract(qtmodeltester: object) -> None:
    qtmodeltester.check(models_table())  # type: ignore[attr-defined]
