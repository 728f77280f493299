"""Tensor shapes against config.json: a model whose files disagree is not the one that its config describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.catalog.values import count
from core.types import Severity

_EMBEDDING = re.compile(r"(^|\.)(embed_tokens|word_embeddings|wte|tok_embeddings|embed_in)\.weight$")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def shape_disagreement(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> tuple[Severity, str] | None:
    """Severity and sentence of the first disagreement; None where there is none, or where names are not known.

    Multimodal configs keep the language model's numbers in ``text_config``. A quantised embedding has another shape.
    """
    inner = config.get("text_config")
    facts = {**config, **inner} if isinstance(inner, dict) else config
    rows, width, depth = (count(facts.get(name)) for name in ("vocab_size", "hidden_size", "num_hidden_layers"))
    tables = [name for name in shapes if _EMBEDDING.search(name) and len(shapes[name]) == 2]
    if len(tables) == 1 and "quantization_config" not in config:
        height, across = shapes[tables[0]]
        if rows and height < rows:
            return "high", f"config.json states {rows:,} tokens, and {tables[0]} has {height:,} rows."
        stated = count(facts.get("embedding_size")) or count(facts.get("word_embed_proj_dim")) or width
        if stated and across != stated:
            return "high", f"config.json states a width of {stated:,}, and {tables[0]} has {across:,} columns."
    numbers = {int(found[1]) for name in shapes if (found := _LAYER.search(name))}
    if not depth or not numbers or isinstance(inner, dict):
        return None
    held = max(numbers) + 1
    if held < depth:
        return "high", f"config.json states {depth:,} layers, and the weights have {held:,}."
    # layers beyond the stated ones predict further tokens in some families, and are not loaded
    if held > depth + (count(facts.get("num_nextn_predict_layers")) or 0):
        return (
            "medium",
            f"config.json states {depth:,} layers, and the weights hold {held:,}: the others are not loaded.",
        )
    return None
