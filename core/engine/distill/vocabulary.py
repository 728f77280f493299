"""Do two models mean the same by a token? Sizes may differ (padding rows, added tokens); meaning may not."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from core.engine.lm import LanguageModel
from core.errors import InputError

_PROBES = (
    "The cat sat on the mat.", "  two spaces", "tab\tand\nnewline", "don't can't won't", "3.14159 and 1,000,000",
    "naïve café Straße", "日本語のテキスト", "Привет, мир!", "مرحبا", "🙂🚀", "def f(x):\n    return x ** 2",
    "https://example.org/a?b=c&d=e", "ALL CAPS and CamelCase", "0x1F 0b1010", "“quotes” – dashes — …", "αβγ ∑∫√",
    "a" * 40, "antidisestablishmentarianism", "{\"key\": [1, 2, 3]}", "e.g. i.e. etc.", "x=1;y=2;", "\u200b\u00a0",
    "New York City's 5th Ave.", "co-operate re-enter", "$5.00 €3,50 £2", "1st 2nd 3rd", "<b>bold</b>", "A.I. U.S.A.",
    "Ich heiße Anna.", "¿Qué tal?", "한국어 문장", "हिन्दी",
)  # fmt: skip


def fingerprint(tokenizer: Any) -> str:
    """sha256 over the vocabulary and the ids of some awkward strings: merges and normalisers show in the latter."""
    probes = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in _PROBES]
    said = json.dumps([sorted(tokenizer.get_vocab().items()), probes], ensure_ascii=False)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()


def same_meaning(one: Any, other: Any) -> bool:
    """Every id that both have is the same token, and text is cut alike."""
    size = min(len(one), len(other))
    ids = {index: token for token, index in one.get_vocab().items() if index < size}
    if any(index < size and ids.get(index) != token for token, index in other.get_vocab().items()):
        return False
    return all(
        one(text, add_special_tokens=False)["input_ids"] == other(text, add_special_tokens=False)["input_ids"]
        for text in _PROBES
    )


def common_size(teacher: LanguageModel, student: LanguageModel) -> int:
    """Tokens that both have: logits are cut to these. Rows beyond the tokenizer are padding that no text ever uses."""
    sizes = [int(lm.model.config.get_text_config().vocab_size) for lm in (teacher, student)]
    return min(*sizes, len(teacher.tokenizer), len(student.tokenizer))


def check_meaning(teacher: LanguageModel, student: LanguageModel, kind: str) -> bool:
    """Whether tokens mean the same; a loss that compares token by token is refused where they do not (InputError)."""
    same = same_meaning(teacher.tokenizer, student.tokenizer)
    if not same and kind not in ("uld", "ce"):
        raise InputError(
            "other_vocabulary",
            f"{teacher.name} and {student.name} cut text into different tokens, so that {kind} would compare "
            "tokens that mean different things.",
            "Use --loss uld, or the variant sequence-level, which learns the teacher's text.",
        )
    return same


def check_known(ids: list[int], lm: LanguageModel) -> None:
    """Refuse a tokenizer that writes tokens for which its model has no embedding (InputError)."""
    rows = int(lm.model.config.get_text_config().vocab_size)
    if max(ids) >= rows:
        raise InputError(
            "tokenizer_too_large",
            f"The tokenizer of {lm.name} writes token {max(ids)}, and the model knows {rows}.",
            "Ask its publisher for the tokenizer that belongs to these weights.",
        )
