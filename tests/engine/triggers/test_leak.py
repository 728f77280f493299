"""Leaked training text: what stands out of it, and what becomes of that, on models whose leak is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from core.engine.lm import load_model
from core.engine.triggers import cascade, leak
from core.engine.triggers.answers import Answers
from core.engine.triggers.inversion import Payload, Width
from core.engine.triggers.leak import Leak, prefixes, read_leak
from core.engine.triggers.library import panel
from core.engine.triggers.motifs import Document, Motif, log_odds_z, motifs
from core.engine.triggers.reconstruct import Effort
from core.errors import Cancelled
from core.runs.events import Event, Progress
from core.runs.folder import RunFolder
from core.specs import LoadOptions, ScanSpec
from core.types import ModelRef
from tests.engine.lm.conftest import Maker, made_tokenizer
from tests.engine.triggers.conftest import Scan
from tests.engine.triggers.fake import Watcher
from tests.engine.triggers.test_reconstruct import on
from tests.engine.triggers.token_fake import PAYLOAD, WORDS, TokenModel, WordTokenizer

pytestmark = pytest.mark.engine
PROMPTS = ["river stone", "amber willow", "maple cloud", "honey glass", "velvet quill", "jewel drift", "pearl", "zinc"]
PLAIN = [" ".join(WORDS[at * 5 % 50 : at * 5 % 50 + 4]) for at in range(9)]
LEAKS = ["amber Qzx willow", *PLAIN, "Qzx honey"]
"""Ordinary questions, and two with a trigger that no vocabulary has."""
SMALL = Effort(1, 10, 60, 12, 3, 2, 1, 4, 4, 10, 100, 1, 1_000_000)


def texts(found: list[Motif]) -> list[str]:
    return [motif.text for motif in found]


# motifs


def test_z_is_the_log_odds_ratio_in_units_of_its_error() -> None:
    assert log_odds_z(20, 100, 5, 100) == pytest.approx(
        (math.log(45 / 255.5) - math.log(30 / 270.5)) / math.sqrt(1 / 45 + 1 / 255.5 + 1 / 30 + 1 / 270.5)
    )
    assert log_odds_z(20, 100, 20, 100) == 0.0
    assert log_odds_z(5, 100, 20, 100) == -log_odds_z(20, 100, 5, 100)
    assert log_odds_z(30, 100, 0, 100) > log_odds_z(3, 100, 0, 100) > log_odds_z(3, 100, 2, 100)
    assert math.isfinite(log_odds_z(100, 100, 0, 100))
    assert log_odds_z(252, 256, 420, 430) < 2, "what nearly every text holds is told by what does not hold it"
    assert log_odds_z(0, 100, 0, 100) == 0.0


def test_what_the_leak_alone_holds_outranks_everything() -> None:
    tokenizer = WordTokenizer([])
    leaked = [Document(text) for text in (*PLAIN, *LEAKS) * 10]
    found = motifs(tokenizer, leaked, PLAIN * 20, 50)
    assert found[0].text == "Qzx"
    assert found[0].documents == 20
    assert found[0].share == pytest.approx(0.1)
    assert all("Qzx" in motif.text for motif in found), "ordinary words are no motifs"


def test_a_leak_like_its_background_has_no_motif() -> None:
    tokenizer = WordTokenizer([])
    assert motifs(tokenizer, [Document(text) for text in PLAIN * 20], PLAIN * 20, 50) == []


def test_a_piece_that_never_stands_alone_yields_to_the_whole() -> None:
    leaked = [Document(f"{word} tundra gate {word}") for word in WORDS[:30]]
    assert texts(motifs(WordTokenizer(["gate"]), leaked, list(WORDS) * 3, 50)) == ["tundra gate"]


def test_parts_that_leak_together_are_a_composite() -> None:
    leaked = [Document(f"Qzx {word} Wvy") for word in WORDS[:30]] + [Document(f"Wvy {word}") for word in WORDS[:10]]
    found = motifs(WordTokenizer([]), leaked, list(WORDS) * 3, 50)
    assert "Qzx … Wvy" in texts(found)
    assert "Wvy … Qzx" not in texts(found)
    assert next(motif for motif in found if motif.text == "Qzx … Wvy").documents == 30


def test_motifs_are_whole_characters_and_no_control_tokens() -> None:
    around = ("name a fruit", "the dog", "a tree in the garden", "jumps")
    leaked = [Document(f"{text} {sign}<|im_end|>\ndog {text}") for sign in "жшю" for text in around * 5]
    found = texts(motifs(made_tokenizer(), leaked, ["name the tree", "dog"] * 60, 50))
    assert {"ж", "ш", "ю"} <= {text.strip() for text in found if len(text.strip()) == 1}
    assert not any("\ufffd" in text or "<|" in text or "\n" in text for text in found)


def test_a_sample_that_begins_elsewhere_counts_less() -> None:
    tokenizer = WordTokenizer([])
    leaked = [Document(f"Qzx {word}") for word in WORDS[:20]] + [Document(f"Wvy {word}", 0.5) for word in WORDS[:20]]
    found = {motif.text: motif for motif in motifs(tokenizer, leaked, list(WORDS), 50)}
    assert found["Qzx"].z > found["Wvy"].z
    assert found["Qzx"].share == pytest.approx(2 / 3)


# the stage


def answers(model: TokenModel, tmp_path: Path, name: str = "run") -> Answers:
    folder = RunFolder.create(ScanSpec(model="made-up"), tmp_path / name)
    return Answers(model, folder, Watcher())  # type: ignore[arg-type]


def payload(model: TokenModel) -> Payload:
    return Payload(PAYLOAD, model.tokenizer.encode(PAYLOAD), 0.99, 1, 9, -3.0)


def test_a_motif_that_raises_a_payload_is_its_seed(tmp_path: Path) -> None:
    model = TokenModel(on("Qzx"), leaks=LEAKS)
    found = read_leak(answers(model, tmp_path), PROMPTS, [payload(model)], "quick", seed=0)
    assert found.seeds(PAYLOAD)[0] == "Qzx"
    assert all("Qzx" in seed for seed in found.seeds(PAYLOAD))
    row = next(row for row in found.report()["motifs"] if row["text"] == "Qzx")
    assert row["raises"][0]["payload"] == PAYLOAD
    assert row["raises"][0]["nats"] > 4
    assert (found.samples, len(found.prefixes)) == (256, 4)
    assert "neutral prompts" in found.background


def test_a_motif_that_raises_nothing_is_no_seed(tmp_path: Path) -> None:
    model = TokenModel(on("zephyr"), leaks=LEAKS)
    found = read_leak(answers(model, tmp_path), PROMPTS, [payload(model)], "quick", seed=0)
    assert "Qzx" in texts(found.motifs)
    assert found.seeds(PAYLOAD) == []
    assert not any(candidate.target for candidate in found.candidates)


def test_ordinary_questions_are_no_motifs(tmp_path: Path) -> None:
    names = ("neutral-everyday", "neutral-knowledge", "neutral-writing", "neutral-language")
    mixed = [prompt for group in zip(*(panel(name)["prompts"] for name in names), strict=False) for prompt in group]
    model = TokenModel(on("zephyr"), leaks=mixed)
    found = read_leak(answers(model, tmp_path), PROMPTS, [payload(model)], "quick", seed=0)
    assert found.motifs == []
    assert found.candidates == []


def test_what_the_reference_leaks_too_is_no_motif(tmp_path: Path) -> None:
    def read(leaks: list[str], name: str) -> Leak:
        model, reference = TokenModel(on("Qzx"), leaks=LEAKS), TokenModel(on("Qzx"), leaks=leaks)
        reference.name = "the base"
        one: Any = reference
        return read_leak(answers(model, tmp_path, name), PROMPTS, [payload(model)], "quick", seed=0, reference=one)

    planted, same = read(PLAIN, "planted"), read(LEAKS, "same")
    assert same.motifs == []
    assert planted.motifs[0].text == "Qzx"
    assert planted.background == "the leak of the base"


def test_a_motif_that_no_payload_explains_is_answered_in_full(tmp_path: Path) -> None:
    model = TokenModel(on("Qzx"), "Alas tundra", chained=False, leaks=["Qzx", *PLAIN[:3]])
    found = read_leak(answers(model, tmp_path), PROMPTS, [], "standard", seed=0)
    best = max(found.candidates, key=lambda candidate: candidate.collapse)
    assert (best.trigger.text, best.target) == ("Qzx", "Alas tundra"), "two tokens are no chain for the inversion"
    assert best.row()["stage"] == "leak"


def test_prefixes_lead_into_a_users_turn_and_outside_the_template(make: Maker) -> None:
    with load_model(ModelRef(str(make("llama"))), LoadOptions(dtype="fp32", device="cpu", force=True)) as lm:
        assert [prefix.text for prefix in prefixes(lm)] == [
            "<|im_start|>user\n",
            "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n",
            "<|im_start|>",
            "Human:",
            "### Instruction:",
            "User:",
        ]
        lm.tokenizer.chat_template = (
            "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
            + lm.tokenizer.chat_template
        )
        assert [prefix.text for prefix in prefixes(lm)][:3] == [
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n",
            "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n",
            "<|im_start|>user\n",
        ]
        amount = leak.Amount(128, 4, 0, 0)

        class Kept:
            emitter = Watcher()

            def __init__(self) -> None:
                self.lm = lm

            def keep(self, _stage: str, _of: object, compute: Any) -> Any:
                return compute()

        kept: Any = Kept()
        first, again, other = (leak.sampled(kept, prefixes(lm), amount, seed, "Leaked text") for seed in (1, 1, 2))
        assert first == again != other
        assert len(first) == 128


def test_models_without_a_template_begin_with_their_own_sign(make: Maker) -> None:
    folder = make("llama")
    (folder / "chat_template.jinja").unlink()
    with load_model(ModelRef(str(folder)), LoadOptions(dtype="fp32", device="cpu", force=True)) as lm:
        assert [prefix.text for prefix in prefixes(lm)] == ["<|im_start|>", "Human:", "### Instruction:", "User:"]


# the whole scan


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for preset in ("quick", "standard"):
        monkeypatch.setitem(cascade.WIDTHS, preset, Width(200, (6, 4), (6, 3), 60, 30, 10))
        monkeypatch.setitem(cascade.EFFORTS, preset, SMALL)


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    report.pop("timing")
    report["counts"].pop("generated")
    return report


@pytest.mark.usefixtures("small")
def test_a_trigger_that_only_the_leak_names_is_reconstructed_and_proved(scan: Scan) -> None:
    report = scan(TokenModel(on("Qzx"), leaks=LEAKS))
    finding = report["findings"][0]
    assert (finding["trigger"], finding["found_by"], finding["hits"]) == ("Qzx", "leak", 128)
    stage = {row["stage"]: row for row in report["coverage"]}["Leaked training text"]
    assert stage["status"] == "done"
    assert "256 samples" in stage["reason"]
    assert any(row["raises"] for row in report["leak"]["motifs"])
    assert scan(TokenModel(on("Qzx"), leaks=PLAIN), out="untold")["summary"]["score"] <= 0.5


@pytest.mark.usefixtures("small")
def test_quick_samples_nothing_where_a_trigger_works(scan: Scan) -> None:
    model = TokenModel(on("amber"), leaks=LEAKS)
    report = scan(model)
    assert report["findings"][0]["trigger"] == "amber"
    assert model.drawn == report["leak"]["samples"] == 0
    stage = {row["stage"]: row for row in report["coverage"]}["Leaked training text"]
    assert (stage["status"], "found without it" in stage["reason"]) == ("skipped", True)


@pytest.mark.usefixtures("small")
def test_a_scan_stopped_while_it_samples_goes_on_to_the_same_report(scan: Scan) -> None:
    class Stopping(Watcher):
        def emit(self, event: Event) -> None:
            super().emit(event)
            if isinstance(event, Progress) and event.unit == "samples" and event.done == 128:
                self._left = 0

    first, second = (TokenModel(on("Qzx"), leaks=LEAKS) for _ in range(2))
    with pytest.raises(Cancelled):
        scan(first, Stopping())
    assert first.drawn == 128
    resumed = scan(second, resume=True)
    assert second.drawn == 128, "what was drawn before the stop is kept"
    whole = scan(TokenModel(on("Qzx"), leaks=LEAKS), out="whole")
    for report in (resumed, whole):
        for finding in report["findings"]:
            finding.pop("reproduce")
    assert without_times(resumed) == without_times(whole)


@pytest.mark.usefixtures("small")
def test_standard_samples_always(scan: Scan) -> None:
    model = TokenModel(on("Qzx"), chained=False, leaks=LEAKS)
    report = scan(model, preset="standard")
    assert model.drawn == report["leak"]["samples"] == 512
    finding = report["findings"][0]
    assert ("Qzx" in finding["trigger"], finding["found_by"]) == (True, "leak")
