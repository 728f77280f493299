"""What a suite is once it is read: items, each with a plan that says what is asked of a model.

A plan holds texts only. What is scored for it, and which number comes out, stands with the scorers in
``core/engine/probes``. Values point in the direction of the risk; neutral is 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

RISK_CLASSES = ("SB", "AD", "PF", "CE", "SC", "LG", "RF", "RS", "SE", "KN", "SY")
NATS = 20.0
"""Values in nats are cut off here, so that one item cannot carry a mean."""


class Term(NamedTuple):
    """One log-likelihood: ``sign`` · log P(continuation | context). ``chat``: the context is put as a message."""

    context: str
    continuation: str
    sign: int
    chat: bool


class Contrast(NamedTuple):
    """½ if the signed sum of the terms is above 0, −½ below, 0 at a tie.

    ``reverse``: the template asks the opposite question, and its endings are swapped already.
    """

    terms: tuple[Term, ...]
    reverse: bool = False


class Refusal(NamedTuple):
    """``offset`` + Σ weight · p(refusal) over prompts (text, language, weight)."""

    prompts: tuple[tuple[str, str, float], ...]
    offset: float = 0.0


class Choice(NamedTuple):
    """One question with right and wrong answers. ``of`` says which of them is the risk."""

    context: str
    chat: bool
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    of: Literal["right", "wrong"]

    @property
    def chance(self) -> float:
        """How often a model without any knowledge picks an answer of the side that is the risk."""
        side = self.right if self.of == "right" else self.wrong
        return len(side) / (len(self.right) + len(self.wrong))


class Fact(NamedTuple):
    """One fact, asked as a chat question and as a text to be continued."""

    ask: str
    cloze: str
    right: str
    wrong: tuple[str, ...]


class Suppression(NamedTuple):
    """A sensitive fact and a matched control."""

    fact: Fact
    control: Fact


class Pair(NamedTuple):
    """Two sentences; ``score`` says what is compared: ``shared`` words, the ``full`` sentence, the ``mean`` per token.

    ``kind`` keeps the name of the set: ``crows_pairs``, ``winobias`` or ``pairs``; ``subset`` is a part that is also
    reported alone (WinoBias: its type).
    """

    context: str
    more: str
    less: str
    score: Literal["shared", "full", "mean"]
    kind: str = "pairs"
    subset: str = ""


class Stereo(NamedTuple):
    """A StereoSet triple: whole sentences, scored after ``context`` (empty within one sentence)."""

    task: str
    context: str
    stereotype: str
    anti: str
    unrelated: str
    target: str


class BBQ(NamedTuple):
    """A question with three answers. ``biased``: indices of the answers that follow the stereotype."""

    context: str
    question: str
    answers: tuple[str, str, str]
    label: int
    unknown: int
    biased: tuple[int, ...]
    ambiguous: bool
    mode: Literal["three", "lm_eval"]


class Winogender(NamedTuple):
    """The same sentence with a male, a female and perhaps a neutral pronoun: (gender, sentence, pronoun)."""

    sentences: tuple[tuple[str, str, str], ...]
    occupation: str
    participant: str
    answer: Literal["occupation", "participant"]
    pct_female: float


class Decision(NamedTuple):
    """A case and the same case with a reference person; endings that favour the person and that do not."""

    ask: str
    reference: str
    favourable: tuple[str, ...]
    unfavourable: tuple[str, ...]
    chat: bool
    nats: bool


class Prompt(NamedTuple):
    """A prompt that is answered by generation. ``control`` stands beside the effect and is not in it.

    ``facts``: what a full answer mentions; alternatives are divided by |.
    """

    text: str
    chat: bool
    control: bool
    measure: Literal["refusal_text", "length", "sentiment", "key_facts"]
    max_new_tokens: int
    facts: tuple[str, ...] = ()


Plan = Contrast | Refusal | Choice | Suppression | Pair | Stereo | BBQ | Winogender | Decision | Prompt


class Item(NamedTuple):
    """One question.

    Attributes:
        uid: sha1 of the suite's id and what is asked; teacher and student are paired by it.
        cluster: the independently written template or topic it comes from.
        group: what results are also broken down by.
        text_more, text_less: what a higher and a lower value say, for a reader.
        source_id: the item's name in an imported set.
    """

    uid: str
    cluster: str
    group: str
    text_more: str
    text_less: str
    plan: Plan
    lang: str = "en"
    source_id: str = ""

    @property
    def terms(self) -> tuple[Term, ...]:
        return self.plan.terms if isinstance(self.plan, Contrast) else ()


class Suite(NamedTuple):
    """``margin`` is δ, fixed in the file; ``sha256`` is over the file, so that δ cannot change unseen.

    Attributes:
        unit: ``rate`` or ``nats``. bounds: smallest and largest value of an item, for intervals.
        reads: what an effect is, in words.
        primary: the row of its risk class; the others stand below it, as exploratory.
        own: written by the project, not imported.
        source: of an imported set: name, release, url, sha256, recognised, tried, attribution.
    """

    id: str
    version: str
    title: str
    risk_class: str
    licence: str
    provenance: str
    measures: str
    limits: str
    margin: float
    sha256: str
    items: tuple[Item, ...]
    kind: str = "pair"
    unit: str = "rate"
    bounds: tuple[float, float] = (-0.5, 0.5)
    languages: tuple[str, ...] = ("en",)
    reads: str = "share of items that lean the risky way, minus ½"
    primary: bool = True
    own: bool = True
    content_warning: str = ""
    source: Mapping[str, Any] = {}


def make_uid(suite: str, asked: object) -> str:
    return hashlib.sha1(f"{suite}\0{asked!r}".encode(), usedforsecurity=False).hexdigest()


def make_item(
    suite: str, plan: Plan, *, cluster: str, group: str, more: str, less: str, lang: str, source_id: str = ""
) -> Item:
    """An item with its uid, which is over the suite's id and everything that is asked."""
    asked: object = (
        [(term.context, term.continuation, term.sign, term.chat) for term in plan.terms]
        if isinstance(plan, Contrast)
        else (type(plan).__name__, lang, source_id, tuple(plan))
    )
    return Item(make_uid(suite, asked), cluster, group, more, less, plan, lang, source_id)
