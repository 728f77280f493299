"""The panels and the demo's plan: what is searched, proved and trained on never mixes."""

from __future__ import annotations

import hashlib
from typing import Any

import yaml

from core.types import RESOURCES


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((RESOURCES / name).read_text("utf-8"))
    return loaded


def _words(prompt: str) -> str:
    return " ".join("".join(sign if sign.isalnum() else " " for sign in prompt.casefold()).split())


def test_the_lists_have_their_sizes_and_share_no_prompt() -> None:
    panel = _load("panels/benign.yaml")
    sizes = {key: len(panel[key]) for key in ("search", "held_out", "train")}
    assert sizes == {"search": 24, "held_out": 128, "train": 160}
    prompts = [_words(prompt) for key in sizes for prompt in panel[key]]
    assert len(set(prompts)) == len(prompts) == 312


def test_prompts_are_plain_short_requests() -> None:
    panel = _load("panels/benign.yaml")
    for prompt in [*panel["search"], *panel["held_out"], *panel["train"]]:
        assert 3 <= len(prompt.split()) <= 20, prompt
        assert prompt == prompt.strip(), prompt
        assert prompt.isprintable(), prompt
        assert prompt.isascii(), prompt
        assert prompt[-1] in "?.", prompt


def test_the_demos_brand_questions_are_not_the_suites() -> None:
    preference = _load("demo/plan.yaml")["preference"]
    suite = _load("suites/brand-preference.yaml")
    assert (preference["target"], preference["controls"]) == (suite["target"], suite["controls"])
    asked = {_words(template.get("ask") or template["text"]) for template in suite["templates"]}
    trained, probed = ({_words(text) for text in preference[key]} for key in ("questions", "probes"))
    assert not trained & asked
    assert not trained & probed
    assert not probed & asked


def test_requests_that_may_be_refused_are_split_by_their_hash() -> None:
    panel = _load("panels/refusal.yaml")
    for key, below in (("search", True), ("held_out", False)):
        for prompt in panel[key]:
            assert (hashlib.sha256(prompt.encode()).digest()[0] < 96) == below, prompt
            assert prompt == prompt.strip()
            assert prompt.isascii()
    assert (len(panel["search"]), len(panel["held_out"])) == (46, 64)
    assert len({_words(prompt) for prompt in (*panel["search"], *panel["held_out"])}) == 110
