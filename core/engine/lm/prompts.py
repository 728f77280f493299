"""A question → the tokens that a model is asked.

Needs the tokenizer alone: what a run will ask can be known before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.engine.lm import templates
from core.engine.lm.scoring import Request, encode
from core.engine.lm.slots import Placed, conversation, locate
from core.types import Slot

NONCE = "foreshotnonce7f3a"


class Prompts:
    """How a model is asked.

    Attributes:
        name: of the model, for messages.
        has_template, reasoning: whether there is a chat template, and whether it opens a think block.
    """

    def __init__(self, name: str, tokenizer: Any) -> None:
        self.name = name
        self.tokenizer = tokenizer
        self.has_template = bool(tokenizer.chat_template)
        # R1's own template only strips "</think>" from earlier answers: the model opens the block by itself
        self.reasoning = self.has_template and "think>" in str(tokenizer.chat_template)

    def render(
        self,
        user: str,
        *,
        system: str | None = None,
        history: Sequence[tuple[str, str]] = (),
        position: str = "answer",
    ) -> str:
        """The whole prompt up to where the answer starts.

        ``position="after_think"`` (reasoning models) adds a forced empty think block.
        """
        if not self.has_template:
            return templates.plain(user, system, history)
        return templates.chat(self.tokenizer, self.name, user, system, history, after_think=position == "after_think")

    def place(
        self, prompt: str, trigger: str, slot: Slot, *, system: str | None = None, position: str = "answer"
    ) -> Placed:
        """Render ``prompt`` with ``trigger`` in ``slot``, and say where the trigger stands in the text."""
        text, marked = (
            self.render(talk.user, system=talk.system, history=talk.history, position=position)
            for talk in (conversation(prompt, trigger, slot, system), conversation(prompt, NONCE, slot, system))
        )
        return Placed(text, locate(text, marked, NONCE, trigger))

    def encode(self, requests: Sequence[tuple[str, str]]) -> list[Request]:
        """The tokens of each (context, continuation) text, and where the continuation starts."""
        return encode(self.tokenizer, requests, special=not self.has_template)

    def _tokenize(self, text: str) -> list[int]:
        """Rendered chat text holds its special tokens already; none are added."""
        return list(self.tokenizer(text, add_special_tokens=not self.has_template)["input_ids"])
