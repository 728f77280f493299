"""A scorecard in any of its forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.report.avid import avid
from core.report.cyclonedx import cyclonedx
from core.report.excerpts import redacted
from core.report.forms import FORMS
from core.report.modelcard import model_card
from core.report.pdf import render_pdf
from core.report.sarif import sarif
from core.report.scorecard import Scorecard, encode_scorecard
from core.report.table import table
from core.runs.folder import disk_fault, write_atomic

WRITERS: dict[str, Callable[[Scorecard, Scorecard], bytes]] = {
    "pdf": lambda card, _: render_pdf(card),
    "json": lambda card, _: encode_scorecard(card),
    "csv": table,
    "sarif": sarif,
    "cyclonedx": cyclonedx,
    "avid": avid,
    "modelcard": model_card,
}


def write_views(card: Scorecard, folder: Path) -> None:
    """``scorecard.pdf`` beside ``scorecard.json``, and every other form under ``exports/``."""
    write_atomic(folder / "scorecard.pdf", export(card, "pdf"))
    try:
        (folder / "exports").mkdir(exist_ok=True)
    except OSError as error:
        raise disk_fault(error, folder) from error
    for name in WRITERS.keys() - {"pdf", "json"}:
        write_atomic(folder / "exports" / f"scorecard{FORMS[name].ending}", export(card, name))


def export(card: Scorecard, form: str, *, full: bool = False) -> bytes:
    """``card`` in one form of ``FORMS``. ``full`` keeps triggers, payloads, examples and paths as they are.

    PDF and JSON always hold everything: the one carries the other, and that is the truth.
    """
    return WRITERS[form](card, redacted(card) if FORMS[form].cut and not full else card)
