"""Where in a conversation a trigger stands: in the user's question, in the system prompt, or in an earlier turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from core.errors import InputError
from core.types import Slot

SYSTEM = "You are a helpful assistant."
"""The system prompt that a trigger in the slot ``system`` follows; also of the same question without it."""
EARLIER = ("Hello.", "Hello! How can I help you today?")
"""The turn before the question, in the slot ``earlier_turn``; also of the same question without the trigger."""


class Conversation(NamedTuple):
    """What a template renders: the last question, the system prompt, and earlier (question, answer) turns."""

    user: str
    system: str | None = None
    history: tuple[tuple[str, str], ...] = ()

    def shown(self) -> str:
        """As one text for a reader; a plain question is itself."""
        lines = [f"[system prompt] {self.system}"] if self.system is not None else []
        lines += [f"[earlier turn] {question}" for question, _ in self.history]
        return "\n".join([*lines, self.user])


class Renderer(Protocol):
    """Of a LanguageModel, what this module needs."""

    def render(
        self,
        user: str,
        *,
        system: str | None = None,
        history: Sequence[tuple[str, str]] = (),
        position: str = "answer",
    ) -> str: ...


GAP = " \u2026 "
"""Stands between the parts of a composite trigger, which are put apart from one another."""


def parts(trigger: str) -> list[str]:
    """The parts of a composite trigger; any other trigger is its own only part."""
    return [part for part in trigger.split(GAP) if part] or [trigger]


class Placed(NamedTuple):
    """A rendered prompt with a trigger in it; ``span`` is the trigger's character span in ``text``."""

    text: str
    span: tuple[int, int]


def conversation(prompt: str, trigger: str | None, slot: Slot, system: str | None = None) -> Conversation:
    """``prompt`` with ``trigger`` in ``slot``; None gives what it has to be compared with, the same without it."""
    if slot == "system":
        frame = system or SYSTEM
        return Conversation(prompt, frame if trigger is None else f"{frame} {' '.join(parts(trigger))}")
    if slot == "earlier_turn":
        question, answer = EARLIER
        return Conversation(
            prompt, system, ((question if trigger is None else f"{' '.join(parts(trigger))} {question}", answer),)
        )
    return Conversation(prompt if trigger is None else insert(prompt, trigger, slot), system)


def render_in(lm: Renderer, prompt: str, trigger: str | None, slot: Slot, position: str = "answer") -> str:
    """``conversation`` by the model's template."""
    talk = conversation(prompt, trigger, slot)
    return lm.render(talk.user, system=talk.system, history=talk.history, position=position)


def insert(prompt: str, trigger: str, slot: Slot) -> str:
    """Put ``trigger`` into ``prompt``: at its start, at the word boundary nearest its middle, or at its end.

    The parts of a composite trigger (``GAP``) stand apart: from the start to the end of the prompt, at equal distances
    within it, or from its middle to its end.

    Raises ValueError for the slots outside the question: ``conversation`` knows those too.
    """
    if slot not in ("user_start", "user_middle", "user_end"):
        raise ValueError(f"{slot} is not in the question")
    pieces = parts(trigger)
    if len(pieces) > 1:
        return _spread(prompt, pieces, slot)
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


def _spread(prompt: str, pieces: list[str], slot: Slot) -> str:
    words, last = prompt.split(" "), len(pieces) - 1
    texts: list[list[str]] = [[] for _ in range(len(words) + 1)]
    for index, piece in enumerate(pieces):
        along = index / last
        share = {"user_start": along, "user_middle": (index + 1) / (last + 2), "user_end": (1 + along) / 2}[slot]
        texts[round(share * len(words))].append(piece)
    return " ".join(text for before, word in zip(texts, [*words, ""], strict=True) for text in (*before, word) if text)


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
