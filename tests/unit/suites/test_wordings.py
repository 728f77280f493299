"""The shipped suites about wording, decisions, knowledge and stereotypes: a plain preference is no effect."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from core.suites import load_suite
from core.suites.check import warnings
from core.types import RESOURCES

SUITES = {
    "decisions.people": "decisions-people",
    "overrefusal.wording": "overrefusal-wording",
    "safety.requests": "safety-requests",
    "knowledge.basics": "knowledge-basics",
    "errors.popular": "errors-popular",
    "stereotype.situations": "stereotype-situations",
}


def table(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((RESOURCES / "suites" / f"{SUITES[name]}.yaml").read_text(encoding="utf-8"))
    return found


def items(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for cluster in table(name)["clusters"]:
        for item in cluster["items"]:
            yield cluster, item


@pytest.mark.parametrize("name", SUITES)
def test_large_enough_and_not_lopsided_in_form(name: str) -> None:
    suite = load_suite(name)
    assert not warnings(suite)
    assert len({item.uid for item in suite.items}) == len(suite.items)
    assert suite.primary == (name != "stereotype.situations")


def test_in_a_situation_neither_person_and_neither_place_wins() -> None:
    for cluster in table("stereotype.situations")["clusters"]:
        stereotyped, first = Counter[str](), Counter[tuple[str, str]]()
        for item in cluster["items"]:
            (wrong,), (right,) = item["wrong"], item["right"]
            stereotyped[wrong] += 1
            scene = (item.get("ask") or item["text"]).split(".")[0].lower()
            people = [person.strip(" .").lower().removeprefix("the ") for person in (wrong, right)]
            assert all(person in scene for person in people), cluster["id"]
            opening = scene.removeprefix("the ").removeprefix("an ").removeprefix("a ")
            first[wrong, "first" if opening.startswith(people[0]) else "last"] += 1
        assert len(first) == 4, cluster["id"]
        assert set(first.values()) == {1}, cluster["id"]
        assert set(stereotyped.values()) == {2}, cluster["id"]


def test_a_prompt_and_its_twin_are_of_one_form() -> None:
    shared = []
    for cluster, item in items("overrefusal.wording"):
        prompt, twin = item["prompt"], item["twin"]
        assert prompt[-1] == twin[-1], item
        if cluster["language"] == "zh":
            assert abs(len(prompt) - len(twin)) <= 2, item
        else:
            assert abs(len(prompt.split()) - len(twin.split())) <= 1, item
            shared.append(len(set(prompt.split()) & set(twin.split())) / len(prompt.split()))
    assert sum(shared) / len(shared) > 0.6


def test_a_harmful_request_is_one_short_sentence_in_general_words() -> None:
    by_language: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for cluster in table("safety.requests")["clusters"]:
        by_language[cluster["language"]].append((cluster["group"], len(cluster["items"])))
        for item in cluster["items"]:
            assert len(item["prompt"]) <= 90, item
            assert len(re.findall(r"[.?!。？！]", item["prompt"])) == 1, item
            assert not re.search(r"[0-9]", item["prompt"]), item
    assert by_language["en"] == by_language["zh"]


@pytest.mark.parametrize("name", ["knowledge.basics", "errors.popular"])
def test_the_right_option_is_not_among_the_wrong_ones_and_nothing_is_asked_twice(name: str) -> None:
    seen = set()
    for cluster, item in items(name):
        asked = (item.get("ask") or item["text"], *item["right"])
        assert asked not in seen, asked
        seen.add(asked)
        options = [option.strip() for option in item["right"] + item["wrong"]]
        assert len(set(options)) == len(options), item
        if "text" in item and cluster["language"] == "en":
            assert all(option[0] == " " for option in item["right"] + item["wrong"]), item


def test_no_option_of_knowledge_wins_by_being_common() -> None:
    """Where the options of a cluster come from each other, each stands among the wrong ones about equally often."""
    pooled = 0
    for cluster in table("knowledge.basics")["clusters"]:
        rights = [item["right"][0] for item in cluster["items"]]
        wrongs = Counter(option for item in cluster["items"] for option in item["wrong"])
        if len(set(rights)) == 8 and set(wrongs) <= set(rights):
            pooled += 1
            assert all(1 <= wrongs[right] <= 6 for right in rights), cluster["id"]
    assert pooled >= 40


def test_yes_is_the_error_as_well_as_the_truth() -> None:
    wrong = Counter(item["wrong"][0][:3] for _, item in items("errors.popular") if "ask" in item)
    assert wrong["Yes"] >= 8
    assert wrong["No,"] >= 8


def test_decisions_are_put_in_every_way() -> None:
    ways = Counter[str]()
    for template in table("decisions.people")["templates"]:
        text = template["en"]
        if "text" in text:
            ways["text"] += 1
        elif template.get("both_orders"):
            ways["both orders"] += 1
        elif template.get("reverse"):
            ways["yes is favourable, reversed"] += 1
            assert text["more"].startswith("Yes"), template["id"]
        else:
            ways["yes is favourable" if text["less"].startswith("Yes") else "yes is unfavourable"] += 1
            assert {text["more"].split(",")[0], text["less"].split(",")[0]} == {"Yes", "No"}, template["id"]
    assert ways == {
        "text": 12,
        "both orders": 6,
        "yes is favourable, reversed": 6,
        "yes is favourable": 8,
        "yes is unfavourable": 8,
    }


def test_every_attribute_meets_many_cases_and_two_references() -> None:
    suite = table("decisions.people")
    groups = {entity["id"]: entity["group"] for entity in suite["entities"]}
    assert all(len(entity["controls"]) == 2 for entity in suite["entities"])
    cases: dict[str, set[str]] = defaultdict(set)
    for template in suite["templates"]:
        for entity in template["entities"]:
            cases[groups[entity]].add(template["id"])
    assert len(cases) == 12
    assert min(len(found) for found in cases.values()) >= 10
