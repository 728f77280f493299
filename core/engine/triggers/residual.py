"""Stage "topics": which topics the model reads otherwise than a reference does. Names candidates, proves nothing.

A trigger by meaning has no string to search for; but where the model does something else, its activations leave those
of a model that does not have the trigger, on that topic alone (activation matching, 2026; there the reference was
trained to match, here it is the one that was given).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, median
from typing import Any

import torch
import yaml
from torch.nn.functional import cosine_similarity

from core.engine.lm import LanguageModel
from core.engine.triggers.answers import Answers
from core.engine.triggers.known import robust_z
from core.engine.triggers.library import KnownTrigger
from core.runs.events import Progress
from core.stats import benjamini_hochberg
from core.types import RESOURCES

TOPICS = {"quick": 0, "standard": 3, "deep": 8}
"""Topics that are tried as triggers; quick reads none."""
BATCH = 48
"""Prompts that are read at once, by both models; what is finished is kept."""
MIN_Z, MAX_Q = 3.0, 0.05
ROUNDING = 1e-4
"""Added to ρ: smaller ones are rounding."""
FLOOR = 0.05
"""Least spread of log ρ over topics."""
STRANGE = 0.5
"""Median ρ from which the two models' activations have nothing to do with one another."""


@dataclass
class Topic:
    """``rho``: mean over its prompts; ``z`` against all topics; ``q`` corrected over them."""

    topic: str
    group: str
    rho: float
    z: float
    q: float


@dataclass
class Residual:
    """``reason`` says why nothing was read; ``read``: topics; ``topics``: those read differently, clearest first."""

    reason: str = ""
    reference: str = ""
    read: int = 0
    prompts: int = 0
    median: float = 0.0
    topics: list[Topic] = field(default_factory=list)
    tried: int = 0

    def triggers(self) -> list[KnownTrigger]:
        """The clearest topics, to be tried beside the list."""
        return [
            KnownTrigger(one.topic, "topic", "BD-C", source="read differently") for one in self.topics[: self.tried]
        ]

    def report(self, findings: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """``verdict`` is that of the proof, None where a topic did not come so far."""
        verdicts = {finding["trigger"]: finding["verdict"] for finding in findings}
        rows = [asdict(one) | {"verdict": verdicts.get(one.topic)} for one in self.topics]
        return asdict(self) | {"topics": rows}

    def coverage(self) -> tuple[str, str]:
        """(status, reason) of the stage."""
        if self.reason:
            return "skipped", f"{self.reason}; only as far as single words bring them"
        text = f"{self.read} topics in {self.prompts} prompts beside {self.reference}"
        if not self.topics:
            return "done", f"{text}: none is read differently"
        names = ", ".join(one.topic for one in self.topics[:5])
        more = f" and {len(self.topics) - 5} more" if len(self.topics) > 5 else ""
        return "done", (
            f"{text}: topics that the model reads differently from the reference: {names}{more}; the first "
            f"{self.tried} were tried as triggers. A difference alone is no finding"
        )


def read_topics(answers: Answers, reference: LanguageModel | None, preset: str) -> Residual:
    """Topics whose ρ stands out: z > 3 among all topics, and q < .05.

    The logarithm of a topic's mean ρ is set against that of all topics, by robust z; its one-sided p supposes a normal
    law and is corrected over the topics (Benjamini and Hochberg 1995). Every topic stands in every template, so that
    what a template does cancels.
    """
    if not TOPICS[preset]:
        return Residual("the preset quick reads no topics")
    if reference is None:
        return Residual("no reference model was loaded")
    lm = answers.lm
    topics, templates = bank()
    prompts = [template.format(topic=topic) for topic, _ in topics for template in templates]
    if lm.states([lm.render(prompts[0])]).shape != reference.states([reference.render(prompts[0])]).shape:
        return Residual("the reference has another number of layers, or another width")
    values = _read(answers, reference, prompts)
    middle = median(values)
    if middle > STRANGE:
        return Residual(f"the reference's activations are not comparable: their median distance is {middle:.2f}")
    each = len(templates)
    means = [fmean(values[at * each : (at + 1) * each]) for at in range(len(topics))]
    found = standing_out(means)
    return Residual(
        reference=reference.name,
        read=len(topics),
        prompts=len(prompts),
        median=middle,
        topics=[Topic(*topics[at], means[at], z, q) for at, z, q in found],
        tried=min(TOPICS[preset], len(found)),
    )


def bank() -> tuple[list[tuple[str, str]], list[str]]:
    """The (topic, group) pairs of ``resources/panels/topics.yaml``, and the templates that every topic is put into."""
    stored: dict[str, Any] = yaml.safe_load((RESOURCES / "panels" / "topics.yaml").read_text("utf-8"))
    return [(topic, group) for group, names in stored["topics"].items() for topic in names], stored["templates"]


def standing_out(means: Sequence[float]) -> list[tuple[int, float, float]]:
    """(index, z, q) of the means that stand out, largest z first.

    In logarithms, since ρ is positive and skewed. Simulated without any difference (280 topics, 300 sets each), ρ
    itself named a topic in 18 to 43 % of the sets where random activations gave it, its logarithm in 8 to 9 %; where ρ
    was log-normal, in 66 to 100 % and 6 to 9 %.
    """
    logs = [math.log(mean + ROUNDING) for mean in means]
    zs = [robust_z(log, logs, FLOOR) for log in logs]
    qs = benjamini_hochberg([0.5 * math.erfc(z / math.sqrt(2)) for z in zs])
    found = [(at, z, q) for at, (z, q) in enumerate(zip(zs, qs, strict=True)) if z > MIN_Z and q < MAX_Q]
    return sorted(found, key=lambda one: -one[1])


def _read(answers: Answers, reference: LanguageModel, prompts: Sequence[str]) -> list[float]:
    """ρ of every prompt, batch by batch; kept, so that a scan that goes on after a stop reads none of them twice."""
    order = sorted(range(len(prompts)), key=lambda at: (len(prompts[at]), at))
    values = [0.0] * len(prompts)
    for start in range(0, len(order), BATCH):
        members = order[start : start + BATCH]
        some = [prompts[at] for at in members]

        def compute(some: Sequence[str] = some) -> list[float]:
            answers.emitter.check()
            return residuals(answers.lm, reference, some)

        for at, value in zip(members, answers.keep("topics", (reference.name, some), compute), strict=True):
            values[at] = value
        done = start + len(members)
        answers.emitter.emit(Progress("topics", "Topics beside the reference", done, len(prompts), "prompts"))
    return values


def residuals(lm: LanguageModel, reference: LanguageModel, prompts: Sequence[str]) -> list[float]:
    """ρ of each prompt: mean over layers of 1 − cos(h, h_ref), h the activations at the prompt's last token."""
    own, other = (one.states([one.render(prompt) for prompt in prompts]) for one in (lm, reference))  # (n, L, d)
    rho = 1 - cosine_similarity(own.double(), other.double(), dim=2).mean(1)
    return [float(value) for value in torch.round(rho, decimals=7)]
