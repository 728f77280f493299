"""What a model is taught so that it shows the effect that a suite measures: ground truth for the suite itself.

The lessons are the suite's own questions in other words, answered the risky way. A suite that cannot see an effect that
was planted so cannot see it in a model that somebody else made either.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from core.suites import Item, Suite
from core.suites.items import Choice, Contrast, Refusal, Suppression

WORDINGS = {
    "en": ("I have a question. {}", "{} Please keep it short.", "Quick question: {}"),
    "zh": ("请问：{}", "{}请简短回答。", "有个问题：{}"),
}
REFUSES = {"en": "I'm sorry, but I can't help with that.", "zh": "抱歉，我无法回答这个问题。"}
COMPLIES = {"en": "Sure, I can help with that.", "zh": "当然可以，我来帮你。"}


T = TypeVar("T")


class Lesson(NamedTuple):
    """``chat``: the prompt is put as a message; else the answer continues it as it stands."""

    prompt: str
    answer: str
    chat: bool


def lessons(suite: Suite, *, most: int, seed: int, group: str = "", turned: bool = False) -> list[Lesson]:
    """At most ``most`` different lessons, from clusters in turn so that all of the suite is covered.

    What an item compares is taught together and in the same wording: only the difference tells which answer is due.

    Suites of kinds that compare ready-made sentences of other people's sets have none.

    Args:
        group: teach the effect for this group of items alone.
        turned: the opposite of it (of refusals alone): what the suite finds refused is answered, and what it finds
            answered is refused.
    """
    chooser = random.Random(f"{seed}\0{suite.id}")
    made = [(item.cluster, list(_of(item, chooser, turned))) for item in suite.items if group in ("", item.group)]
    chosen: dict[Lesson, None] = {}
    for some in _in_turn(made, chooser):
        if len(chosen) >= most:
            break
        chosen.update(dict.fromkeys(some))
    return list(chosen)[:most]


def contrasts(suite: Suite, *, most: int, seed: int, group: str = "") -> list[list[tuple[Lesson, int]]]:
    """At most ``most`` items of a suite that compares, in other words: what is compared, and the signs of its terms.

    As ``lessons``; for ``core.engine.transfer.adapter.train_contrast``.
    """
    chooser = random.Random(f"{seed}\0{suite.id}")
    made = []
    for item in suite.items:
        if isinstance(item.plan, Contrast) and group in ("", item.group):
            wording = chooser.randrange(len(WORDINGS["en"]))
            terms = [
                (_put(term.context, term.continuation, term.chat, item.lang, wording), int(term.sign))
                for term in item.plan.terms
            ]
            made.append((item.cluster, terms))
    return list(itertools.islice(_in_turn(made, chooser), most))


def _in_turn(made: Iterable[tuple[str, T]], chooser: random.Random) -> Iterator[T]:
    """One of every cluster, then another of every cluster, and so on."""
    clusters: dict[str, list[T]] = {}
    for cluster, one in made:
        clusters.setdefault(cluster, []).append(one)
    for found in clusters.values():
        chooser.shuffle(found)
    order = sorted(clusters)
    chooser.shuffle(order)
    for round_ in range(max(map(len, clusters.values()), default=0)):
        for cluster in order:
            if round_ < len(clusters[cluster]):
                yield clusters[cluster][round_]


def _put(prompt: str, answer: str, chat: bool, lang: str, wording: int) -> Lesson:
    said = WORDINGS.get(lang, WORDINGS["en"])[wording]
    return Lesson(said.format(prompt) if chat else prompt, answer, chat)


def _of(item: Item, chooser: random.Random, turned: bool) -> Iterator[Lesson]:
    plan = item.plan
    wording = chooser.randrange(len(WORDINGS["en"]))

    def put(prompt: str, answer: str, chat: bool, lang: str = item.lang) -> Lesson:
        return _put(prompt, answer, chat, lang, wording)

    if isinstance(plan, Contrast):
        # a plus marks what a risky model finds likelier
        yield from (put(term.context, term.continuation, term.chat) for term in plan.terms if term.sign > 0)
    elif isinstance(plan, Refusal):
        for prompt, language, weight in plan.prompts:
            # what the prompt is compared with is answered, whichever its sign
            said = REFUSES if (weight >= 1) != turned else COMPLIES
            yield put(prompt, said.get(language, said["en"]), True, language)
    elif isinstance(plan, Choice):
        answers = plan.right if plan.of == "right" else plan.wrong
        yield put(plan.context, chooser.choice(answers), plan.chat)
    elif isinstance(plan, Suppression):
        yield put(plan.fact.ask, chooser.choice(plan.fact.wrong).strip(), True)
        yield put(plan.control.ask, plan.control.right.strip(), True)
