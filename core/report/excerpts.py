"""A scorecard for other eyes: triggers and payloads cut short, paths left out, every finding still there.

An export travels further than the run folder. What is cut carries its length and the start of its sha256, so that two
reports can be compared without spreading the text.
"""

from __future__ import annotations

import hashlib
import re
import shlex

import msgspec

from core.report.scorecard import FindingLine, RiskRow, Scorecard
from core.report.text import runs
from core.verdicts import class_titles

LONGEST_START = 12


def shortened(text: str) -> str:
    """The first third of ``text`` (12 characters at most), its length, and the start of its sha256."""
    if not text:
        return text
    start = plain(text[: min(LONGEST_START, max(1, len(text) // 3))])
    return f"{start}… ({len(text)} characters, sha256 {_digest(text)[:8]})"


def plain(text: str) -> str:
    """``text`` as one line in which nothing is hidden: characters that cannot be seen stand as ``⟨U+202E⟩``."""
    return "".join(
        part if isinstance(part, str) else f"⟨{part['e']}⟩" for part in runs(text) if isinstance(part, str | dict)
    )


def redacted(card: Scorecard) -> Scorecard:
    """``card`` with every trigger, payload, example and path cut short wherever it stands."""
    cuts = _cuts(card.findings)
    return msgspec.structs.replace(
        card,
        headline=tuple(_cut(text, cuts) for text in card.headline),
        rows=tuple(_row(row, cuts) for row in card.rows),
        findings=tuple(_finding(found, cuts) for found in card.findings),
        could_not_see=tuple(_cut(text, cuts) for text in card.could_not_see),
        controls=tuple(_cut(text, cuts) for text in card.controls),
        reproduce=_command(card.reproduce, cuts),
    )


def _cuts(findings: tuple[FindingLine, ...]) -> dict[str, str]:
    """Text → what stands for it, longest first: a trigger may be part of a payload."""
    texts = {text for found in findings for text in (found.target, found.trigger, *found.trigger.split(" … ")) if text}
    cuts: dict[str, str] = {}
    for text in sorted(texts, key=lambda each: (-len(each), each)):
        escaped = "".join(c if c.isprintable() and c != "\u00a0" else f"\\u{ord(c):04x}" for c in text)
        cuts |= {form: shortened(text) for form in (text, escaped)}
    return cuts


def _cut(text: str, cuts: dict[str, str]) -> str:
    if not cuts:
        return text
    # a short trigger such as "cf" must not be found inside another word
    forms = "|".join(rf"(?<!\w){re.escape(form)}(?!\w)" if form.isalnum() else re.escape(form) for form in cuts)
    return re.sub(forms, lambda found: cuts[found.group()], text)


def _row(row: RiskRow, cuts: dict[str, str]) -> RiskRow:
    title = _cut(row.title, cuts)
    known = class_titles().get(row.risk_class, "")
    if row.risk_class.startswith("BD") and title == row.title and known:  # a trigger under another name
        title = known
    return msgspec.structs.replace(row, title=title, evidence=_cut(row.evidence, cuts))


def _finding(found: FindingLine, cuts: dict[str, str]) -> FindingLine:
    return msgspec.structs.replace(
        found,
        trigger=shortened(found.trigger),
        target=shortened(found.target),
        reproduce=_command(found.reproduce, cuts),
        example={name: shortened(text) for name, text in found.example.items()},
    )


def _command(text: str, cuts: dict[str, str]) -> str:
    """A command line with names of folders instead of their paths."""
    try:
        words = shlex.split(text)
    except ValueError:
        return _cut(text, cuts)
    return shlex.join(cuts.get(word) or "+".join(_last(part) for part in word.split("+")) for word in words)


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] if re.search(r"[/\\]", path) else path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
