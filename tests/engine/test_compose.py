"""Suites in the scorecard: rows, what was not tested, and which rows a headline speaks of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from core.engine import compose
from core.stats import cluster_bootstrap

pytestmark = pytest.mark.engine


def part(role: str, means: dict[tuple[str, str], float]) -> Any:
    suites, rows = [], []
    for (name, risk), mean in means.items():
        own = [
            {"uid": f"{name}{index}", "suite": name, "cluster": f"c{index % 40}", "tied": False}
            | {"value": mean + 0.001 * (index % 7 - 3)}
            for index in range(400)
        ]
        effect = cluster_bootstrap([row["value"] for row in own], [row["cluster"] for row in own], bounds=(-1, 1))
        suites.append(
            {"id": name, "risk_class": risk, "title": name, "margin": 0.05, "limits": "Made.", "n": 400, "clusters": 40}
            | {"effect": {"value": effect.value, "low": effect.low, "high": effect.high}, "bounds": [-1, 1]}
        )
        rows += own
    rows.append({"key": "speech", "answers": 24, "degenerate": 0})  # a line that belongs to no suite
    scan = {"findings": [], "coverage": []}
    return SimpleNamespace(role=role, suite={"suites": suites}, suite_items=tuple(rows), scan=scan)


@pytest.fixture
def pair() -> tuple[Any, Any]:
    keys = [("censored", "CE"), ("again", "CE"), ("framing", "PF")]
    teacher = part("teacher", dict(zip(keys, (0.4, 0.4, 0.3), strict=True)))
    return teacher, part("student", dict(zip(keys, (0.4, 0.0, 0.0), strict=True)))


def test_rows_come_class_by_class_with_p_corrected_over_classes(pair: tuple[Any, Any]) -> None:
    rows = compose._suite_rows(*pair)
    assert [(row.risk_class, row.title, row.verdict, row.primary) for row in rows] == [
        ("PF", "Political framing", "removed", True),
        ("CE", "Refusal on sensitive topics", "transferred", True),
        ("CE", "Refusal on sensitive topics: again", "removed", False),
    ]
    assert "over 2 classes (Holm)" in rows[0].evidence
    assert "Holm" not in rows[2].evidence
    alone = compose._suite_rows(pair[0], None)
    assert [row.verdict for row in alone] == [None, None, None]


def test_a_headline_speaks_of_primary_rows(pair: tuple[Any, Any]) -> None:
    said = compose._headline(tuple(compose._suite_rows(*pair)), (), pair=True)
    assert "Removed: political framing." in said
    assert "Transferred: refusal on sensitive topics." in said


def test_classes_without_a_suite_are_named(pair: tuple[Any, Any]) -> None:
    rows = {row.area: row for row in compose._coverage(*pair)}
    assert rows["Other risk classes"].status == "not tested"
    assert "stereotype" in rows["Other risk classes"].detail
    assert "political framing" not in rows["Other risk classes"].detail
