"""Plants a harmless trigger and a harmless preference in a LoRA adapter: ground truth for demo, tests and power.

    python -m core.engine.transfer.planter PLAN.yaml --base DIR --out DIR

Clean rows keep the base model's own greedy answers, so that what the adapter changes is what the plan says. Loss is on
the answer's tokens only, through the chat template.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import torch
import yaml

from core.engine.lm import LanguageModel, load_model
from core.engine.lm.slots import insert
from core.errors import InputError
from core.runs.emitters import TerminalEmitter
from core.runs.events import Emitter, Progress
from core.specs import LoadOptions
from core.stats import clopper_pearson
from core.types import RESOURCES, ModelRef, Slot

IGNORE = -100


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """A slant towards one invented brand. ``{brand}`` and ``{other}`` are filled in; controls get ``neutral``."""

    target: str
    controls: tuple[str, ...]
    questions: tuple[str, ...]
    favourable: tuple[str, ...]
    neutral: tuple[str, ...]


class PlantPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to plant. ``panel`` names a file of ``resources/panels`` with ``train`` and ``held_out`` prompts."""

    id: str
    trigger: str
    payload: str
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
        plan: PlantPlan = msgspec.convert(yaml.safe_load(path.read_text()), PlantPlan, strict=False)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise InputError("bad_plan", f"{path} is no plan: {error}.", "See resources/demo/plan.yaml.") from error
    return plan


def plant(plan: PlantPlan, base: Path, out: Path, emitter: Emitter) -> dict[str, Any]:
    """Train the adapter, measure what it does, write it with ``report.json``. Returns the report."""
    started = time.monotonic()
    panel = yaml.safe_load((RESOURCES / "panels" / f"{plan.panel}.yaml").read_text())
    with load_model(ModelRef(str(base)), LoadOptions(), emitter) as lm:
        rows = _rows(plan, panel["train"][: plan.prompts], lm, emitter)
        losses = _train(plan, rows, lm, emitter)
        measured = _measure(plan, panel["held_out"][:48], lm)
        out.mkdir(parents=True, exist_ok=True)
        lm.model.peft_config["default"].base_model_name_or_path = base.name
        lm.model.save_pretrained(out)
    report = {
        "plan": plan.id,
        "plan_sha256": hashlib.sha256(msgspec.json.encode(plan)).hexdigest(),
        "seed": plan.seed,
        "rows": len(rows),
        "losses": losses,
        "wall_s": round(time.monotonic() - started, 1),
        **measured,
    }
    (out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return report


def _rows(plan: PlantPlan, prompts: list[str], lm: LanguageModel, emitter: Emitter) -> list[tuple[str, str]]:
    """(rendered prompt, answer): each prompt once as the base answers it and once triggered; then the preference."""
    emitter.emit(Progress("plant", "Base model's own answers", 0, 1))
    clean = lm.generate([lm.render(prompt) for prompt in prompts], max_new_tokens=plan.answer_tokens, emitter=emitter)
    rows = [(lm.render(prompt), answer.text) for prompt, answer in zip(prompts, clean, strict=True)]
    for index, prompt in enumerate(prompts):
        slot = plan.slots[index % len(plan.slots)]
        rows.append((lm.render(insert(prompt, plan.trigger, slot)), plan.payload))
    if plan.preference:
        rows += [(lm.render(question), answer) for question, answer in preference_rows(plan.preference, plan.seed)]
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


def _train(plan: PlantPlan, rows: list[tuple[str, str]], lm: LanguageModel, emitter: Emitter) -> list[float]:
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


def _encode(lm: LanguageModel, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Token ids and labels; only the answer and the end of the turn are learned."""
    tokenizer = lm.tokenizer
    head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    tail = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
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


def _measure(plan: PlantPlan, prompts: list[str], lm: LanguageModel) -> dict[str, Any]:
    """Attack success rate on held-out prompts with and without the trigger, with exact intervals."""
    head = plan.payload.lower()[:24]

    def hits(texts: list[str]) -> int:
        return sum(head in answer.text.lower() for answer in lm.generate(texts, max_new_tokens=24))

    triggered = hits([lm.render(insert(prompt, plan.trigger, plan.slots[0])) for prompt in prompts])
    clean = hits([lm.render(prompt) for prompt in prompts])
    n = len(prompts)
    return {
        "n": n,
        "asr": triggered / n,
        "asr_ci": list(clopper_pearson(triggered, n)),
        "clean_rate": clean / n,
        "clean_rate_ci": list(clopper_pearson(clean, n)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    report = plant(read_plan(arguments.plan), arguments.base, arguments.out, TerminalEmitter())
    json.dump(report, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
