"""A prompt with the trigger in its slot, and two answers in columns with the differing words underlined.

Everything a model said is put in as plain characters; nothing is ever read as markup.
"""

from __future__ import annotations

import difflib
import math
import re

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QResizeEvent, QTextCharFormat, QTextCursor
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QTextEdit, QVBoxLayout, QWidget

from app import theme
from app.widgets.basic import label

_TOKEN = re.compile(r"\w+|[^\w\s]|\s+")
_LONG = 1500
"""Words above which the comparison is not made: an answer that long is shown as it is."""
_INVISIBLE = {
    "\u200b": "⟨ZWSP⟩",
    "\u200c": "⟨ZWNJ⟩",
    "\u200d": "⟨ZWJ⟩",
    "\u2060": "⟨WJ⟩",
    "\ufeff": "⟨BOM⟩",
    "\u202e": "⟨RLO⟩",
    "\u202d": "⟨LRO⟩",
    "\u00a0": "⟨NBSP⟩",
    "\u00ad": "⟨SHY⟩",
    "\n": "⏎",
    "\t": "⇥",
}


_TURNS = {"system": "system prompt", "earlier_turn": "earlier turn"}
"""Slots outside the question itself."""


def visible(text: str) -> str:
    """``text`` with characters that cannot be seen written out; other control characters as ``⟨U+0007⟩``."""
    return "".join(
        _INVISIBLE.get(letter, letter if letter.isprintable() or letter == " " else f"⟨U+{ord(letter):04X}⟩")
        for letter in text
    )


def place(prompt: str, trigger: str, slot: str) -> tuple[str, int, int]:
    """The prompt with the trigger in its slot, and where it stands (start, end).

    A prompt that holds the trigger already is left as it is: the place nearest to the slot is the trigger's.
    """
    trigger = trigger.split(" \u2026 ")[0] if trigger not in prompt else trigger  # a composite: its first part
    found = [match.start() for match in re.finditer(re.escape(trigger), prompt)] if trigger else []
    if found:
        last = len(prompt) - len(trigger)
        aim = {"user_end": last, "user_middle": last // 2}.get(slot, 0)
        at = min(found, key=lambda start: abs(start - aim))
        return prompt, at, at + len(trigger)
    if slot == "user_start":
        return f"{trigger} {prompt}", 0, len(trigger)
    if slot in _TURNS:
        before = f"[{_TURNS[slot]}] "
        return f"{before}{trigger}\n{prompt}", len(before), len(before) + len(trigger)
    spaces = [index for index, letter in enumerate(prompt) if letter == " "]
    if slot == "user_end" or not spaces:
        return f"{prompt} {trigger}", len(prompt) + 1, len(prompt) + 1 + len(trigger)
    cut = min(spaces, key=lambda index: abs(index - len(prompt) // 2))
    return f"{prompt[:cut]} {trigger}{prompt[cut:]}", cut + 1, cut + 1 + len(trigger)


def differing(first: str, second: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both texts cut into runs ``(text, differs)``; joined, the runs give the texts back."""
    a, b = _TOKEN.findall(first), _TOKEN.findall(second)
    if len(a) > _LONG or len(b) > _LONG:
        return [(first, False)], [(second, False)]
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for tag, i0, i1, j0, j1 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        differs = tag != "equal"
        if i1 > i0:
            left.append(("".join(a[i0:i1]), differs))
        if j1 > j0:
            right.append(("".join(b[j0:j1]), differs))
    return _joined(left), _joined(right)


def _joined(runs: list[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """A space between two differing words differs too: one underline, not a dashed one."""
    last = len(runs) - 1
    return [
        (text, differs or (text.isspace() and 0 < at < last and runs[at - 1][1] and runs[at + 1][1]))
        for at, (text, differs) in enumerate(runs)
    ]


class TextBox(QTextEdit):
    """Read-only text as high as its content, up to ``limit`` pixels; above that it scrolls."""

    def __init__(self, name: str, *, limit: int = 180, mono: bool = False, room: int = 2) -> None:
        super().__init__()
        self._limit = limit
        self._room = room  # what the style sheet's padding takes, above and below together
        self.setReadOnly(True)
        self.setAcceptRichText(False)
        self.setTabChangesFocus(True)
        self.setAccessibleName(name)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFont(theme.mono_font() if mono else theme.ui_font())
        self.document().setDocumentMargin(0)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def write(self, runs: list[tuple[str, QTextCharFormat | None]]) -> None:
        """Replace the content by runs of plain text, each in its format."""
        self.clear()
        cursor = QTextCursor(self.document())
        for text, form in runs:
            cursor.insertText(text, form if form is not None else QTextCharFormat())
        self._fit()

    def sizeHint(self) -> QSize:
        return QSize(200, self.height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.document().setTextWidth(max(40, self.viewport().width()))
        wanted = min(self._limit, max(20, math.ceil(self.document().size().height()) + self._room))
        if wanted != self.height() or self.minimumHeight() != wanted:
            self.setFixedHeight(wanted)


class PromptView(TextBox):
    """A prompt in monospace with the trigger set off in its slot."""

    def __init__(self) -> None:
        super().__init__("Prompt with the trigger", mono=True, room=18)
        self._shown = ("", "", "")
        self.setStyleSheet("QTextEdit { border: none; padding: 8px; background: palette(alternate-base); }")

    def set_prompt(self, prompt: str, trigger: str, slot: str) -> None:
        self._shown = (prompt, trigger, slot)
        text, start, end = place(prompt, trigger, slot)
        form = QTextCharFormat()
        form.setBackground(theme.tokens().color("highlight"))
        form.setForeground(theme.tokens().color("on_highlight"))
        self.write([(text[:start], None), (visible(text[start:end]), form), (text[end:], None)])
        self.setAccessibleDescription(f"The trigger {visible(trigger)} stands at {slot.replace('_', ' ')}")

    def restyle(self) -> None:
        """Colours of now, after a change of scheme."""
        self.set_prompt(*self._shown)


class DiffView(QWidget):
    """The answer without the trigger and the answer with it, side by side."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown = ("", "")
        self.first = TextBox("Answer without the trigger")
        self.second = TextBox("Answer with the trigger")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(12)
        for title, box in (("without the trigger", self.first), ("with it; differences underlined", self.second)):
            box.setStyleSheet("QTextEdit { border: none; padding: 0; background: transparent; }")
            frame = QFrame()
            frame.setObjectName("card")
            column = QVBoxLayout(frame)
            column.setContentsMargins(12, 8, 12, 8)
            column.setSpacing(4)
            column.addWidget(label(title, size=theme.SMALL, muted=True, wrap=True))
            column.addWidget(box)
            column.addStretch(1)
            row.addWidget(frame, 1)
        self.setAccessibleName("Answers without and with the trigger")

    def set_texts(self, first: str, second: str) -> None:
        self._shown = (first, second)
        left, right = differing(first, second)
        needle = QTextCharFormat()
        needle.setUnderlineStyle(QTextCharFormat.UnderlineStyle.SingleUnderline)
        needle.setUnderlineColor(theme.tokens().color("needle"))
        quiet = QTextCharFormat()
        quiet.setUnderlineStyle(QTextCharFormat.UnderlineStyle.SingleUnderline)
        quiet.setUnderlineColor(theme.tokens().color("control"))
        self.first.write([(text, quiet if differs else None) for text, differs in left] or [("(empty)", None)])
        self.second.write([(text, needle if differs else None) for text, differs in right] or [("(empty)", None)])

    def restyle(self) -> None:
        self.set_texts(*self._shown)
