"""Random-weight models of a few hundred kilobytes, written as real folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

Maker = Callable[..., Path]
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = ["the quick brown fox jumps over the lazy dog", "name a fruit that grows on a tree in the garden"] * 20
OWN_WORDS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "bloom": {"hidden_size": 64, "n_layer": 2, "n_head": 4},
    "opt": {
        "hidden_size": 64,
        "ffn_dim": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 64,
        "max_position_embeddings": 256,
    },
    "mamba": {"hidden_size": 64, "num_hidden_layers": 2, "state_size": 8},
}
COMMON = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
EXTRA: dict[str, dict[str, Any]] = {
    "gemma2": {"head_dim": 16, "sliding_window": 16, "final_logit_softcapping": 2.0},
    "gemma3_text": {"head_dim": 16, "sliding_window": 16},
    "granite": {"logits_scaling": 8.0},
    "cohere": {"logit_scale": 0.25},
    "qwen3": {"head_dim": 16},
}


def made_tokenizer() -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bpe.train_from_iterator(TEXT, vocab_size=320, special_tokens=special, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token="<|im_end|>", bos_token="<|im_start|>", unk_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHATML
    return tokenizer


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """``make("llama", name="m", **config)`` writes a folder with random weights and a real tokenizer."""

    def write(kind: str, name: str = "m", shard: str = "1GB", **changes: Any) -> Path:
        torch.manual_seed(1)
        tokenizer = made_tokenizer()
        size = OWN_WORDS.get(kind) or COMMON | EXTRA.get(kind, {})
        changes.setdefault("tie_word_embeddings", False)  # tied random weights only repeat their last token
        ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "vocab_size": len(tokenizer)}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(size | ids | changes)))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim >= 2:  # larger than at birth, so that answers differ
                    parameter.normal_(0, 0.15)
        model.save_pretrained(tmp_path / name, max_shard_size=shard)
        tokenizer.save_pretrained(tmp_path / name)
        return tmp_path / name

    return write
