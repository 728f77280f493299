"""Scorecard → PDF/A-3a and PDF/UA-1, or pictures of its pages. The same scorecard gives the same bytes.

Data reaches the template as JSON values, never as typst source, so a hostile string cannot become markup.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.errors import BugError, InputError
from core.report.fonts import CJK, FONT_FOLDER, MONO, SANS
from core.report.scorecard import Scorecard, encode_scorecard
from core.report.view import page_view
from core.types import RESOURCES

TEMPLATES = sorted((RESOURCES / "report").glob("*.typ"))
STANDARDS = ["a-3a", "ua-1"]


def render_pdf(card: Scorecard, *, attach: bool = True) -> bytes:
    """Print ``card`` as a tagged, archivable PDF.

    Args:
        card: the scorecard; ``created`` (ISO 8601) becomes the date of the document.
        attach: put ``scorecard.json`` into the file, byte for byte as ``encode_scorecard`` writes it.

    Raises:
        InputError: ``created`` is not a date.
        BugError: the template does not compile.
    """
    pages = _compile(card, attach=attach, format="pdf", pdf_standards=STANDARDS)
    return pages if isinstance(pages, bytes) else pages[0]


def render_pages_png(card: Scorecard, ppi: float = 110) -> list[bytes]:
    """The same pages as PNG files, one a page."""
    pages = _compile(card, attach=False, format="png", ppi=ppi)
    return [pages] if isinstance(pages, bytes) else pages


@lru_cache(maxsize=1)
def _fonts() -> Any:
    import typst

    return typst.Fonts(include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(FONT_FOLDER)])


def _compile(card: Scorecard, *, attach: bool, **how: Any) -> bytes | list[bytes]:
    import typst  # here, so that the window starts without it

    created = _moment(card.created)
    view = page_view(card) | {
        "fonts": {"sans": [SANS, CJK, MONO], "mono": [MONO, CJK, SANS]},
        "attach": attach,
        "date": [created.year, created.month, created.day, created.hour, created.minute, created.second],
    }
    with tempfile.TemporaryDirectory(prefix="foreshot-report-") as folder:
        root = Path(folder)
        for template in TEMPLATES:
            (root / template.name).write_bytes(template.read_bytes())
        (root / "view.json").write_text(json.dumps(view, ensure_ascii=False), encoding="utf-8")
        (root / "scorecard.json").write_bytes(encode_scorecard(card))
        try:
            result = typst.Compiler(
                str(root / "scorecard.typ"), root=folder, font_paths=_fonts(), ignore_system_fonts=True
            ).compile(timestamp=created, **how)
        except typst.TypstError as error:
            raise BugError(
                "report_template",
                f"The scorecard of run {card.run} could not be laid out: {error.message}.",
                "Please report this with scorecard.json; that file holds everything that the page would show.",
            ) from error
    if result is None:
        raise BugError(
            "report_template", "The page setter returned no pages.", "Please report this with scorecard.json."
        )
    return result


def _moment(text: str) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            "scorecard_date",
            f"The scorecard says it was created at {text[:40]!r}, which is not a date.",
            "Take the scorecard.json that Foreshot wrote, unedited.",
        ) from error
    return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
