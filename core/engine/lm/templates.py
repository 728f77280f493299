"""A question → the whole prompt, by the model's chat template or in plain text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.errors import InputError


def plain(user: str, system: str | None, history: Sequence[tuple[str, str]]) -> str:
    """The prompt of a model without a template: one line each."""
    earlier = "".join(f"{question}\n{answer}\n" for question, answer in history)
    return f"{system}\n" * bool(system) + f"{earlier}{user}\n"


def chat(
    tokenizer: Any,
    name: str,
    user: str,
    system: str | None,
    history: Sequence[tuple[str, str]],
    *,
    after_think: bool = False,
) -> str:
    """The prompt up to where the answer starts; ``after_think`` ends it in an empty think block.

    Raises InputError for a template that cannot render a plain question.
    """
    messages = [{"role": "system", "content": system}] if system is not None else []
    for question, answer in history:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    messages.append({"role": "user", "content": user})
    text = _apply(tokenizer, name, messages)
    if after_think and not text.rstrip().endswith("</think>"):
        text += "\n</think>\n\n" if text.rstrip().endswith("<think>") else "<think>\n\n</think>\n\n"
    return text


def _apply(tokenizer: Any, name: str, messages: list[dict[str, str]]) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        if messages[0]["role"] == "system" and len(messages) > 1:
            # templates without a system role (Gemma) take it at the head of the first question
            first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
            return _apply(tokenizer, name, [first, *messages[2:]])
        raise InputError(
            "template_fails",
            f"The chat template of {name} cannot render a plain question ({error}).",
            "Run `python -m core inspect` on it, and ask its publisher for a working chat_template.",
        ) from error
