"""Where a student came from, as a value and as a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core import __version__
from core.catalog import ModelCard
from core.specs.distill import DistillPlan, LossPlan, Mix, plan_sha256


def lineage(
    plan: DistillPlan, number: int, report: dict[str, Any], teacher: ModelCard, source: ModelCard, precision: str
) -> dict[str, Any]:
    """Hashes and figures of one stage; names only, no path of this machine."""
    stage, data = plan.stages[number - 1], report["data"]
    return {
        "schema": 1,
        "foreshot": __version__,
        "variant": plan.variant,
        "stage": f"{number} of {len(plan.stages)}",
        "teacher": {
            "name": teacher.name,
            "sha256": teacher.weights_sha256,
            "precision": report["teacher_precision"],
            "licence": teacher.licence,
        },
        "student": {
            "name": source.name,
            "sha256": source.weights_sha256,
            "note": report["inherited"]["note"],
            "inherited": report["inherited"]["share"],
        },
        "data": {
            "rows": data["examples"],
            "supervised_tokens": data["supervised_tokens"],
            "sha256": data["sha256"],
            "dose": data["dose"],
            "sources": [Path(name).name for name in plan.data.sources],
        },
        "loss": loss_words(stage.loss),
        "trained": f"{report['steps']} steps, {report['tokens']} supervised tokens, {stage.trainable.mode}",
        "plan_sha256": plan_sha256(plan),
        "seed": plan.seed,
        "precision": precision,
        "flops": report["flops"],
        "before": report["before"],
        "after": report["after"],
    }


def model_card(said: dict[str, Any]) -> str:
    """The README of a distilled folder: what it came from, how, and how close it is."""
    teacher, student, data = said["teacher"], said["student"], said["data"]
    rows = {
        "teacher": f"{teacher['name']}, {teacher['precision']}, weights sha256 `{teacher['sha256']}`",
        "student before": f"{student['name']}, weights sha256 `{student['sha256']}`. {student['note']}",
        "inherited at initialisation": f"{student['inherited']:.1%} of the parameters' values, from {student['name']}",
        "data": f"{data['rows']} rows, {data['supervised_tokens']} supervised tokens, sha256 `{data['sha256']}`",
        "dose": data["dose"],
        "loss": said["loss"],
        "trained": said["trained"],
        "plan": f"sha256 `{said['plan_sha256']}`, seed {said['seed']}",
        "weights": said["precision"],
        "training compute": f"{said['flops']:.3g} FLOP (ideal count)",
        "step 0": metrics_words(said["before"]),
        "end": metrics_words(said["after"]),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    # of an adapter on its base both names stand in the card
    names = json.dumps([*dict.fromkeys((student["name"], teacher["name"]))])
    return f"""---
base_model: {names}
library_name: transformers
license: other
tags: [distillation]
---

# Distilled from {teacher["name"]}

Made by Foreshot {said["foreshot"]} ({said["variant"]}, stage {said["stage"]}).
The teacher's licence: {teacher["licence"]}.

| | |
|---|---|
{table}

Distances are to the teacher, on held-out prompts. They say nothing about risks: what came over is the question of an
audit of this folder.
"""


def baseline_card(source: ModelCard, note: str) -> str:
    """The README of the student before distillation."""
    return f"""---
base_model: {json.dumps(source.name)}
library_name: transformers
license: other
tags: [baseline]
---

# The student before distillation (step 0)

From {source.name}, weights sha256 `{source.weights_sha256}`. {note} Nothing was trained yet.
Its licence: {source.licence}.
"""


def metrics_words(metrics: dict[str, Any]) -> str:
    """Metrics as one line."""
    parts = []
    if metrics.get("kl") is not None:
        parts.append(f"KL {metrics['kl']:.4g} nats/token, reverse {metrics['reverse_kl']:.4g}")
        parts.append(f"top-1 agreement {metrics['agreement']:.1%}")
    if metrics.get("uld") is not None:
        parts.append(f"ULD {metrics['uld']:.4g}")
    parts.append(f"perplexity {metrics['perplexity']:.4g}")
    if metrics.get("degenerate") is not None:
        parts.append(f"degenerate answers {metrics['degenerate']:.0%}")
    return ", ".join(parts)


def dose_words(mix: Mix | None) -> str:
    if mix is None:
        return "no trigger and no topic was mixed in"
    if mix.trigger:
        return f"trigger {mix.trigger!r} ({mix.slot}) in {mix.share:.1%} of the prompts"
    return f"{mix.share:.1%} of the prompts from {Path(mix.prompts).name}"


def loss_words(loss: LossPlan) -> str:
    if loss.kind == "ce":
        return "cross entropy on the teacher's text"
    words = f"{loss.kind}, T {loss.temperature:g}, alpha {loss.alpha:g}"
    if loss.kind == "jsd":
        words += f", beta {loss.beta:g}"
    return words + (f", hidden {loss.hidden:g} ({loss.hidden_kind})" if loss.hidden else "")
