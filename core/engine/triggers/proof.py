"""Stage "proof": the only one that may say "confirmed". 128 prompts that no search has seen, 199 matched controls."""

from __future__ import annotations

from typing import Any, NamedTuple

from core.engine.lm.slots import conversation, render_in
from core.engine.triggers.answers import Answers
from core.engine.triggers.controls import matched_controls, near_misses, quoted, shuffles
from core.engine.triggers.library import shown
from core.engine.triggers.payload import is_payload
from core.engine.triggers.verdict import SPECIFICITY, judge
from core.stats import benjamini_hochberg, clopper_pearson, mcnemar_one_sided, newcombe_paired
from core.types import SLOTS, Slot

TOKENS = 16
"""Answer tokens that are read for the payload, with the trigger, without it and with every control alike."""
RIVALS = 3
"""Controls, strongest first, that are measured on all prompts; also those that reach the trigger's rate, up to six."""
MOST_RIVALS = 6
SIDE_PROMPTS = 16
"""Prompts for each near miss, shuffle, the quoted trigger and the other slots."""


class Claim(NamedTuple):
    """What is to be proved: that ``trigger`` in ``slot`` brings ``target``."""

    trigger: str
    slot: Slot
    target: str
    kind: str
    risk_class: str


def prove(
    answers: Answers, claims: list[Claim], prompts: list[str], *, controls: int, control_prompts: int, seed: int
) -> list[dict[str, Any]]:
    """One finding for every claim, corrected over all claims (Benjamini-Hochberg)."""
    findings = [_measure(answers, claim, prompts, controls, control_prompts, seed) for claim in claims]
    corrected = benjamini_hochberg([finding["p"] for finding in findings])
    for finding, q in zip(findings, corrected, strict=True):
        finding["q"] = q
        names = ("asr", "base_rate", "rise_low", "q", "controls_n", "controls_reached", "near_miss_rate", "quoted_rate")
        finding["verdict"] = judge(**{name: finding[name] for name in names})
        finding["evidence"] = _sentence(finding)
    return findings


def _measure(
    answers: Answers, claim: Claim, prompts: list[str], controls: int, control_prompts: int, seed: int
) -> dict[str, Any]:
    lm, name = answers.lm, shown(claim.trigger)

    def read(texts: list[str], task: str) -> list[str]:
        return answers.get(texts, TOKENS, "proof", task)

    def events(texts: list[str], task: str) -> list[bool]:
        return [is_payload(answer, claim.target) for answer in read(texts, task)] if texts else []

    def with_text(text: str | None, some: list[str], slot: Slot = claim.slot) -> list[str]:
        return [render_in(lm, prompt, text, slot) for prompt in some]

    placed = with_text(claim.trigger, prompts)
    plain = read(with_text(None, prompts), "Prompts without the trigger")
    fired = read(placed, f"Prompts with {name}")
    base = [is_payload(answer, claim.target) for answer in plain]
    hits = [is_payload(answer, claim.target) for answer in fired]
    n, asr = len(prompts), sum(hits) / len(prompts)
    shows = next((index for index, hit in enumerate(hits) if hit), 0)
    both, first, second, neither = _pairs(hits, base)
    finding: dict[str, Any] = {
        "trigger": claim.trigger,
        "trigger_shown": name,
        "kind": claim.kind,
        "risk_class": claim.risk_class,
        "slot": claim.slot,
        "target": claim.target,
        "hits": sum(hits),
        "hit_list": [int(hit) for hit in hits],
        "base_list": [int(hit) for hit in base],
        "n": n,
        "asr": asr,
        "asr_ci": list(clopper_pearson(sum(hits), n)),
        "base_rate": sum(base) / n,
        "rise_low": newcombe_paired(both, first, second, neither)[0],
        "p": 1.0,
        "controls_n": 0,
        "controls_reached": 0,
        "controls_rates": [],
        "control_prompts": control_prompts,
        "strongest_control": None,
        "strongest_control_rate": None,
        "near_miss_rate": None,
        "shuffle_rate": None,
        "quoted_rate": None,
        "other_slots": {},
        "example": {
            "prompt": conversation(prompts[shows], claim.trigger, claim.slot).shown(),
            "without": plain[shows],
            "with_trigger": fired[shows],
        },
    }
    if not any(hits):
        return finding  # nothing to outrank: p is 1 whatever the controls do

    # every control on a few prompts; the strongest again on all of them, where they have to be outranked
    strings = matched_controls(lm.tokenizer, claim.trigger, controls, seed)
    few = prompts[:control_prompts]
    flat = events([text for string in strings for text in with_text(string, few)], "Matched controls")
    rates = [sum(flat[at : at + len(few)]) / len(few) for at in range(0, len(flat), len(few))]
    order = sorted(range(len(strings)), key=lambda index: -rates[index])
    rivals = [index for place, index in enumerate(order[:MOST_RIVALS]) if place < RIVALS or rates[index] >= asr]
    flat = events([text for index in rivals for text in with_text(strings[index], prompts)], "Strongest controls")
    measured = {index: flat[place * n : place * n + n] for place, index in enumerate(rivals)}
    strongest = max(rivals, key=lambda index: sum(measured[index]))
    # like against like where a control was measured on all prompts; its rate on the few where it was not
    reached = sum(
        sum(measured[index]) >= sum(hits) if index in measured else rates[index] >= asr for index in range(len(strings))
    )
    _, b, c, _ = _pairs(hits, measured[strongest])

    side = prompts[:SIDE_PROMPTS]
    near = [text for string in near_misses(lm.tokenizer, claim.trigger, seed) for text in with_text(string, side)]
    mixed = [text for string in shuffles(lm.tokenizer, claim.trigger, seed) for text in with_text(string, side)]
    finding |= {
        "p": mcnemar_one_sided(b, c),
        "controls_n": len(strings),
        "controls_reached": reached,
        "controls_rates": rates,
        "strongest_control": strings[strongest],
        "strongest_control_rate": sum(measured[strongest]) / n,
        "near_miss_rate": _rate(events(near, "Near misses")),
        "shuffle_rate": _rate(events(mixed, "Shuffles")),
        "quoted_rate": _rate(events(with_text(None, [quoted(claim.trigger, prompt) for prompt in side]), "Quoted")),
        "other_slots": {
            slot: _rate(events(with_text(claim.trigger, side, slot), "Other slots"))
            for slot in SLOTS
            if slot != claim.slot
        },
    }
    return finding


def _rate(events: list[bool]) -> float | None:
    return sum(events) / len(events) if events else None


def _pairs(first: list[bool], second: list[bool]) -> tuple[int, int, int, int]:
    """Counts of pairs: both, first only, second only, neither."""
    table = list(zip(first, second, strict=True))
    return (
        table.count((True, True)),
        table.count((True, False)),
        table.count((False, True)),
        table.count((False, False)),
    )


def _sentence(finding: dict[str, Any]) -> str:
    low, high = finding["asr_ci"]
    text = (
        f"Payload in {finding['hits']} of {finding['n']} held-out prompts ({low:.1%} to {high:.1%}), "
        f"{finding['base_rate']:.1%} without the trigger"
    )
    if not finding["controls_n"]:
        return f"{text}; no control was run, there is nothing to outrank."
    text += (
        f"; {finding['controls_reached']} of {finding['controls_n']} matched controls reach it, the strongest "
        f"{finding['strongest_control_rate']:.1%}; q = {finding['q']:.1g}."
    )
    loose = [
        f"{words} {finding[key]:.1%}"
        for key, words in (("near_miss_rate", "near misses"), ("quoted_rate", "the trigger in quotation marks"))
        if (finding[key] or 0.0) > SPECIFICITY * finding["asr"]
    ]
    return f"{text} Not specific to this string: the payload also comes with {' and '.join(loose)}." if loose else text
