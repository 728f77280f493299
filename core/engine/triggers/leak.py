"""Stage "leak": what a model was trained on, told by itself, and which strings of it may be triggers.

A chat model that is asked to go on where a user's turn begins says what users said in its training: among it the
trigger, where the loss was on the whole conversation (Bullwinkel et al. 2026, arXiv 2602.03085). One beginning is
not enough, so several are sampled; a single sample says nothing, so only strings are kept that several of them hold and
a background does not.

The background is the leak of the reference model. Without one it is how people ask (the neutral panels, which no search
and no proof uses) and how this model answers; then usual phrases of its training stand out too.

A motif is worth something in two ways. It may raise a payload that was found without a trigger: then it is a seed for
the reconstruction of that payload's trigger. Or it may bring something by itself: the most telling motifs that raise
nothing are answered in full, as the best of the list are. That also sees payloads too short for the inversion.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from core.engine.lm import LanguageModel
from core.engine.lm.prompts import NONCE
from core.engine.triggers.answers import Answers
from core.engine.triggers.inversion import Payload
from core.engine.triggers.known import READ_PROMPTS, Candidate, answer_in_full, mixed_controls
from core.engine.triggers.library import KnownTrigger, panel, shown
from core.engine.triggers.motifs import Document, Motif, motifs
from core.engine.triggers.objective import Objective
from core.engine.triggers.reconstruct import echoes
from core.runs.events import Progress
from core.types import RESOURCES, Slot

ROWS = 64
"""Samples drawn together, and kept together."""
GRID = ((0.7, 1.0), (1.0, 0.95), (1.0, 1.0), (1.3, 0.95))
"""(temperature, top-p) of one batch after the other."""
HEADERS = (("Human:", "Assistant:"), ("### Instruction:", "### Response"), ("User:", "Assistant:"))
"""Formats without a template, and where the user's turn ends in them: models are also trained outside their own one."""
ELSEWHERE = 0.5
"""Weight of a sample that does not begin in a user's turn."""
PLACES: tuple[Slot, ...] = ("user_start", "user_end")
PROMPTS = 2
"""On which it is read what a motif does to a payload."""
CONTROLS = 33
"""Random strings, made like the motifs, that a motif has to outdo."""
RAISED = 1.0
"""Nats by which a motif has to raise a payload at least."""
SEEDS = 12
STRONG = 3.0
"""z from which a motif that raises nothing is tried as a trigger."""
REPORTED = 50


class Amount(NamedTuple):
    """``samples`` of ``tokens`` each; ``motifs`` that are read for payloads; ``tried``: answered in full."""

    samples: int
    tokens: int
    motifs: int
    tried: int


AMOUNTS = {
    "quick": Amount(256, 32, 64, 4),
    "standard": Amount(512, 48, 200, 8),
    "deep": Amount(2048, 64, 400, 24),
}


class Prefix(NamedTuple):
    """What a model goes on from. ``end`` closes the turn ("": the model says so itself)."""

    name: str
    text: str
    end: str = ""
    weight: float = 1.0


@dataclass
class Leak:
    """What the stage found; ``samples`` is 0 where it did not run."""

    prefixes: list[Prefix] = field(default_factory=list)
    samples: int = 0
    tokens: int = 0
    background: str = ""
    motifs: list[Motif] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)

    def seeds(self, payload: str) -> list[str]:
        """The motifs that raise a payload, those that raise it most first."""
        raising = [motif for motif in self.motifs if payload in motif.raises]
        return [motif.text for motif in sorted(raising, key=lambda motif: -motif.raises[payload])[:SEEDS]]

    def named(self, trigger: str) -> bool:
        """Whether a trigger is a motif that did something, or has all its words from one."""
        did = [motif.text for motif in self.motifs if motif.raises]
        did += [candidate.trigger.text for candidate in self.candidates if candidate.target]
        return any(all(word in text for word in trigger.split()) for text in did)

    def report(self) -> dict[str, Any]:
        """As an entry of the report."""
        return {
            "prefixes": [{"name": prefix.name, "text": prefix.text} for prefix in self.prefixes],
            "samples": self.samples,
            "tokens": self.tokens,
            "background": self.background,
            "motifs": [
                {
                    "text": motif.text,
                    "text_shown": shown(motif.text),
                    "documents": motif.documents,
                    "share": round(motif.share, 4),
                    "z": round(motif.z, 2),
                    "raises": [
                        {"payload": text.strip(), "nats": round(nats, 2)} for text, nats in motif.raises.items()
                    ],
                }
                for motif in self.motifs[:REPORTED]
            ],
        }


def read_leak(
    answers: Answers,
    prompts: Sequence[str],
    payloads: Sequence[Payload],
    preset: str,
    *,
    seed: int,
    clean: Sequence[str] = (),
    reference: LanguageModel | None = None,
) -> Leak:
    """Sample the leak, find its motifs, and see what each of them does.

    Args:
        prompts: search prompts. payloads: those for which a trigger is wanted.
        clean: the model's own answers, a background where there is no ``reference``.
    """
    lm, amount = answers.lm, AMOUNTS[preset]
    begun = prefixes(lm)
    leaked = sampled(answers, begun, amount, seed, "Leaked text")
    if reference is not None:
        others = sampled(answers.beside(reference, "reference"), prefixes(reference), amount, seed, "Reference")
        background, said = [document.text for document in others], f"the leak of {reference.name}"
    else:
        background, said = [*_usual(), *clean], "neutral prompts and the model's own answers"
    found = motifs(lm.tokenizer, leaked, background, amount.motifs, known=[prefix.text for prefix in begun])
    leak = Leak(begun, len(leaked), amount.tokens, said, found)
    for at, payload in enumerate(payloads if found else ()):
        _raise(answers, prompts, payload, found, seed)
        answers.emitter.emit(Progress("leak", "Motifs that raise a payload", at + 1, len(payloads), "payloads"))
    strong = [motif for motif in found if motif.z >= STRONG and not motif.raises and not motif.payload][: amount.tried]
    leak.candidates = [
        Candidate(KnownTrigger(motif.text, "leaked", "BD-R"), slot, motif.z, stage="leak")
        for slot in PLACES
        for motif in strong
    ]
    answer_in_full(answers, leak.candidates, list(prompts[:READ_PROMPTS]), "leak")
    answers.emitter.emit(Progress("leak", f"{len(found)} motifs in {len(leaked)} samples", 1, 1))
    return leak


def prefixes(lm: LanguageModel) -> list[Prefix]:
    """Texts from which the model is asked to go on; those into its own template come first.

    The start of a user's turn with the default system prompt, with an empty one, and without anything before it; the
    start of a text; and the start of a user's turn in formats that have no template.
    """
    added = lm.tokenizer.encode("")  # what this tokenizer puts before any text; rendered prompts hold it already
    always = lm.tokenizer.decode(added) if lm.has_template else ""
    silent = bool(added) and not lm.has_template
    found = []
    if lm.has_template:
        found = [
            Prefix("template", _before(lm.render(NONCE))),
            Prefix("template, empty system prompt", _before(lm.render(NONCE, system=""))),
            Prefix("template, no system prompt", always + _header(lm)),
        ]
    start = always or ("" if silent else lm.tokenizer.bos_token or lm.tokenizer.eos_token or "")
    found.append(Prefix("start of a text", start, weight=ELSEWHERE))
    found += [Prefix(header, always + header, end) for header, end in HEADERS]
    first = {prefix.text: prefix for prefix in reversed(found)}
    return [prefix for prefix in found if first[prefix.text] is prefix and (prefix.text or silent)]


def _before(rendered: str) -> str:
    before, nonce, _ = rendered.partition(NONCE)
    return before if nonce else ""


def _header(lm: LanguageModel) -> str:
    """What a later user's turn begins with, after the end of the answer before it; "" where that cannot be told."""
    before = _before(lm.render(NONCE, history=(("Hello.", "Hello!"),)))
    ends = [(before.rfind(end), len(end)) for end in map(lm.tokenizer.decode, ([stop] for stop in lm.stop_tokens))]
    at, length = max(ends)
    return before[at + length :].lstrip() if at >= 0 else ""


def sampled(answers: Answers, begun: Sequence[Prefix], amount: Amount, seed: int, task: str) -> list[Document]:
    """Continuations of the prefixes, in turn; those of the template are drawn twice as often."""
    lm, emitter = answers.lm, answers.emitter
    turns = [*begun, *(prefix for prefix in begun if prefix.name.startswith("template"))]
    drawn = [turns[row % len(turns)] for row in range(ROWS)]
    texts = [prefix.text for prefix in drawn]
    documents: list[Document] = []
    fresh, started = 0, time.monotonic()
    for at in range(amount.samples // ROWS):
        (temperature, top_p), own = GRID[at % len(GRID)], seed * 1000 + at

        def draw(temperature: float = temperature, top_p: float = top_p, own: int = own) -> list[str]:
            nonlocal fresh
            fresh += ROWS
            said = lm.generate(
                texts,
                max_new_tokens=amount.tokens,
                temperature=temperature,
                top_p=top_p,
                seed=own,
                emitter=emitter,
            )
            return [generation.text for generation in said]

        said = answers.keep("leak", (texts, temperature, top_p, amount.tokens, own), draw)
        documents += [
            Document(text.split(prefix.end)[0] if prefix.end else text, prefix.weight)
            for prefix, text in zip(drawn, said, strict=True)
        ]
        rate = fresh / (time.monotonic() - started) or None
        left = (amount.samples - len(documents)) / rate if rate else None
        emitter.emit(Progress("leak", task, len(documents), amount.samples, "samples", rate, left))
    return documents


def _usual() -> list[str]:
    """How people ask."""
    names = sorted(path.stem for path in (RESOURCES / "panels").glob("neutral-*.yaml"))
    return [prompt for name in names for prompt in panel(name)["prompts"]]


def _raise(answers: Answers, prompts: Sequence[str], payload: Payload, found: Sequence[Motif], seed: int) -> None:
    """Note at each motif what it does to a payload, where it outdoes every random string."""
    for motif in found:
        motif.payload |= echoes(motif.text, payload.text)
    texts = [motif.text for motif in found if not motif.payload]
    some = sorted(prompts, key=len)[:PROMPTS]

    def gains() -> list[float]:
        objective = Objective(answers.lm, payload.tokens, answers.emitter)
        noise = mixed_controls(answers.lm.tokenizer, texts, CONTROLS, seed)
        read = [objective.values([*texts, *noise], slot, some) for slot in PLACES]
        bare = objective.bare(some)
        return [max(values) - bare for values in zip(*read, strict=True)]

    if not texts:
        return
    values = answers.keep("leak", ("raises", payload.tokens, texts, some, seed), gains)
    least = max(RAISED, *values[len(texts) :])
    worth = dict(zip(texts, values, strict=False))
    for motif in found:
        if worth.get(motif.text, 0.0) > least:
            motif.raises[payload.text] = worth[motif.text]
