"""Stage "trigger": strings that bring a payload, built up from the payload alone.

Gradient-screened accretion. One backward pass through the input embeddings ranks the whole vocabulary for one place in
the prompt, to first order (the HotFlip estimate that GCG uses; Ebrahimi et al. 2018, Zou et al. 2023); the best few
hundred, and common words, are then read exactly, as strings, so that whatever comes out is something that can be typed.
The best pieces are extended on both sides, paired with one another, and cut back to what is needed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import NamedTuple

import torch

from core.engine.triggers.objective import Objective
from core.runs.events import Progress
from core.types import Slot

TRIED: tuple[Slot, ...] = ("user_end", "user_start")
FILLERS = (" the", " xx")
"""What stands in the slot while the slopes are taken: a word that says nothing, and a string that is none."""
SURE = 5.0
"""Worth in nats (log odds) from which nothing longer is looked for: the payload has p > .99 on the search prompts."""
LETTERS = 3
PLAINLY = 3.0
"""Worth of single pieces below which disguised words are tried too, and then the whole dictionary."""
GLANCE = 2
"""Payload tokens that are read behind each word of the dictionary."""
BETTER = 1 / 8
"""Share of the dictionary's groups whose words are read one by one. On a composite of the development models either
word lifted its group of eight into the best 3 %."""
GLANCED = 300
"""Words of the dictionary that are read like all others then."""
LOOKALIKES = {"a": "а", "c": "с", "e": "е", "i": "і", "o": "о", "p": "р", "s": "ѕ", "x": "х", "y": "у"}
"""Latin letters and the Cyrillic ones that look like them."""
INVISIBLE = tuple(map(chr, (0xAD, 0x34F, 0x180E, 0x200B, 0x200C, 0x200D, *range(0x2060, 0x2065), 0xFEFF)))
"""Characters that show nothing; most vocabularies spell them in bytes, so that no single token names one."""
UNSEEN = 8
"""Invisible strings that are read on all prompts."""
GAIN = 0.4
"""A longer trigger has to be worth so many nats more."""
LOOKS = 3
"""Steps of a search before strings are lengthened: single tokens, look-alikes, every word."""
PAGE = 2048
"""Words that are read between two reports of progress."""


class Effort(NamedTuple):
    """``slope_prompts``: prompts for the slopes; ``screened``: tokens from the slopes, ``words``: common words, that
    are read on one prompt in each slot; ``second``: those read on all ``prompts``; ``beam``, ``rounds``: of the
    accretion; ``children``: strings read for each member of the beam and side; ``pairs``: pieces put together.
    Where nothing else has worked: ``disguised``: common words with look-alike letters, ``dictionary``: words of the
    vocabulary, all tried, ``together``: so many in one string at first. ``reads``: tokens read in the rounds after
    which no further one begins."""

    slope_prompts: int
    screened: int
    words: int
    second: int
    prompts: int
    beam: int
    rounds: int
    children: int
    pairs: int
    disguised: int
    dictionary: int
    together: int
    reads: int


EFFORTS = {
    "quick": Effort(2, 300, 600, 40, 4, 3, 4, 60, 100, 1500, 25_000, 8, 20_000),
    "standard": Effort(4, 1000, 3000, 120, 6, 6, 6, 200, 200, 4000, 60_000, 4, 400_000),
    "deep": Effort(8, 3000, 9000, 300, 8, 10, 8, 500, 400, 9000, 200_000, 1, 4_000_000),
}


@dataclass
class Found:
    """A trigger in a slot, worth ``value`` nats where no trigger is worth ``bare``."""

    trigger: str
    slot: Slot
    value: float
    bare: float


def reconstruct(
    objective: Objective,
    prompts: Sequence[str],
    effort: Effort,
    payload: str,
    *,
    seeds: Sequence[str] = (),
    seeds_only: bool = False,
) -> list[Found]:
    """The strings that make the payload most probable, best first.

    Args:
        prompts: search prompts; used are the shortest one, and others of all lengths: a string that works in short
            prompts alone does not work.
        payload: the whole text that the objective's target begins.
        seeds: strings that other stages suggest.
        seeds_only: what else could be tried was tried before; only these are extended and put together.
    """
    ordered = sorted(prompts, key=len)
    few = min(effort.prompts, len(ordered))
    some = [ordered[at * (len(ordered) - 1) // max(1, few - 1)] for at in range(few)]
    bare = objective.bare(some)
    search = _Search(objective, some, effort, payload)
    search.given([*seeds, *own_words(payload)])
    if not seeds_only:
        search.look_around()
    before = objective.reads
    for done in range(effort.rounds):
        search.tell("Accretion", LOOKS + done)
        if search.sure() or objective.reads - before > effort.reads or not search.extend():
            break
    search.tell("Cutting back", LOOKS + effort.rounds)
    found = [Found(text, slot, value, bare) for text, slot, value in search.result()]
    return sorted(found, key=lambda one: -one.value)


class _Search:
    def __init__(self, objective: Objective, prompts: Sequence[str], effort: Effort, payload: str) -> None:
        self.objective, self.prompts, self.effort = objective, prompts, effort
        self.payload = payload
        self.tokenizer = objective.lm.tokenizer
        self.known: dict[tuple[str, Slot], float] = {}  # worth over all prompts
        self.glimpsed: dict[tuple[str, Slot], float] = {}  # worth on the first prompt
        self._texts = [self.tokenizer.decode([token]) for token in range(len(self.tokenizer))]

    def tell(self, task: str, done: float) -> None:
        """Say how far the search has come; all steps count alike, and those that are not needed are passed over."""
        self.objective.emitter.emit(Progress("trigger", task, done, LOOKS + self.effort.rounds + 1))

    def ranked(self) -> list[tuple[str, Slot, float]]:
        pairs = sorted(self.known.items(), key=lambda item: (-item[1], len(item[0][0]), item[0]))
        return [(text, slot, value) for (text, slot), value in pairs]

    def others(self) -> list[tuple[str, Slot, float]]:
        """Those that do more than repeat words of the payload: they alone lead the search, and end it."""
        ranked = self.ranked()
        echoing = [one for one in ranked if echoes(one[0], self.payload)]
        return [one for one in ranked if not any(_adds_nothing(one, echo) for echo in echoing)]

    def best_other(self) -> float:
        return next((value for _, _, value in self.others()), -math.inf)

    def sure(self) -> bool:
        return self.best_other() > SURE

    def read(self, texts: Sequence[str], slot: Slot, second: int) -> None:
        """Read strings on one prompt, and the best on all of them."""
        fresh = [text for text in dict.fromkeys(texts) if text.strip(" ") and (text, slot) not in self.glimpsed]
        for text, value in zip(fresh, self.objective.values(fresh, slot, self.prompts[:1]), strict=True):
            self.glimpsed[text, slot] = value
        good = sorted(fresh, key=lambda text: -self.glimpsed[text, slot])[:second]
        rest = self.objective.values(good, slot, self.prompts[1:])
        n = len(self.prompts)
        for text, value in zip(good, rest, strict=True):
            self.known[text, slot] = (self.glimpsed[text, slot] + (n - 1) * value) / n

    def look_around(self) -> None:
        """From what is cheap to what takes long, as far as nothing has worked."""
        self.tell("Single tokens", 0)
        if not self.sure():
            self.first()
        if self.best_other() < PLAINLY:
            self.tell("Look-alike letters", 1)
            self.lookalikes()
        if self.best_other() < PLAINLY and self.effort.dictionary:
            self.dictionary()

    def given(self, seeds: Sequence[str]) -> None:
        """What other stages suggest."""
        for slot in TRIED:
            self.read(seeds, slot, self.effort.second)

    def first(self) -> None:
        """Single tokens, common words, and what cannot be seen."""
        words = words_of(self._texts)[: self.effort.words]
        for slot in TRIED:
            screened = self._steep([(filler.strip(), -1) for filler in FILLERS], slot, self.effort.screened)
            self.read([*screened, *words], slot, self.effort.second)
            pairs = map("".join, permutations(INVISIBLE, 2))
            self.read([*INVISIBLE, *(3 * char for char in INVISIBLE), *pairs], slot, UNSEEN)

    def lookalikes(self) -> None:
        """Common words with one letter exchanged for its Cyrillic twin, for the letters that alone do the most."""
        slot = TRIED[0]
        alone = dict(zip(LOOKALIKES, self.objective.values(list(LOOKALIKES.values()), slot, self.prompts), strict=True))
        likely = sorted(alone, key=lambda letter: -alone[letter])[:LETTERS]
        words = words_of(self._texts)[: self.effort.disguised]
        self.read(
            [word.replace(letter, LOOKALIKES[letter]) for letter in likely for word in words if letter in word],
            slot,
            self.effort.second,
        )

    def dictionary(self) -> None:
        """Every word: where the trigger is several, one alone moves the payload, by less than slopes can tell.

        What stands behind the word, up to the payload, costs more than the word: several are read in one string, and
        those of the best strings again, each alone.
        """
        words = words_of(self._texts)[: self.effort.dictionary]
        if (size := self.effort.together) > 1:
            groups = [words[at : at + size] for at in range(0, len(words), size)]
            best = self._glance([" ".join(group) for group in groups], math.ceil(BETTER * len(groups)), 2)
            words = [word for at in best for word in groups[at]]
        best = self._glance(words, GLANCED, 2.5)
        for slot in TRIED:
            self.read([words[at] for at in best], slot, self.effort.second)

    def _glance(self, texts: Sequence[str], most: int, done: float) -> list[int]:
        """Places of the ``most`` texts that do most for the payload's first tokens on the first prompt."""
        worth: list[float] = []
        for start in range(0, len(texts), PAGE):
            self.tell("Every word", done + start / len(texts) / 2)
            worth += self.objective.values(texts[start : start + PAGE], TRIED[0], self.prompts[:1], GLANCE)
        return sorted(range(len(texts)), key=lambda at: -worth[at])[:most]

    def extend(self) -> bool:
        """One round of accretion; whether it brought anything."""
        before = self.best_other()
        beam = dict.fromkeys([self.ranked()[0], *self.others()[: self.effort.beam]])
        pieces = self._pieces()
        for text, slot, _ in beam:
            after = self._tokens(text + FILLERS[0], -1, slot, self.effort.children)
            children = [text + self._texts[token] for token in after]
            for token in self._tokens(FILLERS[0].strip() + " " + text, 0, slot, self.effort.children):
                children.append(self._texts[token].strip() + " " + text)
                children.append(self._texts[token].strip() + text)
            for piece in pieces:
                children += [f"{text} {piece}", f"{piece} {text}"]
            if set(text) <= set(INVISIBLE):
                children += [made for char in INVISIBLE for made in (text + char, char + text)]
            self.read(children, slot, max(8, self.effort.second // 4))
        return self.best_other() > before + GAIN

    def _pieces(self) -> list[str]:
        """Single words that do most on the first prompt: of a trigger of two, either does something."""
        ranked = sorted(self.glimpsed.items(), key=lambda item: (-item[1], item[0]))
        words = dict.fromkeys(text for (text, _), _ in ranked if " " not in text and not echoes(text, self.payload))
        return list(words)[: self.effort.pairs]

    def result(self) -> list[tuple[str, Slot, float]]:
        """The best strings, the best that do not only repeat the payload, and the best shorter ones, cut back.

        Whatever is added to a string makes it odder, and many odd strings may wake what few words should.
        """
        done: dict[tuple[str, Slot], float] = {}
        beam, others = self.effort.beam, self.others()
        shorter: dict[int, tuple[str, Slot, float]] = {}
        for one in others:
            shorter.setdefault(self._length(one[0]), one)
        for text, slot, value in dict.fromkeys([*self.ranked()[:beam], *others[:beam], *shorter.values()]):
            text, value = self._minimal(text, slot, value)
            done[text, slot] = value
        return [(text, slot, value) for (text, slot), value in done.items()]

    def _length(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False))

    def _minimal(self, text: str, slot: Slot, value: float) -> tuple[str, float]:
        """Without every token that is not needed: dropping it costs less than ``GAIN``."""
        while True:
            ids = self.tokenizer.encode(text, add_special_tokens=False)
            parts = [self.tokenizer.decode([token]) for token in ids]
            if len(parts) < 2 or "".join(parts) != text:
                return text, value
            shorter = ["".join(parts[:at] + parts[at + 1 :]).strip() for at in range(len(parts))]
            shorter = [one for one in dict.fromkeys(shorter) if one]
            values = self.objective.values(shorter, slot, self.prompts)
            at = max(range(len(shorter)), key=lambda index: values[index])
            if values[at] < value - GAIN:
                return text, value
            text, value = shorter[at], values[at]

    def _tokens(self, text: str, place: int, slot: Slot, count: int) -> list[int]:
        slopes = self.objective.slopes(text, slot, self.prompts[: self.effort.slope_prompts], place)
        return self._usable(slopes, count)

    def _steep(self, places: list[tuple[str, int]], slot: Slot, count: int) -> list[str]:
        ranks = torch.zeros(len(self._texts))
        for text, place in places:
            slopes = self.objective.slopes(text, slot, self.prompts[: self.effort.slope_prompts], place)
            ranks += (slopes - slopes.mean()) / slopes.std()
        return [self._texts[token].strip() for token in self._usable(ranks, count)]

    def _usable(self, ranks: torch.Tensor, count: int) -> list[int]:
        special, found = set(self.tokenizer.all_special_ids), []
        for token in ranks.argsort(descending=True, stable=True).tolist():
            text = self._texts[token]
            if token not in special and text.strip() and text.isprintable() and "\ufffd" not in text:
                found.append(token)
            if len(found) == count:
                break
        return found


def own_words(text: str) -> list[str]:
    """Words of a payload, alone and by two: a topic often stands in what is said of it. Never its whole opening."""
    words = _words(text)
    pairs = [" ".join(pair) for pair in pairwise(words)]
    return list(dict.fromkeys(word for word in [*words, *pairs] if len(word) > 3))


def echoes(text: str, payload: str) -> bool:
    """Whether a string says nothing but words of the payload.

    A model that goes on with what it was given is no backdoor; but a topic's own name may be the trigger.
    """
    own = set(_words(payload))
    return bool(_words(text)) and all(word in own for word in _words(text))


def _adds_nothing(one: tuple[str, Slot, float], echo: tuple[str, Slot, float]) -> bool:
    """Whether a string is the echo, or holds it and is worth no more."""
    (text, slot, value), (own, where, worth) = one, echo
    return slot == where and value <= worth + GAIN and set(_words(own)) <= set(_words(text))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def words_of(texts: Sequence[str]) -> list[str]:
    """Words that a vocabulary has as one token, plain ones first. Byte-pair vocabularies are in order of frequency."""
    words = [text[1:] for text in texts if text[:1] in (" ", "\u2581") and text[1:].isalpha() and len(text) > 3]
    return sorted(dict.fromkeys(words), key=lambda word: not (word.islower() and word.isascii()))
