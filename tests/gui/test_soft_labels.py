"""The soft-label explorer: what is shown at a temperature is what the distributions say."""

from __future__ import annotations

import math
from typing import Any

import pytest
from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot

from app.context import Context, ModelChoice
from app.jobs.engine_process import Outcome
from app.pages.distil import DistilPage
from app.tables.soft_labels import SoftText
from app.widgets.heat_strip import HeatStrip
from core.runs.folder import RunFolder
from core.specs import SoftLabelsSpec
from core.types import ModelRef
from tests.gui.test_distil_page import Queue, choose, context, page, queue  # noqa: F401

TEMPERATURES = (0.5, 1.0, 2.0)
TEACHER = ((0.7, 0.2, 0.05, 0.05), (0.25, 0.25, 0.25, 0.25))
STUDENT = ((0.4, 0.4, 0.1, 0.1), (0.25, 0.25, 0.25, 0.25))
WORDS = (" Paris", " Rome", " a", "\n")


def at(probabilities: tuple[float, ...], temperature: float) -> list[float]:
    raised = [p ** (1 / temperature) for p in probabilities]
    return [p / sum(raised) for p in raised]


def item(number: int, kept: int = 3) -> dict[str, Any]:
    """A vocabulary of four tokens, of which ``kept`` are kept by name."""
    p, q = TEACHER[number], STUDENT[number]
    scaled = [[at(side, t) for t in TEMPERATURES] for side in (p, q)]
    return {
        "key": str(number), "id": 1, "text": WORDS[1], "ids": list(range(kept)), "texts": list(WORDS[:kept]),
        "p": [math.log(x) for x in p[:kept]], "q": [math.log(x) for x in q[:kept]], "top": [0, 0],
        "log_z": [[math.log(sum(x ** (1 / t) for x in side)) for t in TEMPERATURES] for side in (p, q)],
        "entropy": [[-sum(x * math.log(x) for x in one) for one in side] for side in scaled],
        "kl": [sum(a * math.log(a / b) for a, b in zip(*pair, strict=True)) for pair in zip(*scaled, strict=True)],
    }  # fmt: skip


def write_soft(prompt: str = "Capital?") -> RunFolder:
    folder = RunFolder.create(SoftLabelsSpec(teacher="/t", student="/s", prompt=prompt))
    folder.append_items([item(1), item(0)])
    summary = {"sentence": "KL 0.2 nats per token."}
    models = {role: {"name": role[0], "precision": "bf16"} for role in ("teacher", "student")}
    report = {"models": models, "prompt": prompt, "temperatures": TEMPERATURES, "summary": summary}
    folder.write_json("report.json", report)
    folder.finish("done", summary)
    return folder


def test_a_temperature_is_applied_exactly_and_the_mass_is_said(context: Context) -> None:  # noqa: F811
    text = SoftText.open(write_soft())
    assert text is not None
    for number, temperature in enumerate(TEMPERATURES):
        rows = {row.text: row for row in text.expected(0, number)}
        for name, p, q in zip(WORDS[:3], at(TEACHER[0], temperature), at(STUDENT[0], temperature), strict=False):
            assert rows[name].teacher == pytest.approx(p)
            assert rows[name].student == pytest.approx(q)
        assert rows[" Rome"].hard
    assert text.kl(1)[1] == pytest.approx(0.0)
    words = text.words(0, 1, text.expected(0, 1)[:2])
    assert "The 2 tokens shown hold 90.0 % of the teacher's probability and 80.0 % of the student's" in words
    assert "the 3 kept by name 95.0 % and 90.0 %" in words
    assert SoftText.open(RunFolder.create(SoftLabelsSpec(teacher="/t", student="/s", prompt="x"))) is None


def test_a_prompt_is_read_by_the_pair(page: DistilPage, context: Context, queue: Queue, qtbot: QtBot) -> None:  # noqa: F811
    page.show_tab(1)
    assert not page.soft.read.isEnabled()
    page.soft.line.setText("Capital?")
    with qtbot.wait_signal(context.choose_requested) as asked:  # no model yet
        page.soft.read.click()
    assert asked.args == ["teacher"]
    choose(context)
    page.soft.read.click()
    (folder,) = queue.waiting
    assert isinstance(folder.spec, SoftLabelsSpec)
    assert (folder.spec.teacher, folder.spec.student, folder.spec.prompt) == ("/t", "/s", "Capital?")
    assert not page.soft.read.isEnabled()
    page.on_finished(folder.id, Outcome("failed"))
    assert page.soft.state.text() == "Nothing was read."
    assert page.soft.read.isEnabled()
    page.soft.kind.setCurrentIndex(1)
    page.soft.read.click()
    assert isinstance(queue.waiting[1].spec, SoftLabelsSpec)
    assert (queue.waiting[1].spec.prompt, queue.waiting[1].spec.text) == ("", "Capital?")


def test_the_worst_token_is_shown_first_and_the_slider_moves_everything(page: DistilPage, context: Context) -> None:  # noqa: F811
    page.open_run(write_soft().path)
    assert page.tabs.currentIndex() == 1
    soft = page.soft
    assert soft.strip.current == 0  # there they part ways
    assert soft.degrees.text() == "T = 1.00"
    before = soft.bars.rows[0].teacher
    assert before == pytest.approx(0.7)
    soft.slider.setValue(2)
    assert soft.degrees.text() == "T = 2.00"
    assert soft.bars.rows[0].teacher == pytest.approx(at(TEACHER[0], 2.0)[0])
    assert soft.strip.values[0] == pytest.approx(item(0)["kl"][2])
    assert "the teacher's answer" in soft.about.text()
    assert "(hard label): " in soft.bars.accessibleDescription()
    page.open_run(write_soft(prompt="").path)
    assert "the token that the text has here" in page.soft.about.text()


def test_tokens_are_chosen_by_click_and_by_key(qtbot: QtBot) -> None:
    strip = HeatStrip()
    qtbot.addWidget(strip)
    strip.resize(120, 80)
    strip.show()
    strip.set_text(["one ", "two ", "three ", "\n"], [0.0, 1.0, 0.5, 0.1], 1.0)
    assert strip.texts[-1] == "⏎"
    assert strip.minimumHeight() > 40  # it wraps
    with qtbot.wait_signal(strip.chosen) as chosen:
        box = strip._boxes[1]
        qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(round(box.center().x()), round(box.center().y())))
    assert chosen.args == [1]
    qtbot.keyClick(strip, Qt.Key.Key_Right)
    qtbot.keyClick(strip, Qt.Key.Key_Right)
    qtbot.keyClick(strip, Qt.Key.Key_Right)  # past the end: stays
    assert strip.current == 3


def test_the_window_opens_a_reading(make_window: Any, context: Context) -> None:  # noqa: F811
    window = make_window()
    window.open_run(write_soft().path)
    assert window.current == "distil"
    assert window.context.student == ModelChoice(
        ModelRef("/s"), window.context.student.load, window.context.student.card
    )
    assert window.pages["distil"].soft.bars.rows
