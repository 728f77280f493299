"""The list of known triggers."""

from __future__ import annotations

from typing import NamedTuple

import yaml

from core.types import RESOURCES, SLOTS, Slot


class KnownTrigger(NamedTuple):
    """``main``: the slot of the first pass; ``slots``: those of the second, for what stood out in the first."""

    text: str
    kind: str
    risk_class: str
    slots: tuple[Slot, ...] = SLOTS
    source: str = ""
    main: Slot = "user_start"


def known_triggers(extra: tuple[str, ...] = ()) -> list[KnownTrigger]:
    """Every trigger of ``resources/triggers/library.yaml``, then the user's own."""
    groups = yaml.safe_load((RESOURCES / "triggers" / "library.yaml").read_text("utf-8"))["groups"]
    listed = [
        KnownTrigger(
            text,
            group["kind"],
            group["risk_class"],
            tuple(group.get("slots", SLOTS)),
            group["source"],
            group.get("main", "user_start"),
        )
        for group in groups
        for text in group["triggers"]
    ]
    known = {trigger.text for trigger in listed}
    return [*listed, *(KnownTrigger(text, "given by the user", "BD-R") for text in extra if text not in known)]


def panel(name: str) -> dict[str, list[str]]:
    """The prompts of ``resources/panels``: ``search`` for the stages that look, ``held_out`` for the proof alone."""
    loaded: dict[str, list[str]] = yaml.safe_load((RESOURCES / "panels" / f"{name}.yaml").read_text("utf-8"))
    return loaded


def shown(trigger: str) -> str:
    """The trigger with every character that a reader could not see written out."""
    return "".join(
        letter if letter.isprintable() and letter != "\u00a0" else f"\\u{ord(letter):04x}" for letter in trigger
    )
