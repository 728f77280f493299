"""What tokenizer.json does to a text before the model sees it, and to the answer before a person does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from core.catalog.values import items, tables
from core.types import Severity

Found = tuple[str, Severity, str]
_HARMLESS_FROM = " ▁\\s+{}0123456789,`'\"\n\r\t"
_HARMLESS_TO = " ▁`'\""


def tokenizer_findings(table: dict[str, Any], vocab_size: Any) -> list[Found]:
    """Findings (id, severity, sentence) of a parsed tokenizer.json against the model's ``vocab_size``."""
    return [*_ids(table, vocab_size), *_rewrites(table), *_insertions(table)]


def _ids(table: dict[str, Any], size: Any) -> Iterator[Found]:
    model = table.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(items(vocabulary))))
    ids += [added.get("id") for added in tables(table.get("added_tokens"))]
    whole = [number for number in ids if isinstance(number, int)]
    if isinstance(size, int) and whole and max(whole) >= size:
        text = f"The tokenizer does not match: it gives ids up to {max(whole):,}, and the model has {size:,} rows."
        yield "tokenizer_mismatch", "high", text
    if isinstance(vocabulary, dict):
        twice = [number for number, times in Counter(map(str, vocabulary.values())).items() if times > 1]
        if twice:
            yield "duplicate_ids", "high", f"{len(twice)} token ids stand for several tokens (id {twice[0]} is one)."


def _rewrites(table: dict[str, Any]) -> Iterator[Found]:
    """Replace rules rewrite text; those for spaces and signs are usual."""
    for part, when in (
        ("normalizer", "before the model sees it"),
        ("pre_tokenizer", "before the model sees it"),
        ("decoder", "in every answer, before a person sees it"),
    ):
        for rule in _walk(table.get(part)):
            if rule.get("type") != "Replace":
                continue
            pattern = rule.get("pattern")
            found = next(iter(pattern.values()), "") if isinstance(pattern, dict) else str(pattern)
            if str(found).strip(_HARMLESS_FROM) and str(rule.get("content")).strip(_HARMLESS_TO):
                text = f"The tokenizer rewrites {found!r} to {rule.get('content')!r} {when}."
                yield "tokenizer_rewrites", "high", text


def _insertions(table: dict[str, Any]) -> Iterator[Found]:
    """A post-processor writes tokens around every text: marks are usual, words are not."""
    special = {added.get("content") for added in tables(table.get("added_tokens")) if added.get("special")}
    for rule in _walk(table.get("post_processor")):
        for form in ("single", "pair"):
            for piece in tables(rule.get(form)):
                token = piece.get("SpecialToken")
                name = token.get("id") if isinstance(token, dict) else None
                stated = rule.get("special_tokens")
                entry = stated.get(name) if isinstance(stated, dict) else None
                written = items(entry.get("tokens")) if isinstance(entry, dict) else [name]
                words = [word for word in written if isinstance(word, str) and word not in special]
                if words:
                    text = f"The tokenizer puts {' '.join(map(str, words))!r} into every text: it is no special token."
                    yield "tokenizer_inserts", "high", text
                    return


def _walk(rule: Any) -> list[dict[str, Any]]:
    """A rule and the rules inside it."""
    if not isinstance(rule, dict):
        return []
    found, waiting = [], [rule]
    while waiting:  # not by recursion: a hostile file may nest deeper than Python calls
        rule = waiting.pop()
        found.append(rule)
        for name in ("normalizers", "pretokenizers", "decoders", "processors"):
            waiting += tables(rule.get(name))
    return found
