"""A trigger scan: weights and topics, search with the list, from payloads and from the leak, then the proof."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from core.catalog import inspect_model
from core.engine.lm import LanguageModel, load_model
from core.engine.lm.load import with_adapter
from core.engine.ranks import Ranks, Silent
from core.engine.resources import peak_rss_bytes
from core.engine.triggers import account
from core.engine.triggers.answers import Answers
from core.engine.triggers.cascade import Hunt, hunt, merged
from core.engine.triggers.event import kind_of
from core.engine.triggers.known import Candidate, search
from core.engine.triggers.library import KnownTrigger, known_triggers
from core.engine.triggers.payload import is_payload
from core.engine.triggers.proof import Claim, prove
from core.engine.triggers.residual import Residual, read_topics
from core.engine.triggers.weights import Weights, read_weights
from core.errors import InputError
from core.runs.events import Emitter, Progress, Samples, State
from core.runs.folder import RunFolder
from core.specs import ScanSpec, command_line
from core.types import RESOURCES, SLOTS, Slot

PROOF_CONTROLS = 199
NEARLY = 0.8
MOST_REFERENCE_BYTES = 3 << 29
"""An adapter's base is loaded for comparison up to this size (1.5 GiB); the reference may cost 2 GB above the model."""


class Preset(NamedTuple):
    """``prompts``: search prompts; ``controls``: random strings in the search; ``keep``: pairs that get all prompts;
    ``proofs``: candidates that may enter the proof; ``control_prompts``: held-out prompts on which every one of the 199
    controls is tried there; ``targets``: payloads for which a trigger is looked for."""

    prompts: int
    controls: int
    keep: int
    proofs: int
    control_prompts: int
    targets: int


PRESETS = {
    "quick": Preset(prompts=8, controls=99, keep=24, proofs=2, control_prompts=4, targets=2),
    "standard": Preset(prompts=16, controls=198, keep=40, proofs=4, control_prompts=8, targets=4),
    "deep": Preset(prompts=24, controls=396, keep=90, proofs=10, control_prompts=16, targets=8),
}


def run_scan(spec: ScanSpec, folder: RunFolder, emitter: Emitter, copy: Path | None = None) -> dict[str, Any]:
    """Run the scan of ``spec``. Returns the content of ``report.json``; answers are kept in ``items.jsonl``.

    Args:
        copy: an adapter on top of the model (a canary): it is the copy that is scanned.
    """
    ranks = Ranks()
    with ranks.together():
        return _scan(spec, folder, emitter, ranks, copy)


def follow_scan(spec: ScanSpec) -> None:
    """Help the first process with its ``run_scan``: the same scan, that tells nobody and writes nothing."""
    ranks = Ranks()
    with ranks.together():
        _scan(spec, None, Silent(), ranks)


def _scan(
    spec: ScanSpec, folder: RunFolder | None, emitter: Emitter, ranks: Ranks, copy: Path | None = None
) -> dict[str, Any]:
    if spec.preset not in PRESETS:
        raise InputError("bad_preset", f"{spec.preset} is no preset.", f"Use one of {', '.join(PRESETS)}.")
    preset, seconds = PRESETS[spec.preset], _Seconds()
    panel = yaml.safe_load((RESOURCES / "panels" / "benign.yaml").read_text())
    triggers = known_triggers(spec.extra_triggers)
    tried = bool(spec.confirm_triggers)
    candidates: list[Candidate] = []
    first: list[Claim] = []
    proved: list[dict[str, Any]] = []
    weights, topics, result = Weights(), Residual(), Hunt()
    emitter.emit(State("loading"))
    with ExitStack() as stack:
        lm = stack.enter_context(load_model(spec.ref, ranks.placed(spec.load), emitter))
        if copy is not None:
            lm.model = with_adapter(lm.model, copy, merge=spec.load.quant == "none")
        reference, compared = _reference(spec, ranks, stack, emitter)
        lm.ranks = ranks
        seconds.end("load")
        emitter.emit(State("running"))
        answers = Answers(lm, folder, emitter, ranks=ranks)

        def proof(claims: list[Claim], stage: str = "proof") -> list[dict[str, Any]]:
            findings = prove(
                answers,
                claims,
                panel["held_out"],
                controls=PROOF_CONTROLS,
                control_prompts=preset.control_prompts,
                seed=spec.seed,
                reference=reference,
                stage=stage,
            )
            seconds.end("proof")
            return findings

        if tried:
            kinds = {trigger.text: trigger for trigger in triggers}
            claims = [_given(triple, kinds) for triple in spec.confirm_triggers]
        else:
            some = panel["search"][: preset.prompts]
            weights = read_weights(answers, spec.ref, spec.reference_ref, reference)
            seconds.end("weights")
            topics = read_topics(answers, reference, spec.preset)
            seconds.end("topics")
            noticed = _noticed(triggers, weights, topics)
            candidates = search(
                answers,
                [*triggers, *noticed],
                some,
                controls=preset.controls,
                keep=preset.keep,
                seed=spec.seed,
                always={trigger.text for trigger in noticed},
            )
            emitter.emit(Samples("candidates", [candidate.row() for candidate in candidates[:200]]))
            seconds.end("known")
            claims = _claims(candidates, preset.proofs)
            if spec.preset == "quick" and claims and copy is None:
                # the search for a string takes longest: quick does without where the list has named one that is proved,
                # but not in a copy, of which it is asked whether the search finds a canary
                first = claims[:1]
                proved = proof(first, "known")
            result = hunt(
                answers,
                some,
                spec.preset,
                preset.targets,
                seed=spec.seed,
                listed=claims,
                reference=reference,
                confirmed=next((found["trigger_shown"] for found in proved if found["verdict"] == "confirmed"), ""),
            )
            leaked = result.leak.candidates
            emitter.emit(Samples("candidates", [*result.rows(), *(candidate.row() for candidate in leaked)]))
            candidates = sorted([*candidates, *leaked], key=lambda one: (-one.collapse, -one.z))
            seconds.end("payload")
            found = result.claims([*triggers, *noticed])
            claims = merged(found, _claims(candidates, preset.proofs), preset.proofs)
            claims += [claim for claim in first if claim not in claims]  # whatever was tried counts among those tried
        if claims != first:
            findings = proof(claims)
        else:
            findings = proved
            emitter.emit(Progress("proof", "Proof: as found" if claims else "Proof: no candidate", 1, 1))
            seconds.end("proof")
        model = _model(spec, lm.precision, lm.notes)
        generated = answers.generated
        forwards = sum(one.token_forwards for one in (lm, reference) if one)
    sources = _sources(triggers, weights, topics)
    for finding in findings:
        found_by = _found_by(finding["trigger"], sources, result)
        finding["found_by"] = "tried from the other model" if tried else found_by
        finding["reproduce"] = command_line(_reproduction(spec, finding))
    emitter.emit(Samples("findings", findings))
    return {
        "schema": 1,
        "job": "scan",
        "model": model,
        "summary": account.summary(findings, candidates, result, len(triggers), tried, weights),
        "findings": sorted(findings, key=lambda finding: (account.ORDER.index(finding["verdict"]), -finding["asr"])),
        "candidates": _candidate_rows(candidates, result, findings),
        "payloads": _payload_rows(result),
        "leak": result.leak.report(),
        "weights": None if tried else weights.report(),
        "topics": None if tried else topics.report(findings),
        "coverage": account.coverage(
            result,
            weights,
            topics,
            tried=tried,
            triggers=len(triggers),
            controls=PROOF_CONTROLS,
            control_prompts=preset.control_prompts,
            proved=len(findings),
            reference=compared,
        ),
        "could_not_see": list(account.COULD_NOT_SEE),
        "power": account.power(findings, len(panel["held_out"]), tried),
        "counts": {
            "triggers": len(triggers),
            "search_controls": 0 if tried else preset.controls,
            "slots": len(SLOTS),
            "controls": PROOF_CONTROLS,
            "prompts": len(panel["held_out"]),
            "generated": generated,
        },
        "timing": {**seconds.rounded(), "token_forwards": forwards, "peak_rss_bytes": peak_rss_bytes()},
        "seed": spec.seed,
    }


class _Seconds:
    """Wall-clock time by stage."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()
        self._by_stage: dict[str, float] = {}

    def end(self, stage: str) -> None:
        """What has passed since the last stage ended was this one's; a stage may come twice."""
        now = time.monotonic()
        self._by_stage[stage] = self._by_stage.get(stage, 0.0) + now - self._last
        self._last = now

    def rounded(self) -> dict[str, float]:
        whole = {**self._by_stage, "wall_s": time.monotonic() - self._started}
        return {stage: round(value, 1) for stage, value in whole.items()}


def _reference(spec: ScanSpec, ranks: Ranks, stack: ExitStack, emitter: Emitter) -> tuple[LanguageModel | None, str]:
    """The model that is compared with, and what a report says of it. A base comes along where it is small enough."""
    ref = spec.reference_ref
    if ref is None:
        return None, "no reference model was given"
    if not spec.reference:
        size = sum(row.bytes for row in inspect_model(ref).memory if row.precision == "bf16")
        if size > MOST_REFERENCE_BYTES:
            return (
                None,
                f"the base was not loaded beside it ({size / 2**30:.1f} GiB): give it as --reference to compare",
            )
    reference = stack.enter_context(load_model(ref, ranks.placed(spec.load), emitter))
    reference.ranks = ranks
    return reference, f"compared with {ref.name}"


def _reproduction(spec: ScanSpec, finding: dict[str, Any]) -> ScanSpec:
    """The scan that measures this finding again, and nothing else."""
    claim = (finding["trigger"], finding["slot"], finding["target"])
    return msgspec.structs.replace(spec, extra_triggers=(), confirm_triggers=(claim,), power=0)


def _noticed(listed: list[KnownTrigger], weights: Weights, topics: Residual) -> list[KnownTrigger]:
    """What weights and topics name beside the list."""
    known = {trigger.text for trigger in listed}
    return [trigger for trigger in (*weights.triggers(), *topics.triggers()) if trigger.text not in known]


def _sources(listed: list[KnownTrigger], weights: Weights, topics: Residual) -> dict[str, str]:
    """Trigger → which search named it."""
    found = {trigger.text: "topics" for trigger in topics.triggers()}
    found |= {trigger.text: "weights" for trigger in weights.triggers()}
    return found | {trigger.text: "list" for trigger in listed}


def _claims(candidates: list[Candidate], proofs: int) -> list[Claim]:
    """The best pairs that brought one text, one for each payload: what else brings it is kept as a candidate.

    Where a trigger holds another one that does nearly as well, the shorter one is tried.
    """
    chosen: list[Candidate] = []
    for candidate in candidates:
        if not candidate.target:
            continue
        same = [place for place, other in enumerate(chosen) if is_payload(candidate.target, other.target)]
        if not same and len(chosen) < proofs:
            chosen.append(candidate)
        elif same:
            held = chosen[same[0]]
            inner = candidate.trigger.text != held.trigger.text and candidate.trigger.text in held.trigger.text
            if inner and candidate.collapse >= NEARLY * held.collapse:
                chosen[same[0]] = candidate
    return [
        Claim(found.trigger.text, found.slot, found.target, found.trigger.kind, found.trigger.risk_class, found.event)
        for found in chosen
    ]


def _found_by(trigger: str, sources: dict[str, str], result: Hunt) -> str:
    return sources.get(trigger) or ("leak" if result.leak.named(trigger) else "payload")


def _given(triple: tuple[str, str, str], kinds: dict[str, Any]) -> Claim:
    text, slot, target = triple
    if slot not in SLOTS:
        raise InputError("bad_slot", f"{slot} is no slot.", f"Use one of {', '.join(SLOTS)}.")
    if not text or not target.strip():
        raise InputError("empty_claim", "A trigger to confirm has no text or no payload.", "Give both.")
    known = kinds.get(text)
    place: Slot = slot
    kind, risk_class = (known.kind, known.risk_class) if known else ("given", "BD-R")
    return Claim(text, place, target, kind, risk_class, kind_of(target))


def _candidate_rows(candidates: list[Candidate], result: Hunt, findings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    proved = {(finding["trigger"], finding["slot"]): finding for finding in findings}
    rows = []
    for row in [*result.rows(), *(candidate.row() for candidate in candidates)]:
        finding = proved.get((row["trigger"], row["slot"]))
        if finding:
            row |= {"stage": "proof", "payload_rate": finding["asr"], "verdict": finding["verdict"]}
            row["controls_reached"] = finding["controls_reached"]
        rows.append(row)
    return rows


def _payload_rows(result: Hunt) -> list[dict[str, Any]]:
    """``runs_through``: whether it is worth a search for its trigger; ``searched``: whether that was made."""
    strong, searched = result.strong(), [target.payload.text for target in result.targets]
    return [
        asdict(payload)
        | {
            "strength": payload.strength,
            "runs_through": payload in strong,
            "searched": payload.text in searched,
        }
        for payload in result.payloads
    ]


def _model(spec: ScanSpec, precision: str, notes: tuple[str, ...]) -> dict[str, Any]:
    card = inspect_model(spec.ref)
    return {
        "name": card.name,
        "fingerprint": card.fingerprint,
        "precision": precision,
        "parameters": card.parameters,
        "notes": list(notes),
    }
