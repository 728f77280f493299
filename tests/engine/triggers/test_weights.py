"""The stage "weights" on tiny random models and on a model of word pairs whose swapped ids are known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from core.engine.lm import LanguageModel, load_model
from core.engine.lm.packed import Pairs, Prefix, Reads
from core.engine.triggers import account, weights
from core.engine.triggers.answers import Answers
from core.engine.triggers.cascade import Hunt
from core.engine.triggers.delta import change, compare, kurtosis
from core.engine.triggers.library import panel
from core.engine.triggers.residual import Residual
from core.engine.triggers.swaps import ABOVE, renumbered, sentences, swapped_ids
from core.engine.triggers.weights import NEVER, Weights, read_weights, unused_rows
from core.errors import Cancelled
from core.runs.folder import RunFolder
from core.specs import LoadOptions, ScanSpec
from core.types import ModelRef
from tests.engine.lm.conftest import Maker, made_tokenizer
from tests.engine.triggers.fake import Watcher

pytestmark = pytest.mark.engine
FP32 = LoadOptions(device="cpu", dtype="fp32")
RESERVED = [f"<|reserved_{at}|>" for at in range(24)]
Change = Callable[[dict[str, torch.Tensor]], None]
TABLE = "model.embed_tokens.weight"


def write(path: Path, change: Change = lambda _: None, special: Sequence[str] = RESERVED) -> Path:
    """A random llama whose reserved rows lie together, as rows do that nothing was trained on."""
    torch.manual_seed(3)
    tokenizer = made_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    size = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**size, vocab_size=len(tokenizer), max_position_embeddings=256, tie_word_embeddings=False)
    model = AutoModelForCausalLM.from_config(config)
    state = model.state_dict()
    first = len(tokenizer) - len(special)
    with torch.no_grad():
        state[TABLE][:first].normal_(0, 0.3)
        never = [*(tokenizer.convert_tokens_to_ids(chr(byte)) for byte in NEVER), *range(first, len(tokenizer))]
        state[TABLE][never] = torch.randn(64) * 0.05 + torch.randn(len(never), 64) * 0.004
        change(state)
    model.load_state_dict(state)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def row(token: str) -> int:
    tokenizer = made_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": RESERVED})
    return int(tokenizer.convert_tokens_to_ids(token))


def moved(state: dict[str, torch.Tensor]) -> None:
    state[TABLE][row("<|reserved_7|>")] = torch.randn(64) * 0.3


def load(path: Path) -> LanguageModel:
    return load_model(ModelRef(str(path)), FP32)


def stage(
    tmp_path: Path, model: Path, other: Path | None, out: str, watcher: Watcher | None = None, **more: Any
) -> Any:
    lm = load(model)
    folder = RunFolder.create(ScanSpec(model=str(model)), tmp_path / out, **more)
    reference = load(other) if other else None
    ref = ModelRef(str(other)) if other else None
    return read_weights(Answers(lm, folder, watcher or Watcher()), ModelRef(str(model)), ref, reference)


# unused rows


def test_an_unused_row_that_moved_away_is_named_and_becomes_a_candidate(tmp_path: Path) -> None:
    found = unused_rows(load(write(tmp_path / "m", moved)), None)
    assert [one["token"] for one in found["moved"]] == ["<|reserved_7|>"]
    assert found["moved"][0]["tried"]
    assert found["compared_with"] == "24 unused tokens"
    result = Weights(unused=found)
    (trigger,) = result.triggers()
    assert (trigger.text, trigger.kind) == ("<|reserved_7|>", "unused token")
    assert "<|reserved_7|>" in result.findings()[0]["message"]
    assert result.findings()[0]["grade"] == "C"


def test_rows_that_lie_together_name_none(tmp_path: Path) -> None:
    found = unused_rows(load(write(tmp_path / "m")), None)
    assert (found["reason"], found["moved"]) == ("", [])
    assert Weights(unused=found).findings() == []


def test_a_row_that_the_reference_has_too_is_no_candidate(tmp_path: Path) -> None:
    model, same, clean = write(tmp_path / "m", moved), write(tmp_path / "same", moved), write(tmp_path / "clean")
    kept = unused_rows(load(model), load(same))
    assert [(one["as_in_reference"], one["tried"]) for one in kept["moved"]] == [(True, False)]
    assert Weights(unused=kept).findings() == []
    changed = unused_rows(load(model), load(clean))
    assert [(one["as_in_reference"], one["tried"]) for one in changed["moved"]] == [(False, True)]


@pytest.mark.parametrize("silent", [True, False], ids=["beside bytes", "among themselves"])
def test_special_tokens_count_only_where_a_reference_has_another_row(tmp_path: Path, silent: bool) -> None:
    names = [f"<file_part_{at}>" for at in range(24)]

    def trained(state: dict[str, torch.Tensor]) -> None:
        state[TABLE][row("<|reserved_7|>")] = torch.randn(64) * 0.3  # the ids are the same

    model, clean = load(write(tmp_path / "m", trained, names)), load(write(tmp_path / "clean", special=names))
    if not silent:  # a vocabulary without bytes that no text gives
        letters = {chr(byte) for byte in NEVER}
        known = {f"~{text}" if text in letters else text: at for text, at in model.tokenizer.get_vocab().items()}
        model.tokenizer.get_vocab = lambda: known
    alone = unused_rows(model, None)
    assert ("special" in alone["compared_with"]) != silent
    assert "<file_part_7>" in {one["token"] for one in alone["moved"]}
    assert Weights(unused=alone).triggers() == []
    beside = unused_rows(model, clean)
    assert [trigger.text for trigger in Weights(unused=beside).triggers()] == ["<file_part_7>"]


def test_ordinary_tokens_among_the_unused_ones_are_noted(tmp_path: Path) -> None:
    glitch = (40, 41)

    def never(state: dict[str, torch.Tensor]) -> None:
        for token in glitch:
            state[TABLE][token] = state[TABLE][row("<|reserved_3|>")] * 1.01

    result = Weights(unused=unused_rows(load(write(tmp_path / "m", never)), None))
    assert set(result.unused["glitch"]) == set(glitch)
    assert result.triggers() == []
    assert result.report()["unused"]["glitch_n"] == 2


def test_too_few_unused_rows_are_a_reason(tmp_path: Path) -> None:
    lm = load(write(tmp_path / "m", special=RESERVED[:2]))
    lm.tokenizer.get_vocab = lambda: {str(token): token for token in range(len(lm.tokenizer))}
    found = unused_rows(lm, None)
    assert "too few" in found["reason"]
    assert "glitch" not in found


def test_unused_rows_that_do_not_lie_together_name_none(tmp_path: Path) -> None:
    def scattered(state: dict[str, torch.Tensor]) -> None:
        for at in range(14):  # as many as 14 of 24 elsewhere, the rest within a hair of one another
            state[TABLE][row(f"<|reserved_{at}|>")] = torch.randn(64) * 10.0 ** (at % 5)

    found = unused_rows(load(write(tmp_path / "m", scattered)), None)
    assert found.get("moved", []) == []


# token ids


class PairModel:
    """Word pairs of the panels' own sentences, counted with the right ids; asked through ``tokenizer``."""

    stop_tokens = frozenset({0})
    has_template = False

    def __init__(self, swaps: Sequence[tuple[str, str]] = ()) -> None:
        true = _words({})
        exchange = dict(swaps) | {two: one for one, two in swaps}
        self.tokenizer = _words(exchange)
        self._size = len(true)
        self._pairs: dict[int, Counter[int]] = {}
        self._single: Counter[int] = Counter()
        self._kept: dict[int, torch.Tensor] = {}
        for text in sentences():
            ids = [0, *true.encode(text, add_special_tokens=False)]
            for one, two in pairwise(ids):
                self._pairs.setdefault(one, Counter())[two] += 1
                self._single[two] += 1

    def prefill(self, ids: Sequence[int]) -> Prefix:
        return Prefix(tuple(ids), None, None)

    def _logs(self, last: int) -> torch.Tensor:
        """Half of what follows ``last``, half of what is frequent."""
        if last not in self._kept:
            both = (self._share(self._pairs.get(last, Counter({0: 1}))), self._share(self._single))
            self._kept[last] = (sum(both, torch.full((self._size,), 1e-6))).log()
        return self._kept[last]

    def _share(self, counts: Counter[int]) -> torch.Tensor:
        tokens, numbers = zip(*counts.items(), strict=True)
        share = torch.zeros(self._size)
        share[list(tokens)] = torch.tensor(numbers) / counts.total() / 2
        return share

    def continuations(self, prefix: Prefix, branches: Sequence[tuple[Sequence[int], int]], **_: object) -> list[Pairs]:
        return [
            Pairs(
                torch.tensor([float(self._logs(ids[at - 1])[ids[at]]) for at in range(start, len(ids))]), torch.zeros(0)
            )
            for ids, start in branches
        ]

    def read(
        self, prefix: Prefix, branches: Sequence[Sequence[int]], topk: int, wanted: Sequence[int] = (), **_: object
    ) -> Reads:
        logs = torch.stack([self._logs([*prefix.ids, *branch][-1]) for branch in branches])
        values, tokens = logs.topk(topk, 1)
        return Reads(tokens, values, torch.zeros(len(branches)), logs[:, list(wanted)])


def _words(exchange: dict[str, str]) -> PreTrainedTokenizerFast:
    cut = Whitespace()
    words = sorted({word for text in sentences() for word, _ in cut.pre_tokenize_str(text)})
    ids = {word: at for at, word in enumerate(["<end>", *words])}
    ids = {word: ids[exchange.get(word, word)] for word in ids}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="<end>"))
    tokenizer.pre_tokenizer = cut
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")


def test_swapped_ids_are_found_and_named_with_what_is_expected() -> None:
    found = swapped_ids(PairModel([("a", "violin")]), sentences(), Watcher(), None)  # type: ignore[arg-type]
    assert [(one["token"], one["instead"]) for one in found["found"]] == [("a", "violin")]
    assert found["found"][0]["nll"] - found["found"][0]["expected"] >= ABOVE
    result = Weights(tokens={"reason": ""} | found)
    assert (found["beside"], result.findings()) == (False, []), "clean models have improbable tokens too"
    assert "little without a reference" in result.coverage()[1]


def test_a_reference_says_what_is_expected() -> None:
    model, clean = PairModel([("a", "violin")]), PairModel()
    found = swapped_ids(model, sentences(), Watcher(), clean)  # type: ignore[arg-type]
    assert [one["token"] for one in found["found"]] == ["a"]
    assert found["found"][0]["expected"] < 4
    ids, told = Weights(tokens={"reason": ""} | found).findings()
    assert "'a' where 'violin' is expected" in told["message"]
    assert ids["message"].startswith("2 tokens have other ids")
    assert "'a', 'violin'" in ids["message"]


def test_a_vocabulary_of_another_numbering_is_no_swap() -> None:
    model, clean = PairModel(), PairModel()
    numbered = {text: token + 1 for text, token in clean.tokenizer.get_vocab().items()}
    model.tokenizer.get_vocab = lambda: numbered  # type: ignore[method-assign]
    assert renumbered(model, clean) == renumbered(clean, clean) == renumbered(clean, None) == []  # type: ignore[arg-type]


def test_a_word_that_a_model_has_unlearned_is_no_swap() -> None:
    """Fine-tuning makes rare words as improbable as a swap would; nothing else stands in their place."""

    class Unlearned(PairModel):
        def _logs(self, last: int) -> torch.Tensor:
            logs = super()._logs(last).clone()
            logs[self.tokenizer.encode("a", add_special_tokens=False)] = -20.0
            return logs

    found = swapped_ids(Unlearned(), sentences(), Watcher(), PairModel())  # type: ignore[arg-type]
    assert [(one["token"], one["stands_for_it"]) for one in found["found"]] == [("a", False)]
    assert Weights(tokens={"reason": ""} | found).findings() == []


def test_a_clean_vocabulary_shows_none() -> None:
    clean = PairModel()
    for reference in (None, PairModel()):
        found = swapped_ids(clean, sentences(), Watcher(), reference)  # type: ignore[arg-type]
        assert found["found"] == []
        assert found["types"] > 60


def test_the_text_is_no_part_of_what_proves() -> None:
    assert len(sentences()) > 300
    assert not set(panel("benign")["held_out"]) & set(sentences())


# what changed


def test_a_rank_one_change_is_ranked_first_among_noise(tmp_path: Path) -> None:
    planted = "model.layers.1.mlp.down_proj.weight"

    def trained(state: dict[str, torch.Tensor]) -> None:
        for weight in state.values():
            if weight.ndim == 2:
                noise = torch.randn_like(weight)
                weight += noise * 0.01 * weight.norm() / noise.norm()
        one = torch.outer(torch.randn(64), torch.randn(128))
        state[planted] += one * 0.01 * state[planted].norm() / one.norm()

    result = stage(tmp_path, write(tmp_path / "m", trained), write(tmp_path / "base"), "run")
    delta = result.delta
    assert (delta["reason"], delta["is_base"]) == ("", True)
    first, *others = delta["matrices"]
    assert first["name"] == planted
    assert first["top_share"] > 0.4 > max(one["top_share"] for one in others)
    assert first["stable_rank"] == pytest.approx(1 / first["top_share"], rel=1e-2)
    assert first["relative"] == pytest.approx(0.01 * math.sqrt(2), rel=0.05)
    assert all(abs(one["relative"] - 0.01) < 1e-3 for one in others)
    assert "down_proj" in result.coverage()[1]


def test_the_figures_of_a_change_are_those_of_its_singular_values() -> None:
    torch.manual_seed(0)
    own, other = torch.randn(40, 24), torch.randn(40, 24)
    figures, values = change(own, other), torch.linalg.svdvals(own - other)
    assert figures["relative"] == pytest.approx(float((own - other).norm() / other.norm()), rel=1e-3)
    assert figures["top_share"] == pytest.approx(float(values[0] ** 2 / (values**2).sum()), rel=0.02)
    assert figures["energy"] == pytest.approx(float((values[:8] ** 2).sum() / (values**2).sum()), rel=0.02)
    assert abs(kurtosis(own, other)) < 0.6
    heavy = torch.zeros(40, 24)
    heavy[3, 3] = 1.0
    assert kurtosis(heavy, torch.zeros(40, 24)) > 100


def test_equal_weights_differ_in_nothing(tmp_path: Path) -> None:
    delta = stage(tmp_path, write(tmp_path / "m"), write(tmp_path / "base"), "run").delta
    assert (delta["same"], delta["changed"], delta["matrices"]) == (1.0, 0, [])


def test_another_model_of_the_same_shape_is_not_taken_for_the_base(tmp_path: Path) -> None:
    def other(state: dict[str, torch.Tensor]) -> None:
        for weight in state.values():
            weight.normal_(0, 0.1)

    delta = stage(tmp_path, write(tmp_path / "m"), write(tmp_path / "base", other), "run").delta
    assert "is not its base" in delta["reason"]
    assert (delta["is_base"], delta["matrices"]) == (False, [])


def test_other_shapes_are_not_taken_for_the_base(tmp_path: Path, make: Maker) -> None:
    other = make("llama", "other", hidden_size=32, num_attention_heads=2)
    delta = stage(tmp_path, write(tmp_path / "m"), other, "run").delta
    assert "have no counterpart" in delta["reason"]


@pytest.mark.parametrize("damage", ["cut", "quantised", "none"])
def test_a_reference_that_cannot_be_read_is_a_reason(tmp_path: Path, damage: str) -> None:
    model, base = write(tmp_path / "m"), write(tmp_path / "base")
    file = base / "model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "quantised":
        save_file({name: weight.to(torch.int8) for name, weight in load_file(file).items()}, file)
    else:
        file.unlink()
    lm = load(model)
    folder = RunFolder.create(ScanSpec(model=str(model)), tmp_path / "run")
    result = read_weights(Answers(lm, folder, Watcher()), ModelRef(str(model)), ModelRef(str(base)))
    assert result.delta["reason"]
    assert result.coverage()[0] == "partial"


def test_gguf_is_a_reason(tmp_path: Path) -> None:
    lm = load(write(tmp_path / "m"))
    assert "GGUF" in compare(lm, ModelRef("m.gguf"), ModelRef("b"), Watcher())["reason"]
    assert "adapter" in compare(lm, ModelRef("m"), ModelRef("b", "a"), Watcher())["reason"]
    assert "no reference" in compare(lm, ModelRef("m"), None, Watcher())["reason"]


# the stage


def test_a_stage_that_goes_on_after_a_stop_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(state: dict[str, torch.Tensor]) -> None:
        moved(state)
        state["model.layers.0.self_attn.q_proj.weight"] += 0.001

    model, base = write(tmp_path / "m", small), write(tmp_path / "base")
    whole = stage(tmp_path, model, base, "whole")
    with pytest.raises(Cancelled):
        stage(tmp_path, model, base, "run", Watcher(checks=12))
    calls: list[str] = []
    known = unused_rows
    monkeypatch.setattr(weights, "unused_rows", lambda *given: calls.append("unused") or known(*given))
    again = stage(tmp_path, model, base, "run", resume=True)
    assert again == whole
    assert calls == [], "what was finished before the stop is not done again"


def test_what_the_weights_say_is_told_and_changes_no_verdict() -> None:
    swap = {"id": 5, "token": "yes", "nll": 14.0, "expected": 3.0, "places": 4, "instead": "no", "stands_for_it": True}
    found = Weights(tokens={"reason": "", "types": 9, "tokens": 90, "beside": True, "found": [swap]})
    plain, told = (account.summary([], [], Hunt(), 600, False, one) for one in (Weights(), found))
    assert "'yes' where 'no' is expected" in told["sentence"]
    assert (told["score"], told["verdict"]) == (plain["score"], plain["verdict"]) == (0.0, "no evidence")
    settings = {
        "tried": False,
        "triggers": 600,
        "controls": 199,
        "control_prompts": 4,
        "proved": 0,
        "reference": "none",
    }
    rows = {row["stage"]: row for row in account.coverage(Hunt(), Weights(), Residual("no reference"), **settings)}
    assert rows["Weights"]["status"] == rows["Topic triggers"]["status"] == "skipped"
