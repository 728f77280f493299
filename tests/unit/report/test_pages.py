"""The pages on scope, lineage, transfer and frameworks: what stands there follows from the scorecard alone."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pypdf

sys.path.insert(0, str(Path(__file__).parent))
from cards import estimate, one_model_card, sample_card

from core.report.pdf import render_pdf
from core.report.scope import lineage, mapping, matrix
from core.report.scorecard import Estimate, Joint, PipelineLine, Scorecard, scorecard_sha256
from core.report.view import page_view
from core.verdicts import class_titles


def words(card: Scorecard) -> str:
    pages = pypdf.PdfReader(io.BytesIO(render_pdf(card))).pages
    return " ".join(" ".join(page.extract_text() for page in pages).replace("\u200b", "").split())


def told() -> Scorecard:
    """A pair with a baseline, answers on its pipeline, an origin and a joint verdict."""
    card = sample_card(control_pair="")
    first = card.rows[1]
    both = Joint(
        level=0.9917,
        rows=6,
        teacher=estimate(0.31, 0.08),
        student=estimate(0.29, 0.09),
        difference=estimate(-0.02, 0.05),
        verdict="inconclusive",
    )
    row = msgspec.structs.replace(
        first,
        baseline=Estimate(value=0.01, low=-0.03, high=0.05, n=240),
        gain=Estimate(value=0.28, low=0.2, high=0.36, n=240),
        origin="attributable to distillation",
        origin_note="it rose over the student before distillation",
        joint=both,
        suite="steering.brand@1.0.0",
        suite_sha256="ab" * 32,
    )
    return msgspec.structs.replace(
        card,
        rows=(card.rows[0], row, *card.rows[2:]),
        baseline=card.teacher,
        pipeline=(
            PipelineLine(id="data", question="Trained on what?", answer="own data", known=True, matters="It matters."),
            PipelineLine(id="init", question="Started where?", answer="unknown", known=False, matters='#panic("x")'),
        ),
    )


def test_the_matrix_has_every_class_and_says_what_was_only_searched() -> None:
    lines = {line["class"][0]: line for line in matrix(sample_card())}
    assert list(lines) == list(class_titles())
    assert lines["BD-R"]["status"] == "tested"  # the fixture's BD stands for it
    assert lines["BD-R"]["with"] == "1 trigger found and measured"
    assert lines["SE"]["sides"] == {"teacher": True, "student": True, "baseline": False}
    assert (lines["SE"]["size"], lines["SE"]["grade"]) == ("240 in 32", "B")
    assert (lines["PF"]["status"], lines["PF"]["with"]) == ("not tested", "")
    nothing = msgspec.structs.replace(sample_card().rows[0], risk_class="BD-R", teacher=None, student=None)
    searched = {line["class"][0]: line for line in matrix(sample_card(rows=(nothing,)))}
    assert searched["BD-R"]["status"] == searched["BD-C"]["status"] == "partly"
    assert "no trigger of this kind was found" in searched["BD-C"]["with"]
    assert all(line["status"] == "not tested" for line in matrix(sample_card(rows=())))


def test_lineage_shows_gaps() -> None:
    assert lineage(sample_card())["way"] == "control pair: no distillation lies between them"
    assert lineage(sample_card(control_pair=""))["way"] == "distillation, of which nothing was stated"
    way = lineage(told())
    assert way["way"] == "distillation, 1 of 2 questions answered"
    assert way["gap"]
    known = tuple(msgspec.structs.replace(line, known=True) for line in told().pipeline)
    assert not lineage(msgspec.structs.replace(told(), pipeline=known))["gap"]


def test_the_map_begins_with_the_largest_change() -> None:
    changes = [row["difference"] for row in page_view(sample_card())["map"]]
    assert changes[0].startswith("−0.98")
    assert changes[1].startswith("−0.11")
    assert changes[2:] == [""] * 4
    assert page_view(one_model_card())["map"] == []


def test_the_document_says_origin_gaps_and_all_rows_together() -> None:
    text = words(told())
    for expected in (
        "attributable to distillation: it rose over the student before distillation",
        "student − baseline +0.28 [+0.20, +0.36]",
        "inconclusive, change −0.02 [−0.07, +0.03], at 99.17 % over 6 rows",
        "unknown: a gap of this audit",
        '#panic("x")',
        "1 of 2 questions answered",
        "steering.brand@1.0.0",
        "AML.T0018 Manipulate AI Model",
        "SR 11-7 was rescinded on 17 April 2026 and replaced by SR 26-2",
        "not a statement of compliance",
        "ties to the makers of teacher or student",
        "Transfer map",
    ):
        assert expected in text, expected
    assert scorecard_sha256(told()) in text.replace(" ", "")


def test_frameworks_are_shown_for_the_classes_of_this_scorecard_alone() -> None:
    shown = mapping(sample_card())
    classes = ["".join(row["classes"]) for row in shown["rows"]]
    assert "Backdoor" in classes
    assert "Files" in classes
    assert "Knowledge and capability" not in classes
    assert all(len(row["cells"]) == len(shown["heads"]) for row in shown["rows"])
    assert mapping(sample_card(rows=(), file_findings=()))["rows"] == []
