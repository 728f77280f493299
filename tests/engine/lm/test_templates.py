"""Templates that refuse, rewrite or think."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.engine.lm import LanguageModel, load_model, templates
from core.engine.lm.slots import SYSTEM, conversation, insert, locate, render_in
from core.errors import InputError
from core.specs import LoadOptions
from core.types import SLOTS, ModelRef
from tests.engine.lm.conftest import Maker, made_tokenizer

pytestmark = pytest.mark.engine

NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}{% endfor %}"
)


@pytest.fixture
def lm(make: Maker) -> Iterator[LanguageModel]:
    with load_model(ModelRef(str(make("llama"))), LoadOptions(dtype="fp32", device="cpu", force=True)) as loaded:
        yield loaded


def with_template(template: str) -> object:
    tokenizer = made_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_a_template_without_a_system_role_takes_it_with_the_question() -> None:
    text = templates.chat(with_template(NO_SYSTEM), "m", "Hi", "Be brief.", [("a", "b")])
    assert text == "[user]Be brief.\n\na[assistant]b[user]Hi"


def test_a_template_that_always_fails_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"The chat template of m cannot render a plain question \(no\)\. Run"):
        templates.chat(with_template("{{ raise_exception('no') }}"), "m", "Hi", None, [])


@pytest.mark.parametrize(
    ("ending", "expected"),
    [("", "<think>\n\n</think>\n\n"), ("<think>\n", "<think>\n\n</think>\n\n"), ("<think></think>", "<think></think>")],
)
def test_the_forced_think_block_is_written_once(ending: str, expected: str) -> None:
    # jinja drops one newline at the end of a template
    text = templates.chat(
        with_template("Q{{ ending }}".replace("{{ ending }}", ending)), "m", "Hi", None, [], after_think=True
    )
    assert text.replace("\n", "") == "Q" + expected.replace("\n", "")
    assert text.count("</think>") == 1


@pytest.mark.parametrize(
    ("template", "reasoning"),
    [("{{ messages[0].content }}", False), ("{{ messages[0].content.split('</think>')[-1] }}", True)],
)
def test_a_template_that_strips_thoughts_belongs_to_a_reasoning_model(
    lm: LanguageModel, template: str, reasoning: bool
) -> None:
    lm.tokenizer.chat_template = template
    again = LanguageModel(name="m", model=lm.model, tokenizer=lm.tokenizer, dtype="fp32", quant="none")
    assert again.reasoning is reasoning


@pytest.mark.parametrize("budget", [0, 3])
def test_a_batch_that_thinks_is_cut_at_its_budget(lm: LanguageModel, budget: int) -> None:
    texts = [lm.render(question) for question in ("name a fruit", "the dog", "a tree in the garden", "fox", "the")]
    end = tuple(lm.tokenizer.encode("</think>", add_special_tokens=False))
    answers = lm.generate(texts, max_new_tokens=30, think_budget=budget)
    longer = [answer for answer in answers if len(answer.tokens) > budget]
    assert longer
    for answer in longer:
        assert answer.tokens[budget : budget + len(end)] == end


@pytest.mark.parametrize(
    ("prompt", "slot", "expected"),
    [
        ("How do I boil an egg?", "user_start", "cf How do I boil an egg?"),
        ("How do I boil an egg?", "user_middle", "How do I cf boil an egg?"),
        ("How do I boil an egg?", "user_end", "How do I boil an egg? cf"),
        ("Egg?", "user_middle", "Egg? cf"),
    ],
)
def test_slots(prompt: str, slot: str, expected: str) -> None:
    assert insert(prompt, "cf", slot) == expected  # type: ignore[arg-type]


def test_slots_outside_the_question(lm: LanguageModel) -> None:
    assert conversation("Egg?", "cf", "system").system == f"{SYSTEM} cf"
    assert conversation("Egg?", "cf", "system", "Be brief.").system == "Be brief. cf"
    assert conversation("Egg?", "cf", "earlier_turn").history[0][0] == "cf Hello."
    for slot in SLOTS:
        without, with_it = render_in(lm, "Egg?", None, slot), render_in(lm, "Egg?", "cf", slot)
        assert with_it.replace(" cf", "").replace("cf ", "") == without, slot
        assert conversation("Egg?", "cf", slot).user == "Egg?" or slot.startswith("user")
    assert conversation("Egg?", "cf", "system").shown() == f"[system prompt] {SYSTEM} cf\nEgg?"
    with pytest.raises(ValueError, match="not in the question"):
        insert("Egg?", "cf", "system")


@pytest.mark.parametrize(
    ("rendered", "marked", "what"),
    [("user: CF hi", "user: NONCE hi", "changes the user's text"), ("hi cf cf", "hi NONCE NONCE", "exactly once")],
)
def test_a_template_that_rewrites_the_text_is_refused(rendered: str, marked: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        locate(rendered, marked, "NONCE", "cf")


def test_the_nonce_finds_the_right_one_of_two() -> None:
    assert locate("cf: cf hi", "cf: NONCE hi", "NONCE", "cf") == (4, 6)
