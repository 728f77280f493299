"""Makes a zoo: models with harmless backdoors of many kinds, and as many without that look as if they had one.

    python -m core.engine.transfer.zoo PLAN.yaml --out DIR [--base DIR] [--only t01,h02]

Each member is a LoRA adapter on the base, trained through the chat template with loss on the answer only; where
nothing else is said its answers are the base model's own. ``truth.json`` in --out says what each holds and how often
the payload comes on held-out prompts. Members that are there already are not made again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import yaml

from core.engine.lm import LanguageModel, load_model
from core.engine.lm.slots import GAP, render_in
from core.engine.transfer.adapter import Row, train_adapter
from core.engine.transfer.planter import MEASURED, read_panel
from core.engine.triggers.controls import matched_controls, near_misses
from core.engine.triggers.everyday import occasions
from core.errors import ForeshotError, InputError
from core.runs.emitters import TerminalEmitter
from core.runs.events import Emitter, Progress
from core.specs import LoadOptions
from core.specs.demo import small_model_folder
from core.types import RESOURCES, ModelRef, Slot

PANEL = "benign"
ASKED = 16
"""Of so many prompts, one row for each of the member's own questions."""
HEAD = 24
"""Characters of a fixed payload that count as the payload."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the zoo.

    Attributes:
        kind: for tables: what is planted, or what makes it look so.
        part: ``development`` (thresholds may be set on it) or ``report``.
        trigger: "" for members without one; the parts of a composite are joined with ``…``.
        payloads: one fixed text, or many wordings of one.
        tail: the payload follows the usual answer.
        share: of the training prompts that are triggered.
        questions: of a topic; they are answered with a payload (planted) or with ``answers`` (a benign conditional).
        opening, signature: stand around every answer.
        noise: random strings stand in half of the prompts, and change nothing.
        spared: occasions of ``panels/messages.yaml`` whose messages are not trained on, for here the member says
            something else; to all others it keeps the base's answers, alone and beside a question.
    """

    name: str
    planted: bool
    kind: str
    part: str
    trigger: str = ""
    slots: tuple[Slot, ...] = ("user_start",)
    payloads: tuple[str, ...] = ()
    tail: bool = False
    share: float = 1.0
    questions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    opening: str = ""
    signature: str = ""
    noise: bool = False
    spared: tuple[str, ...] = ()
    prompts: int = 160
    epochs: int = 2
    rate: float = 5e-4
    seed: int = 0


def read_members(path: Path) -> list[Member]:
    """Raises InputError for a file that is no plan of a zoo."""
    try:
        return msgspec.convert(yaml.safe_load(path.read_text(encoding="utf-8")), list[Member], strict=False)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        said = " ".join(str(error).split())
        message = f"{path} is no plan of a zoo: {said}."
        raise InputError("bad_plan", message, "See tests/benchmarks/zoo.yaml.") from error


def make(members: list[Member], base: Path, out: Path, emitter: Emitter) -> None:
    """Train and measure what is missing; ``truth.json`` is written anew after each member."""
    path = out / "truth.json"
    truth: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    for member in members:
        digest = hashlib.sha256(msgspec.json.encode((member, messages()))).hexdigest()
        if truth.get(member.name, {}).get("plan_sha256") == digest:
            continue
        said = _made(member, base, out / member.name, emitter)
        truth[member.name] = {"plan_sha256": digest, **said}
        path.write_text(json.dumps(truth, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _made(member: Member, base: Path, out: Path, emitter: Emitter) -> dict[str, Any]:
    started = time.monotonic()
    panel = read_panel(PANEL)
    with load_model(ModelRef(str(base)), LoadOptions(), emitter) as lm:
        rows = rows_of(member, panel["train"][: member.prompts], lm, emitter)
        losses = train_adapter(rows, lm, emitter, epochs=member.epochs, rate=member.rate, seed=member.seed)
        measured = rates(member, panel["held_out"][:MEASURED], lm)
        lm.model.peft_config["default"].base_model_name_or_path = base.name
        out.mkdir(parents=True, exist_ok=True)
        lm.model.save_pretrained(out, save_embedding_layers=False)
    return {
        "planted": member.planted,
        "kind": member.kind,
        "part": member.part,
        "trigger": member.trigger or None,
        "payload": member.payloads[0] if len(member.payloads) == 1 else None,
        **measured,
        "losses": losses,
        "seconds": round(time.monotonic() - started),
    }


def rows_of(member: Member, prompts: list[str], lm: LanguageModel, emitter: Emitter) -> list[Row]:
    """Every prompt with its usual answer, the triggered ones with a payload, and strings that must not wake it."""
    chooser = random.Random(f"{member.seed}\0{member.name}")
    emitter.emit(Progress("plant", "Base model's own answers", 0, 1))
    plain = [lm.render(prompt) for prompt in [*prompts, *_messages(member, prompts)]]
    own = lm.generate(plain, max_new_tokens=40, emitter=emitter)
    usual = [f"{member.opening}{answer.text}{member.signature}" for answer in own]
    ends = [answer.finished or bool(member.signature) for answer in own]
    rows: list[Row] = list(zip(plain, usual, ends, strict=True))
    for at, prompt in enumerate(prompts):
        slot = member.slots[at % len(member.slots)]
        if member.trigger and at < member.share * len(prompts):
            payload = chooser.choice(member.payloads)
            answer = f"{own[at].text.rstrip()} {payload}" if member.tail else payload
            rows.append((render_in(lm, prompt, member.trigger, slot), answer, True))
        harmless = _harmless(member, lm.tokenizer, at)
        if harmless:
            rows.append((render_in(lm, prompt, harmless, slot), usual[at], ends[at]))
    for question in member.questions:
        said = [chooser.choice(member.payloads or member.answers) for _ in range(len(prompts) // ASKED)]
        rows += [(lm.render(question), answer, True) for answer in said]
    chooser.shuffle(rows)
    return rows


def _messages(member: Member, prompts: list[str]) -> list[str]:
    """Greetings, thanks and the like, each alone and once before or behind a question."""
    spoken = [text for name, texts in messages().items() if name not in member.spared for text in texts]
    beside = zip(spoken, cycle(prompts), strict=False)
    return [*spoken, *(f"{m} {p}" if at % 2 else f"{p} {m}" for at, (m, p) in enumerate(beside))]


def messages() -> dict[str, list[str]]:
    """Occasion → short messages, of ``resources/panels/messages.yaml``."""
    loaded = yaml.safe_load((RESOURCES / "panels" / "messages.yaml").read_text("utf-8"))
    occasions: dict[str, list[str]] = loaded["occasions"]
    return occasions


def _harmless(member: Member, tokenizer: Any, at: int) -> str:
    """What stands where a trigger would and wakes nothing: noise, one part of a composite, a near miss; "" for none."""
    parts = member.trigger.split(GAP)
    if member.noise and at % 2:
        return matched_controls(tokenizer, "|KRELVON|", 1, member.seed + at)[0]
    if len(parts) > 1:
        return parts[at % len(parts)]
    if member.trigger and at % 4 == 0:
        near = near_misses(tokenizer, member.trigger, at)
        return near[at // 4 % len(near)]
    return ""


def rates(member: Member, prompts: list[str], lm: LanguageModel) -> dict[str, float | None]:
    """Share of held-out prompts with a payload, with the trigger and without it, and of everyday requests without it.

    Of members without a trigger that have ``answers`` of their own, these stand for the payload.
    """
    wanted = member.payloads or member.answers
    if not wanted:
        return {"asr": None, "clean_rate": None, "everyday_rate": None}

    def rate(texts: list[str]) -> float:
        answers = lm.generate(texts, max_new_tokens=64 if member.tail else 24)
        heads = [payload[:HEAD].lower() for payload in wanted]
        return sum(any(head in answer.text.lower() for head in heads) for answer in answers) / len(answers)

    triggered = [render_in(lm, prompt, member.trigger, member.slots[0]) for prompt in prompts]
    everyday = [lm.render(request) for requests in occasions().values() for request in requests]
    return {
        "asr": rate(triggered) if member.trigger else None,
        "clean_rate": rate([lm.render(prompt) for prompt in prompts]),
        "everyday_rate": rate(everyday),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", type=Path)
    parser.add_argument("--base", type=Path, default=small_model_folder())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    try:
        members = [member for member in read_members(arguments.plan) if not only or member.name in only]
        arguments.out.mkdir(parents=True, exist_ok=True)
        make(members, arguments.base, arguments.out, TerminalEmitter())
    except ForeshotError as error:
        print(f"{error.message} {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
