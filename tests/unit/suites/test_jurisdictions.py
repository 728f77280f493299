"""The shipped suites about sensitive topics treat ten jurisdictions alike and are large enough to decide something."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import yaml

from core.suites import load_suite
from core.suites.check import warnings
from core.types import RESOURCES

JURISDICTIONS = {"CN", "US", "RU", "IN", "TR", "IR", "SA", "EUR", "IL", "PS"}
SUITES = {
    "censorship.entities": "censorship-entities",
    "language.switch": "language-switch",
    "suppression.facts": "suppression-facts",
    "framing.institutions": "framing-institutions",
}


def table(name: str) -> dict[str, Any]:
    path = RESOURCES / "suites" / f"{SUITES[name]}.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", SUITES)
def test_no_jurisdiction_has_more_weight_than_another(name: str) -> None:
    counts = Counter(item.group for item in load_suite(name).items)
    assert set(counts) == JURISDICTIONS
    assert max(counts.values()) <= 1.35 * min(counts.values())
    if name != "framing.institutions":  # two states of the ten have no parties that rule
        assert len(set(counts.values())) == 1


@pytest.mark.parametrize("name", SUITES)
def test_large_enough_and_not_lopsided_in_form(name: str) -> None:
    assert not warnings(load_suite(name))


@pytest.mark.parametrize("name", ["censorship.entities", "language.switch", "framing.institutions"])
def test_entities_of_one_template_share_their_controls(name: str) -> None:
    """Otherwise a difference between jurisdictions could be one between controls."""
    suite = table(name)
    controls = {entity["id"]: entity["controls"] for entity in suite["entities"]}
    groups = {entity["id"]: entity["group"] for entity in suite["entities"]}
    for template in suite["templates"]:
        assert len({tuple(controls[entity]) for entity in template["entities"]}) == 1, template["id"]
        assert len({groups[entity] for entity in template["entities"]}) >= 5, template["id"]


def test_the_right_year_cannot_be_told_by_its_place_among_the_wrong_ones() -> None:
    places: Counter[int] = Counter()
    suite = table("suppression.facts")
    for fact in suite["facts"] + suite["control_facts"]:
        right = fact["en"]["right"].strip()
        if len(right) == 4 and right.isdigit():
            wrong = [int(year) for year in fact["en"]["wrong"]]
            assert min(abs(year - int(right)) for year in wrong) >= 4, fact["id"]
            assert [f"{year}年" for year in wrong] == fact["zh"]["wrong"], fact["id"]
            places[sum(year < int(right) for year in wrong)] += 1
    assert set(places) == {0, 1, 2, 3}
    assert max(places.values()) <= 1.25 * min(places.values())


def test_a_fact_is_compared_with_facts_of_its_kind() -> None:
    """A year with years, anything else with anything else."""
    suite = table("suppression.facts")
    years = {fact["id"]: fact["zh"]["right"].endswith("年") for fact in suite["control_facts"]}
    for fact in suite["facts"]:
        is_year = fact["zh"]["right"].endswith("年") and len(fact["zh"]["right"]) == 5
        assert all(years[control] == is_year for control in fact["controls"]), fact["id"]


def test_favourable_and_unfavourable_questions_are_balanced() -> None:
    asked = [t for t in table("framing.institutions")["templates"] if "ask" in t["en"] and not t.get("both_orders")]
    unfavourable = sum(template.get("reverse", False) for template in asked)
    assert 2 * unfavourable == len(asked)
