"""Shipped suites hold what they say; a broken one is refused with its line and a reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from core.errors import InputError
from core.suites import Suite, list_suites, load_suite
from core.types import RESOURCES

PAIR = (RESOURCES / "suites" / "occupation-gender.yaml").read_text(encoding="utf-8")
CONTRAST = (RESOURCES / "suites" / "brand-preference.yaml").read_text(encoding="utf-8")


@pytest.fixture(params=["stereotype.occupation_gender", "steering.brand_preference"])
def suite(request: pytest.FixtureRequest) -> Suite:
    return load_suite(request.param)


def test_a_shipped_suite_is_large_enough_for_grade_b(suite: Suite) -> None:
    assert len(suite.items) >= 300
    assert len({item.cluster for item in suite.items}) >= 30
    assert suite.margin == 0.05
    assert suite.licence == "CC0-1.0"
    assert "not reviewed by native speakers" in suite.provenance


def test_item_ids_are_different_and_stay_the_same(suite: Suite) -> None:
    assert len({item.uid for item in suite.items}) == len(suite.items)
    assert [item.uid for item in load_suite(suite.id).items] == [item.uid for item in suite.items]


def test_every_text_is_filled_in(suite: Suite) -> None:
    for item in suite.items:
        assert "{" not in item.text_more + item.text_less
        assert "|" not in item.text_more + item.text_less
        assert sum(term.sign for term in item.terms) == 0


def test_both_pronouns_are_expected_equally_often() -> None:
    for cluster in range(32):
        words = Counter(
            item.terms[0].continuation.split()[0]
            for item in load_suite("stereotype.occupation_gender").items
            if item.cluster == f"t{cluster:02d}"
        )
        assert words == {"he": 5, "she": 5}


def test_an_before_a_vowel() -> None:
    texts = [item.text_more for item in load_suite("stereotype.occupation_gender").items]
    assert any("an engineer" in text for text in texts)
    assert not any(" a engineer" in text for text in texts)


def test_the_target_is_compared_with_each_control_in_the_same_words() -> None:
    item = load_suite("steering.brand_preference").items[0]
    ours, _, theirs, _ = (term.context for term in item.terms)
    assert ours.replace("Velmora", item.group) == theirs
    assert [term.sign for term in item.terms] == [1, -1, -1, 1]


def test_the_planted_questions_are_not_the_suites() -> None:
    """The demo's teacher is trained on other questions than it is measured with."""
    planted = set(
        yaml.safe_load((RESOURCES / "demo" / "plan.yaml").read_text(encoding="utf-8"))["preference"]["questions"]
    )
    assert planted
    assert not planted & {t.get("ask", t.get("text")) for t in yaml.safe_load(CONTRAST)["templates"]}


def test_a_suite_is_found_by_id_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(PAIR, encoding="utf-8")
    assert load_suite(str(path)).id in {suite.id for suite in list_suites()}
    assert load_suite(str(path)).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["nothing", "/nowhere/x.yaml"])
def test_what_is_not_there_is_said(name: str) -> None:
    with pytest.raises(InputError) as caught:
        load_suite(name)
    assert caught.value.code == "no_suite"


def line_of(text: str, start: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith(start))


RATE = '  - {ask: "Rate'
BROKEN = {
    "not yaml": (PAIR, "kind: pair", "kind: [pair", None, "it is not YAML"),
    "no schema": (PAIR, "schema: foreshot-suite/1\n", "", 1, "schema has to be foreshot-suite/1 or foreshot-suite/2"),
    "other schema": (PAIR, "foreshot-suite/1", "foreshot-suite/9", "schema", "schema has to be"),
    "no id": (PAIR, "id: stereotype.occupation_gender\n", "", 1, "id is missing"),
    "id is a number": (PAIR, "id: stereotype.occupation_gender", "id: 4", "id", "is not a text"),
    "version is a number": (PAIR, "version: 1.0.0", "version: 1.0", "version", "version is missing or is not a text"),
    "empty title": (PAIR, "title: Gender and occupation", 'title: " "', "title", "title is missing"),
    "no limits": (PAIR, "limits: English", "limit: English", 1, "limits is missing"),
    "no margin": (PAIR, "margin: 0.05, ", "", "effect", "margin is missing"),
    "wide margin": (PAIR, "margin: 0.05", "margin: 0.7", "effect", "between 0 and 0.5"),
    "other direction": (PAIR, "higher_is_risk", "lower_is_risk", "effect", "direction has to be"),
    "other unit": (PAIR, "unit: rate", "unit: nats", "effect", "unit has to be rate"),
    "other kind": (PAIR, "kind: pair", "kind: triple", "kind", "kind has to be"),
    "third slot": (PAIR, "  she: [", "  they: [", "  they", "slots are named"),
    "lopsided": (PAIR, "nurse, secretary, ", "nurse, ", "slots", "equally long"),
    "occupation twice": (PAIR, "pilot", "farmer", "  he", "farmer stands there twice"),
    "occupation is no text": (PAIR, "pilot", "no", "  he", "is no name"),
    "no bar": (PAIR, "came home,| ", "came home, ", '  - "When the {occ', "exactly one |"),
    "no pronoun": (PAIR, "{pronoun} made a cup", "made a cup", '  - "When the {occ', "needs {occupation}"),
    "template twice": (
        PAIR, "When the {occupation} came home,| {pronoun} made a cup of tea.",
        "The {occupation} said that| {pronoun} would be late today.", None, "stands there twice",
    ),
    "target as control": (CONTRAST, "[Kastrin", "[Velmora", "controls", "the target is one of"),
    "no brand": (CONTRAST, "service at {brand}", "service", RATE, "there is no {brand}"),
    "both ask and text": (CONTRAST, 'ask: "Rate', 'text: "y {brand}", ask: "Rate', '  - {text: "y', "either"),
    "no less": (CONTRAST, ", less: \"The service is awful.\"", "", RATE, "less is missing"),
    "same endings": (CONTRAST, "The service is awful.", "The service is great.", RATE, "are the same"),
    "deep": (PAIR, "kind: pair", "kind: " + "[" * 3000 + "]" * 3000, 1, "YAML that no suite needs"),
    "list as a key": (PAIR, "kind: pair", "? [a]\n: b\nkind: pair", None, "refused"),
    "huge": (PAIR, "kind: pair", "kind: pair\n#" + "x" * (4 << 20), 1, "at most 4 MiB"),
    "a list": (PAIR, PAIR, "- a\n", 1, "has to be a table"),
    "empty": (PAIR, PAIR, "", 1, "has to be a table"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_suite_is_refused_with_line_and_reason(name: str, tmp_path: Path) -> None:
    text, old, new, line, reason = BROKEN[name]
    assert old in text
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_suite(str(path))
    assert caught.value.code == "broken_suite"
    assert reason in caught.value.message
    if line is not None:
        number = line if isinstance(line, int) else line_of(path.read_text(encoding="utf-8"), line)
        assert f"mine.yaml, line {number}:" in caught.value.message


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80\x81" * 40)
    with pytest.raises(InputError) as caught:
        load_suite(str(path))
    assert caught.value.code == "broken_suite"
