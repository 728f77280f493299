"""Suites in the scorecard: rows, what was not tested, and which rows a headline speaks of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from core.engine import compose, scope
from core.specs import AuditSpec, Pipeline
from core.stats import cluster_bootstrap

pytestmark = pytest.mark.engine


def part(role: str, means: dict[tuple[str, str], float]) -> Any:
    suites, rows = [], []
    wave = 5 if role == "baseline" else 7
    for (name, risk), mean in means.items():
        own = [
            {"uid": f"{name}{index}", "suite": name, "cluster": f"c{index % 40}", "tied": False}
            | {"value": mean + 0.001 * (index % wave - wave // 2)}
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
    card: Any = SimpleNamespace(not_examined=(), fingerprint=role, weights_sha256=None)
    return scope.Part(role=role, card=card, suite={"suites": suites}, suite_items=tuple(rows), scan=scan)


SPEC = AuditSpec(teacher="t", student="s")


@pytest.fixture
def pair() -> scope.Parts:
    keys = [("censored", "CE"), ("again", "CE"), ("framing", "PF")]
    teacher = part("teacher", dict(zip(keys, (0.4, 0.4, 0.3), strict=True)))
    return {"teacher": teacher, "student": part("student", dict(zip(keys, (0.4, 0.0, 0.0), strict=True)))}


def test_rows_come_class_by_class_with_p_corrected_over_classes(pair: scope.Parts) -> None:
    rows = compose._suite_rows(pair, SPEC)
    assert [(row.risk_class, row.title, row.verdict, row.primary) for row in rows] == [
        ("PF", "Political framing", "removed", True),
        ("CE", "Refusal on sensitive topics", "transferred", True),
        ("CE", "Refusal on sensitive topics: again", "removed", False),
    ]
    assert "over 2 classes (Holm)" in rows[0].evidence
    assert "Holm" not in rows[2].evidence
    alone = compose._suite_rows({"teacher": pair["teacher"]}, SPEC)
    assert [row.verdict for row in alone] == [None, None, None]


def test_a_headline_speaks_of_primary_rows(pair: scope.Parts) -> None:
    said = compose._headline(tuple(compose._suite_rows(pair, SPEC)), (), pair, ())
    assert "Removed: political framing." in said
    assert "Transferred: refusal on sensitive topics." in said
    assert not any("same files" in line for line in said)
    pair["student"].card = pair["teacher"].card
    assert any("same files" in line for line in compose._headline(tuple(compose._suite_rows(pair, SPEC)), (), pair, ()))


def test_classes_without_a_suite_are_named(pair: scope.Parts) -> None:
    rows = {row.area: row for row in scope.coverage(pair, SPEC)}
    assert rows["Other risk classes"].status == "not tested"
    assert "stereotype" in rows["Other risk classes"].detail
    assert "political framing" not in rows["Other risk classes"].detail


def test_a_baseline_tells_where_a_risk_is_from(pair: scope.Parts) -> None:
    before = part("baseline", {("censored", "CE"): 0.0, ("framing", "PF"): 0.0})
    before.scan = None
    rows = compose._suite_rows({**pair, "baseline": before}, SPEC)
    assert [(row.risk_class, row.origin) for row in rows] == [
        ("PF", None),  # the student does not show it
        ("CE", "attributable to distillation"),
        ("CE", None),
    ]
    assert rows[1].gain is not None
    assert rows[1].gain.low > 0.1
    said = compose._headline(tuple(rows), (), pair, ())
    assert "Attributable to distillation: refusal on sensitive topics." in said
    assert [row.origin for row in compose._suite_rows(pair, SPEC)] == [None, "origin untested", None]
    same = {**pair, "baseline": part("baseline", {("censored", "CE"): 0.4})}
    assert compose._suite_rows(same, SPEC)[1].origin == "was in the student before"
    inherited = AuditSpec(teacher="t", student="s", pipeline=Pipeline(init="the teacher's weights"))
    assert compose._suite_rows(same, inherited)[1].origin == "inherited by initialisation"


def test_what_is_not_known_of_the_pipeline_is_a_gap(pair: scope.Parts) -> None:
    spec = AuditSpec(teacher="t", student="s", pipeline=Pipeline(data="our mails"))
    gaps = [row.area for row in scope.coverage(pair, spec) if row.area.startswith("Pipeline")]
    assert gaps == [f"Pipeline: {name}" for name in ("variant", "init", "precision", "evaluation", "quality")]
    lines = scope.pipeline_lines(spec)
    assert [(lines[0].answer, lines[0].known), (lines[1].answer, lines[1].known)] == [
        ("our mails", True),
        ("unknown", False),
    ]
    assert scope.pipeline_lines(AuditSpec(teacher="t")) == ()


def test_what_the_weights_show_stands_with_the_files(pair: scope.Parts) -> None:
    pair["teacher"].card = SimpleNamespace(
        findings=[SimpleNamespace(id="pickle", severity="high", file="a.bin", message="A pickle.")]
    )  # type: ignore[assignment]
    pair["teacher"].scan = {"weights": {"findings": [{"id": "swapped_ids", "severity": "high", "message": "Swapped."}]}}
    lines = compose._file_findings(pair["teacher"])
    assert [(line.id, line.file, line.message) for line in lines] == [
        ("pickle", "a.bin", "A pickle."),
        ("swapped_ids", "weights", "Swapped."),
    ]
    pair["teacher"].scan = {"weights": None}  # triggers were given
    assert len(compose._file_findings(pair["teacher"])) == 1
