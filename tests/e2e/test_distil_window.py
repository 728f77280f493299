"""The Distil page on the real engine, with tiny models: start, pause, go on, cancel, resume, a student at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.application import application, build_window
from app.main_window import MainWindow
from app.pages.distil import KL, LOSS, DistilPage
from core.runs.folder import RunFolder
from tests.engine.distill.conftest import Maker, tiny  # noqa: F401

pytestmark = [pytest.mark.engine, pytest.mark.timeout(400)]


@pytest.fixture
def window(qtbot: QtBot) -> Iterator[MainWindow]:
    application()
    made = build_window()
    qtbot.add_widget(made)
    made.show()
    yield made
    made.close()


def test_a_distillation_from_the_window(window: MainWindow, tiny: Maker, tmp_path: Path, qtbot: QtBot) -> None:  # noqa: F811
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "\n".join(f'{{"prompt": "name the fruit {n} of {n * 7}", "answer": "the fox over {n}"}}' for n in range(240))
    )
    window.open_paths([tiny("teacher", 1, 4, hidden_size=64), tiny("student", 2, hidden_size=64)])
    window.open_page("distil")
    page = window.pages["distil"]
    assert isinstance(page, DistilPage)
    recipe = page.recipe
    recipe.add_file(rows)
    recipe.answers.setCurrentIndex(recipe.answers.findData("given"))
    recipe.keep.setCurrentIndex(recipe.keep.findData("keep"))
    recipe.epochs.setValue(60)
    recipe.rate.setValue(1e-3)
    qtbot.wait_until(page.start.isEnabled, timeout=10_000)
    page.start.click()
    losses = page.curves.curves[LOSS].points
    qtbot.wait_until(lambda: len(losses) > 5, timeout=120_000)
    assert page.run is not None
    assert page.run.fit["fits"]

    page.pause.click()
    qtbot.wait(800)  # what was under way arrives
    at = len(losses)
    qtbot.wait(1200)
    assert len(losses) == at, "a paused run went on"
    page.pause.click()
    qtbot.wait_until(lambda: len(losses) > at, timeout=60_000)

    total = page.run.total
    page.cancel.click()
    qtbot.wait_until(page.resume.isVisible, timeout=90_000)
    stopped = page.curves.curves[LOSS].points[-1][0]
    assert at < stopped < total
    assert [path.name for path in (page.run.path / "stage-1").glob("checkpoint-*")]
    with qtbot.wait_signal(window.context.run_finished, timeout=240_000):
        page.resume.click()
    assert page.run.finished
    assert page.table.rows[-1].what == "student"
    assert page.table.rows[-1].metrics["kl"] < page.table.rows[0].metrics["kl"]
    assert page.scan.isEnabled()
    assert len(page.curves.curves[KL].points) == len(page.table.rows)
    steps = [step for step, _ in page.curves.curves[LOSS].points]
    assert steps == sorted(set(steps))
    assert steps[-1] == RunFolder.open(page.run.path).read_json("report.json")["stages"][0]["steps"]
