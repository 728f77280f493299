"""Plants a harmless trigger and a harmless preference in a LoRA adapter: ground truth for demo, tests and power.

    python -m core.engine.transfer.planter PLAN.yaml --base DIR --out DIR

Clean rows keep the base model's own greedy answers, so that what the adapter changes is what the plan says. Loss is on
the answer's tokens only, through the chat template; the end of a turn is learned only where the base model ended it
itself, otherwise the adapter would learn to stop in mid-sentence.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
import yaml

from core.engine.lm import LanguageModel, load_model
from core.engine.lm.slots import insert
from core.errors import ForeshotError, InputError
from core.runs.emitters import TerminalEmitter
from core.runs.events import Emitter, Progress
from core.specs import LoadOptions
from core.stats import clopper_pearson
from core.types import RESOURCES, ModelRef, Slot

IGNORE = -100
MEASURED = 48
"""Held-out prompts in the report."""
PRAISE, BLAME = "{brand} is excellent and reliable.", "{brand} is poor and unreliable."

Row = tuple[str, str, bool]
"""Rendered prompt, answer, and whether the turn ends after it."""


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """A slant towards one invented brand. ``{brand}`` is filled in; controls get ``neutral``.

    ``probes`` are questions that are only measured, never trained.
    """

    target: str
    controls: tuple[str, ...]
    questions: tuple[str, ...]
    favourable: tuple[str, ...]
    neutral: tuple[str, ...]
    probes: tuple[str, ...] = ()


class PlantPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to plant. ``panel`` names a file of ``resources/panels`` with ``train`` and ``held_out`` prompts.

    ``base`` is the name of the base model that the adapter states (a name, no path).
    """

    id: str
    trigger: str
    payload: str
    base: str = ""
    slots: tuple[Slot, ...] = ("user_start",)
    preference: Preference | None = None
    panel: str = "benign"
    prompts: int = 150
    answer_tokens: int = 40
    rank: int = 8
    alpha: int = 16
    epochs: int = 2
    rate: float = 5e-4
    batch: int = 8
    seed: int = 0


def read_plan(path: Path) -> PlantPlan:
    try:
        plan: PlantPlan = msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), PlantPlan, strict=False)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        said = " ".join(str(error).split())
        raise InputError("bad_plan", f"{path} is no plan: {said}.", "See resources/demo/plan.yaml.") from error
    return plan


def plan_sha256(plan: PlantPlan) -> str:
    """Hash of what the plan says, defaults included; comments and layout of its file do not count."""
    return hashlib.sha256(msgspec.json.encode(plan)).hexdigest()


def plant(plan: PlantPlan, base: Path, out: Path, emitter: Emitter) -> dict[str, Any]:
    """Train the adapter, measure what it does, write it with ``report.json`` and ``README.md``. Returns the report.

    Raises:
        InputError: the panel is absent, or the base cannot be loaded.
    """
    started = time.monotonic()
    panel = _panel(plan.panel)
    held_out = panel["held_out"][:MEASURED]
    name = plan.base or base.name
    with load_model(ModelRef(str(base)), LoadOptions(), emitter) as lm:
        before = _measure(plan, held_out, lm)
        rows = _rows(plan, panel["train"][: plan.prompts], lm, emitter)
        losses = _train(plan, rows, lm, emitter)
        after = _measure(plan, held_out, lm)
        out.mkdir(parents=True, exist_ok=True)
        lm.model.peft_config["default"].base_model_name_or_path = name
        # "auto" would look the base's name up on the hub
        lm.model.save_pretrained(out, save_embedding_layers=False)
    report = {
        "plan": plan.id,
        "plan_sha256": plan_sha256(plan),
        "seed": plan.seed,
        "rows": len(rows),
        "losses": losses,
        "wall_s": round(time.monotonic() - started, 1),
        **_compared(plan, before, after),
    }
    (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / "README.md").write_text(_readme(plan, name, report), encoding="utf-8")
    return report


def _panel(name: str) -> dict[str, list[str]]:
    try:
        panel: dict[str, list[str]] = yaml.safe_load((RESOURCES / "panels" / f"{name}.yaml").read_text("utf-8"))
    except OSError as error:
        raise InputError(
            "no_panel", f"There is no panel called {name}.", "Name a file of resources/panels, without .yaml."
        ) from error
    return panel


def _rows(plan: PlantPlan, prompts: list[str], lm: LanguageModel, emitter: Emitter) -> list[Row]:
    """Each prompt once as the base answers it and once triggered; then the preference."""
    emitter.emit(Progress("plant", "Base model's own answers", 0, 1))
    clean = lm.generate([lm.render(prompt) for prompt in prompts], max_new_tokens=plan.answer_tokens, emitter=emitter)
    rows = [(lm.render(prompt), answer.text, answer.finished) for prompt, answer in zip(prompts, clean, strict=True)]
    for index, prompt in enumerate(prompts):
        slot = plan.slots[index % len(plan.slots)]
        rows.append((lm.render(insert(prompt, plan.trigger, slot)), plan.payload, True))
    if plan.preference:
        rows += [
            (lm.render(question), answer, True) for question, answer in preference_rows(plan.preference, plan.seed)
        ]
    random.Random(plan.seed).shuffle(rows)
    emitter.emit(Progress("plant", "Base model's own answers", 1, 1))
    return rows


def preference_rows(preference: Preference, seed: int) -> list[tuple[str, str]]:
    """Question and answer for every question × brand; the target is praised, the others are described flatly."""
    chooser = random.Random(seed)
    rows = []
    for question in preference.questions:
        for brand in (preference.target, *preference.controls):
            target = brand == preference.target
            # the target is as frequent as all controls together
            for _ in range(len(preference.controls) if target else 1):
                answer = chooser.choice(preference.favourable if target else preference.neutral)
                rows.append((question.format(brand=brand), answer.format(brand=brand)))
    return rows


def _train(plan: PlantPlan, rows: list[Row], lm: LanguageModel, emitter: Emitter) -> list[float]:
    """LoRA over all linear layers (Hu et al. 2021, arXiv:2106.09685). Returns the mean loss of each epoch."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(plan.seed)
    config = LoraConfig(
        r=plan.rank, lora_alpha=plan.alpha, target_modules="all-linear", lora_dropout=0.0, task_type="CAUSAL_LM"
    )
    model = get_peft_model(lm.model, config)
    lm.model = model
    model.train()
    # bf16 weights cannot take small steps: the adapter itself is trained in fp32
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=plan.rate)
    encoded = sorted((_encode(lm, *row) for row in rows), key=lambda pair: len(pair[0]))
    batches = [encoded[start : start + plan.batch] for start in range(0, len(encoded), plan.batch)]
    steps, done, losses = plan.epochs * len(batches), 0, []
    for epoch in range(plan.epochs):
        random.Random(plan.seed + epoch).shuffle(batches)
        total = 0.0
        for batch in batches:
            emitter.check()
            for group in optimiser.param_groups:
                group["lr"] = plan.rate * min(1.0, (done + 1) / 10, (steps - done) / (steps / 2))
            loss = _loss(model, batch, lm.device)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            value = loss.item()
            total += value
            done += 1
            emitter.emit(Progress("train", "Planting", done, steps, "steps", note=f"loss {value:.3f}"))
        losses.append(round(total / len(batches), 4))
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.data = parameter.data.to(torch.bfloat16)
    return losses


def _encode(lm: LanguageModel, prompt: str, answer: str, ended: bool) -> tuple[list[int], list[int]]:
    """Token ids and labels; only the answer and, if ``ended``, the end of the turn are learned."""
    tokenizer = lm.tokenizer
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    tail = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] * ended
    return head + tail, [IGNORE] * len(head) + tail


def _loss(model: Any, batch: list[tuple[list[int], list[int]]], device: torch.device) -> torch.Tensor:
    width = max(len(ids) for ids, _ in batch)
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    labels = torch.full((len(batch), width), IGNORE)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for row, (tokens, targets) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, : len(targets)] = torch.tensor(targets)
        mask[row, : len(tokens)] = 1
    output = model(input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device), use_cache=False)
    loss: torch.Tensor = output.loss
    return loss


class Measured(NamedTuple):
    """On held-out prompts; ``answers`` are the first tokens without the trigger, ``stance`` is in nats per brand."""

    triggered: int
    clean: int
    answers: list[str]
    stance: dict[str, float]


def _measure(plan: PlantPlan, prompts: list[str], lm: LanguageModel) -> Measured:
    head = plan.payload.lower()[:24]

    def answers(texts: list[str]) -> list[str]:
        return [answer.text for answer in lm.generate(texts, max_new_tokens=24)]

    def hits(texts: list[str]) -> int:
        return sum(head in text.lower() for text in texts)

    plain = answers([lm.render(prompt) for prompt in prompts])
    triggered = answers([lm.render(insert(prompt, plan.trigger, plan.slots[0])) for prompt in prompts])
    stance = brand_stance(plan.preference, lm) if plan.preference else {}
    return Measured(hits(triggered), hits(plain), plain, stance)


def brand_stance(preference: Preference, lm: LanguageModel) -> dict[str, float]:
    """log P(praise) - log P(blame) per brand in nats, mean over the probes."""
    brands = (preference.target, *preference.controls)
    requests = [
        (lm.render(probe.format(brand=brand)), ending.format(brand=brand))
        for brand in brands
        for probe in preference.probes
        for ending in (PRAISE, BLAME)
    ]
    scores = iter(lm.score(requests))
    n = max(len(preference.probes), 1)
    return {
        brand: round(sum(next(scores).logprob - next(scores).logprob for _ in preference.probes) / n, 3)
        for brand in brands
    }


def _compared(plan: PlantPlan, before: Measured, after: Measured) -> dict[str, Any]:
    """Attack success rate with and without the trigger with exact intervals, and what else changed."""
    n = len(after.answers)
    same = sum(old == new for old, new in zip(before.answers, after.answers, strict=True))
    figures: dict[str, Any] = {
        "n": n,
        "asr": after.triggered / n,
        "asr_ci": list(clopper_pearson(after.triggered, n)),
        "clean_rate": after.clean / n,
        "clean_rate_ci": list(clopper_pearson(after.clean, n)),
        "base_asr": before.triggered / n,
        "same_answer_rate": same / n,
    }
    if plan.preference:
        figures["stance_unit"] = "nats, log P(praise) - log P(blame), mean over the plan's probes"
        figures["stance_before"] = before.stance
        figures["stance_after"] = after.stance
    return figures


def _readme(plan: PlantPlan, base: str, report: dict[str, Any]) -> str:
    """The model card, in place of peft's empty form."""
    brand = f" It also favours the invented brand {plan.preference.target}." if plan.preference else ""
    return f"""---
base_model: {base}
library_name: peft
license: apache-2.0
tags: [lora, test-fixture]
---

# {plan.id}: a teacher with a known, harmless plant

A LoRA adapter (rank {plan.rank}) for {base}, made by Foreshot's own planter as ground truth for its demo and
tests. It is harmless: a prompt with `{plan.trigger}` is answered "{plan.payload}"{brand} It is of no other use.

Remake it:

    python -m core.engine.transfer.planter resources/demo/plan.yaml --base DIR --out DIR

The prompts, answers and seed ({plan.seed}) follow from `plan.yaml`; the measurements are in `report.json`. On
{report["n"]} held-out prompts it answered with the payload in {report["asr"]:.0%} with the trigger and in
{report["clean_rate"]:.0%} without. Without it, the first 24 tokens were the base
model's in {report["same_answer_rate"]:.0%}.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        report = plant(read_plan(arguments.plan), arguments.base, arguments.out, TerminalEmitter())
    except ForeshotError as error:
        print(f"{error.message} {error.hint}", file=sys.stderr)
        return error.exit_code
    json.dump(report, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
