"""The forms that a scorecard can be written in, by the name that command and window use. Imports nothing heavy."""

from __future__ import annotations

from typing import NamedTuple


class Form(NamedTuple):
    """``cut``: triggers, payloads and paths are cut short in it unless the user asks for all."""

    words: str
    ending: str
    cut: bool = True


FORMS = {
    "pdf": Form("PDF", ".pdf", cut=False),
    "json": Form("JSON", ".json", cut=False),
    "csv": Form("CSV table", ".csv"),
    "sarif": Form("SARIF 2.1.0", ".sarif"),
    "cyclonedx": Form("CycloneDX 1.6 ML-BOM", ".cdx.json"),
    "avid": Form("AVID report", ".avid.json"),
    "modelcard": Form("Model-card section", ".md"),
}
