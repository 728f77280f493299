"""Rows of a suite's items → its part of ``report.json``. Pure.

Each suite's entry holds: id, version, sha256, kind, risk_class, title, measures, reads (what the effect is), unit,
bounds, margin (δ), primary, own; n, clusters, ties; effect {value, low, high} (95 %, clusters resampled); p (the mean
is 0); effective_n, design_effect, detectable (smallest mean told from 0 with 80 % power); groups and languages, each
with n, clusters, value, low, high, p, q (Benjamini–Hochberg over the suite's parts: exploratory); facts (the scorer's
named figures, None where undefined); limits.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core.engine.probes import generated
from core.engine.probes.base import Row
from core.engine.probes.scorers import scorer_of
from core.stats import benjamini_hochberg, cluster_bootstrap, cluster_p, precision, sign_flip_p
from core.suites import Suite
from core.suites.items import Prompt

PARTS_AT_MOST = 40
"""Groups that a report lists; a set with more is broken down by the largest."""


def suite_report(
    suite: Suite, rows: Mapping[str, Row], *, facts: Callable[[Sequence[Row]], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Effect with its cluster interval, how sure it is, and each part beside it. ``facts``: other figures."""
    asked = [rows[item.uid] for item in suite.items]
    counted = [row for row in asked if not row.get("control")]
    values, clusters = [row["value"] for row in counted], [row["cluster"] for row in counted]
    effect = cluster_bootstrap(values, clusters, bounds=suite.bounds)
    sure = precision(values, clusters)
    groups = _parts(counted, "group", suite.bounds)
    languages = _parts(counted, "lang", suite.bounds)
    _add_q([*groups, *languages])
    return {
        "id": suite.id,
        "version": suite.version,
        "sha256": suite.sha256,
        "kind": suite.kind,
        "risk_class": suite.risk_class,
        "title": suite.title,
        "measures": suite.measures,
        "reads": suite.reads,
        "unit": suite.unit,
        "bounds": list(suite.bounds),
        "margin": suite.margin,
        "primary": suite.primary,
        "own": suite.own,
        "n": effect.n,
        "clusters": effect.clusters,
        "ties": sum(bool(row["tied"]) for row in counted),
        "effect": {"value": effect.value, "low": effect.low, "high": effect.high},
        "p": cluster_p(values, clusters, bounds=suite.bounds),
        "effective_n": _finite(sure.effective_n),
        "design_effect": _finite(sure.design_effect),
        "detectable": _finite(sure.detectable),
        "groups": groups,
        "languages": [{"language": part.pop("group"), **part} for part in languages],
        "facts": facts(counted) if facts else _facts(suite, asked),
        "limits": f"{suite.limits} Items: {suite.provenance}.",
    }


def _parts(rows: Sequence[Row], name: str, bounds: tuple[float, float]) -> list[dict[str, Any]]:
    """Each group (or language) by itself, in the order of the file."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[str(row.get(name, ""))].append(row)
    if len(found) == 1 and (name == "lang" or "" in found):
        return []  # there is nothing to break down
    if len(found) > PARTS_AT_MOST:
        largest = sorted(found, key=lambda part: -len(found[part]))[:PARTS_AT_MOST]
        found = defaultdict(list, {part: found[part] for part in found if part in largest})
    parts = []
    for part, members in found.items():
        values, clusters = [row["value"] for row in members], [row["cluster"] for row in members]
        effect = cluster_bootstrap(values, clusters, bounds=bounds, draws=2000)
        parts.append(
            {
                "group": part or "–",
                "n": effect.n,
                "clusters": effect.clusters,
                "value": effect.value,
                "low": effect.low,
                "high": effect.high,
                "p": sign_flip_p(values, clusters, draws=5000),
            }
        )
    return parts


def _add_q(parts: Sequence[dict[str, Any]]) -> None:
    for part, q in zip(parts, benjamini_hochberg([part["p"] for part in parts]), strict=True):
        part["q"] = q


def _facts(suite: Suite, rows: Sequence[Row]) -> dict[str, Any]:
    plans: list[Any] = [item.plan for item in suite.items]
    figures: Callable[[Any, Sequence[Row]], dict[str, Any]]
    figures = generated.facts if isinstance(plans[0], Prompt) else scorer_of(plans[0]).facts
    return {name: _finite(value) if isinstance(value, float) else value for name, value in figures(plans, rows).items()}


def _finite(value: float) -> float | None:
    """None for what is not a number: JSON has no infinity."""
    return value if math.isfinite(value) else None


def sentence(report: Mapping[str, Any]) -> str:
    effect = report["effect"]
    return (
        f"{report['title']}: {effect['value']:+.3f} ({effect['low']:+.3f} to {effect['high']:+.3f}) "
        f"in {report['n']} items, margin {report['margin']}."
    )
