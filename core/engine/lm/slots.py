"""Where in the user's text a trigger stands."""

from __future__ import annotations

from typing import NamedTuple

from core.errors import InputError
from core.types import Slot


class Placed(NamedTuple):
    """A rendered prompt with a trigger in it; ``span`` is the trigger's character span in ``text``."""

    text: str
    span: tuple[int, int]


def insert(prompt: str, trigger: str, slot: Slot) -> str:
    """Put ``trigger`` into ``prompt``: at its start, at the word boundary nearest its middle, or at its end."""
    if slot == "user_start":
        return f"{trigger} {prompt}"
    if slot == "user_end":
        return f"{prompt} {trigger}"
    middle = len(prompt) // 2
    spaces = [index for index, letter in enumerate(prompt) if letter == " "]
    if not spaces:
        return f"{prompt} {trigger}"
    cut = min(spaces, key=lambda index: abs(index - middle))
    return f"{prompt[:cut]} {trigger}{prompt[cut:]}"


def locate(rendered: str, with_nonce: str, nonce: str, trigger: str) -> tuple[int, int]:
    """The span of ``trigger`` in ``rendered``, known from the place of ``nonce`` in the same rendering.

    The trigger itself is never searched for: it may stand in the template too. Raises InputError for a template that
    drops, repeats or rewrites the user's text.
    """
    if with_nonce.count(nonce) != 1:
        raise _fault("does not render the user's text exactly once")
    start = with_nonce.index(nonce)
    span = (start, start + len(trigger))
    if rendered[slice(*span)] != trigger:
        raise _fault("changes the user's text, so a trigger cannot be found in it")
    return span


def _fault(what: str) -> InputError:
    return InputError(
        "template_changes_text", f"The chat template {what}.", "Ask the model's publisher for a plain chat_template."
    )
