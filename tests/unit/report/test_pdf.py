"""The PDF: same bytes twice, standards, attachment, words on the page, hostile text as plain text."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pypdf
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cards import one_model_card, sample_card

from core.errors import InputError
from core.report import fonts
from core.report.pdf import render_pages_png, render_pdf
from core.report.scorecard import Scorecard, decode_scorecard, encode_scorecard, scorecard_schema
from core.types import RESOURCES


def words(pdf: bytes) -> str:
    """Text of all pages, breaks removed."""
    pages = pypdf.PdfReader(io.BytesIO(pdf)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).replace("\u200b", "").split())


def squeezed(text: str) -> str:
    return "".join(text.replace("\u200b", "").split())


def everywhere(text: str) -> dict[str, str]:
    return {"prompt": text, "without": text, "with_trigger": text}


def with_finding(**changes: Any) -> Scorecard:
    card = sample_card()
    return msgspec.structs.replace(card, findings=(msgspec.structs.replace(card.findings[0], **changes),))


def test_same_scorecard_same_bytes() -> None:
    card = sample_card()
    first = render_pdf(card)
    again = render_pdf(decode_scorecard(encode_scorecard(card)))
    assert first == again
    assert render_pdf(sample_card(seed=8)) != first


def test_standards_and_date_are_declared() -> None:
    reader = pypdf.PdfReader(io.BytesIO(render_pdf(sample_card())))
    xmp = reader.trailer["/Root"]["/Metadata"].get_data().decode()
    assert "<pdfaid:part>3<" in xmp
    assert "<pdfaid:conformance>A<" in xmp
    assert "<pdfuaid:part>1<" in xmp
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert reader.metadata is not None
    assert str(reader.metadata["/CreationDate"]).startswith("D:20260101120000")


def test_scorecard_is_attached_byte_for_byte() -> None:
    card = sample_card()
    pdf = render_pdf(card)
    attached = pypdf.PdfReader(io.BytesIO(pdf)).attachments["scorecard.json"][0]
    assert attached == encode_scorecard(card)
    assert hashlib.sha256(attached).hexdigest() in squeezed(words(pdf))
    assert not pypdf.PdfReader(io.BytesIO(render_pdf(card, attach=False))).attachments


def test_only_bundled_fonts_are_embedded() -> None:
    names = set()
    for page in pypdf.PdfReader(io.BytesIO(render_pdf(sample_card()))).pages:
        for font in page["/Resources"]["/Font"].values():
            names.add(str(font.get_object()["/BaseFont"]).split("+")[-1].split("-")[0])
    assert names == {"Inter", "JetBrainsMono", "NotoSansSC"}


def test_page_holds_the_figures() -> None:
    text = words(render_pdf(sample_card()))
    for expected in (
        "Control pair: this student was never trained on this teacher.",
        "removed",
        "not detected at δ",
        "about 1,420 items needed",
        "98.4 % [94.5, 99.8]",
        "0 of 199 brought the target as often",
        "+0.31 [+0.25, +0.37]",
        "Triggers that are not on the list.",
        "page 1 of 7",
        "p = 2 × 10⁻³⁸",
        "U+0430 cyrillic small letter a",
    ):
        assert expected in text, expected


def test_coverage_comes_before_results_and_each_page_is_signed() -> None:
    card = sample_card()
    reader = pypdf.PdfReader(io.BytesIO(render_pdf(card)))
    first = reader.pages[0].extract_text()
    assert first.index("Tested and not tested") < first.index("What was measured")
    sha8 = hashlib.sha256(encode_scorecard(card)).hexdigest()[:8]
    for number, page in enumerate(reader.pages, 1):
        text = squeezed(page.extract_text())
        assert sha8 in text
        assert card.run in text
        assert f"page{number}of{len(reader.pages)}" in text


def test_one_model_has_no_transfer_column() -> None:
    text = words(render_pdf(one_model_card()))
    assert "Partial-risk-laundering scorecard: one model" in text
    for absent in ("student", "removed", "attenuated", "verdict grade"):
        assert absent not in text.lower(), absent


def test_sparse_card_says_what_is_missing() -> None:
    empty: dict[str, Any] = dict.fromkeys(
        ("rows", "findings", "file_findings", "coverage", "could_not_see", "controls"), ()
    )
    text = words(render_pdf(sample_card(**empty, missing=("Suite: cancelled.",))))
    assert "No risk class was measured" in text
    assert "No trigger was found with evidence in this run." in text
    assert "No control was run" in text
    assert "Interrupted or skipped. Suite: cancelled." in text


@pytest.mark.parametrize(
    "attack",
    [
        '#read("/etc/passwd")',
        '#panic("x")',
        "$x^2$ *bold* _it_ = heading",
        '"] #eval("1+1") [',
        '#import "@preview/a:1.0.0": *',
        "<label> @ref // no comment /* nor this */ \\u{41} ~ -- --- ...",
        "</script>&lt;&amp;",
        '{"e": "U+0041"}',
    ],
)
def test_markup_stays_text(attack: str) -> None:
    card = with_finding(trigger=attack, target=attack, example=everywhere(attack))
    card = msgspec.structs.replace(
        card,
        headline=(attack,),
        run=attack,
        methods=(attack,),
        could_not_see=(attack,),
        environment={attack: attack},
        teacher=msgspec.structs.replace(card.teacher, name=attack, licence=attack, fingerprint=attack),
        file_findings=(msgspec.structs.replace(card.file_findings[0], message=attack, file=attack),),
        rows=(msgspec.structs.replace(card.rows[0], title=attack, evidence=attack),),
    )
    text = squeezed(words(render_pdf(card)))
    assert text.count(squeezed(attack)) >= 12


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("a\u202eb", "U+202E"),
        ("a\u200bb", "U+200B"),
        ("a\u2060b", "U+2060"),
        ("a\x00b", "U+0000"),
        ("a\x1b[31mb", "U+001B"),
        ("a\nb", "U+000A"),
        ("a\U0001f600b", "U+1F600"),
        ("a\U000e0041b", "U+E0041"),
        ("aשb", "U+05E9"),
        ("a\u0301b", "U+0301"),
        (" ab", "U+0020"),
        ("a  b", "U+0020"),
        ("a\u00a0b", "U+00A0"),
        ("a\ufffeb", "U+FFFE"),
    ],
)
def test_invisible_characters_are_shown(hidden: str, shown: str) -> None:
    text = words(render_pdf(with_finding(trigger=hidden, target=hidden, reproduce="x", example={})))
    assert text.count(shown) >= 2
    if hidden not in (" ab", "a  b", "a\nb"):
        assert hidden[1] not in text


def test_long_strings_wrap_inside_the_page() -> None:
    long = "x" * 3000
    card = with_finding(trigger=long, target=long, reproduce=long, example=everywhere(long))
    card = msgspec.structs.replace(
        card,
        run=long,
        teacher=msgspec.structs.replace(card.teacher, name=long, lineage=long),
        headline=(long,),
        environment={long: long},
    )
    found: list[float] = []

    def visit(text: str, cm: list[float], tm: list[float], font: Any, size: float) -> None:
        if text.strip():
            found.append(tm[4] * cm[0] + cm[4])

    reader = pypdf.PdfReader(io.BytesIO(render_pdf(card)))
    for page in reader.pages:
        page.extract_text(visitor_text=visit)
        for line in page.extract_text().splitlines():
            assert len(line) < 160, "a line of 160 letters cannot fit on A4 at these sizes"
    assert found
    assert max(found) < 595


def test_numbers_that_are_not_finite_leave_a_dash() -> None:
    card = sample_card()
    teacher = msgspec.structs.replace(card.rows[0].teacher, value=float("nan"))
    bad = msgspec.structs.replace(card.rows[0], teacher=teacher)
    assert "– [+0.94, +1.00]" in words(render_pdf(msgspec.structs.replace(card, rows=(bad,))))


def test_effects_outside_one_get_their_own_scale() -> None:
    card = sample_card()
    teacher = msgspec.structs.replace(card.rows[1].teacher, value=3, low=2.5, high=3.5)
    wide = msgspec.structs.replace(card.rows[1], effect="log-odds", teacher=teacher)
    assert "log-odds · own scale" in words(render_pdf(msgspec.structs.replace(card, rows=(card.rows[0], wide))))


def test_row_without_a_measurement_says_so() -> None:
    card = sample_card()
    bare = msgspec.structs.replace(card.rows[0], teacher=None, student=None, difference=None, verdict="inconclusive")
    text = words(render_pdf(msgspec.structs.replace(card, rows=(bare,))))
    assert text.count("not measured") >= 4
    assert "+0.98" not in text


def test_pictures_of_the_pages() -> None:
    pages = render_pages_png(sample_card(), ppi=50)
    assert len(pages) == 7
    assert all(page.startswith(b"\x89PNG") for page in pages)
    assert render_pages_png(sample_card(), ppi=50) == pages


def test_bad_date_is_one_sentence() -> None:
    with pytest.raises(InputError, match="not a date"):
        render_pdf(sample_card(created="yesterday"))


def test_schema_file_is_current_and_accepts_scorecards() -> None:
    schema = json.loads((RESOURCES / "schemas" / "scorecard.schema.json").read_text(encoding="utf-8"))
    assert schema == json.loads(json.dumps(scorecard_schema()))
    check = jsonschema.Draft202012Validator(schema)
    for card in (sample_card(), one_model_card()):
        check.validate(json.loads(encode_scorecard(card)))
    broken = json.loads(encode_scorecard(sample_card()))
    broken["rows"][0]["verdict"] = "safe"
    assert list(check.iter_errors(broken))
    del broken["coverage"]
    assert any("coverage" in error.message for error in check.iter_errors(broken))


def test_fonts_lie_with_their_licences() -> None:
    files = fonts.font_files()
    assert {path.name for path in files} >= {"Inter-Regular.ttf", "JetBrainsMono-Regular.ttf", "NotoSansSC-Regular.ttf"}
    for path in files:
        licence = path.parent / f"{path.stem.split('-')[0]}-OFL.txt"
        assert "SIL OPEN FONT LICENSE Version 1.1" in licence.read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in files) < 5_000_000
    covered = fonts.coverage()
    assert {ord(c) for c in "Az09δ±−–你好｜▁ж"} <= covered
    assert 0x1F600 not in covered
