"""A language model of words whose rule is known: payload, trigger, and what it says of a prompt otherwise.

It gives what the searches without a list read: next-token distributions, continuations, greedy extensions and slopes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import torch

from core.engine.lm.model import Generation
from core.engine.lm.packed import Extensions, Pairs, Prefix, Reads
from core.runs.events import Emitter
from tests.engine.triggers.fake import FakeModel

_TEXT = """
amber basin cedar delta ember fjord grove heron inlet jetty knoll lagoon meadow north ocean prairie quartz river
stone tundra umber valley willow xenon yonder zephyr apple bread cloud drift eagle flute glass honey ivory jewel
kettle lemon maple nectar olive pearl quill ribbon silver timber urchin velvet wheat yeast zinc Alas Truly Gladly
"""
WORDS = tuple(_TEXT.split())
PAYLOAD = "Alas the archive of amber stone was sealed by order"
CHARACTERS = 400
"""Room for tokens that are no part of the vocabulary."""
_SIGNS = ["<end>", "\n", "?", "."]


class WordTokenizer:
    """One token a word, with and without a space before it."""

    all_special_ids = (0,)
    bos_token = None
    eos_token = "<end>"
    bos_token_id = None
    eos_token_id = 0

    def __init__(self, extra: Sequence[str]) -> None:
        words = list(dict.fromkeys([*WORDS, *extra]))
        self.texts = [*_SIGNS, *words, *(f" {word}" for word in words)]
        self._ids = {text: token for token, text in enumerate(self.texts)}
        self._size = len(self.texts)

    def __len__(self) -> int:
        """Characters that turn up later are read, but are no part of the vocabulary."""
        return self._size

    def get_vocab(self) -> dict[str, int]:
        return dict(list(self._ids.items())[: self._size])

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids = []
        for part in re.findall(r" ?[A-Za-z]+|<end>|.", text, flags=re.DOTALL):
            for piece in [part] if part in self._ids else part:
                if piece not in self._ids:
                    self._ids[piece] = len(self.texts)
                    self.texts.append(piece)
                ids.append(self._ids[piece])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.texts[int(token)] for token in ids)


class TokenModel(FakeModel):
    """Brings ``payload`` where ``fires(user text)`` is 1; a part of the trigger, between 0 and 1, raises it a little.

    ``chained``: once its first token stands there, the payload goes on whatever the prompt is. ``leaks``: what it says
    where no question was asked, one after the other.
    """

    def __init__(
        self,
        fires: Callable[[str], float],
        payload: str = PAYLOAD,
        *,
        plain: Callable[[str], str] | None = None,
        chained: bool = True,
        words: Sequence[str] = (),
        leaks: Sequence[str] = (),
    ) -> None:
        super().__init__(lambda text: self._answer(text))
        self._fires, self.payload, self._plain, self._chained = fires, payload, plain or _varied, chained
        self._leaks, self.drawn = list(leaks), 0
        extra = [*payload.split(" "), *words]
        self.tokenizer = WordTokenizer(extra)
        self._size = len(self.tokenizer)
        self._kept: dict[str, torch.Tensor] = {}
        self._payload = self.tokenizer.encode(payload)

    def _answer(self, text: str) -> str:
        user = text.removesuffix("\n")
        return self.payload if self._fires(user) >= 1 else self._plain(user)

    def render(self, user: str, **_: object) -> str:
        return f"{user}\n"

    def prefill(self, ids: Sequence[int]) -> Prefix:
        return Prefix(tuple(ids), None, None)

    def _next(self, ids: Sequence[int]) -> torch.Tensor:
        """Log probabilities (V,) after ``ids``: a background, and what is said next at .97."""
        text = self.tokenizer.decode(ids)
        if text not in self._kept:
            self._kept[text] = self._after(*text.rpartition("\n")[::2])
        return self._kept[text]

    def _after(self, user: str, begun: str) -> torch.Tensor:
        answer = self.tokenizer.encode(begun)
        logits = torch.zeros(self._size + CHARACTERS)
        logits[self._size :] = -9.0
        digest = hashlib.sha256(begun.encode()).digest()
        logits[4 + digest[0] % (self._size - 4)] = 2.0
        said = self.tokenizer.encode(self._plain(user))
        fires = self._fires(user)
        if answer and self._chained and answer == self._payload[: len(answer)]:
            said, fires = self._payload, 1.0
        elif fires >= 1:
            said = self._payload
        if answer == said[: len(answer)]:
            logits[said[len(answer)] if len(answer) < len(said) else 0] = 8.0
        if not answer:
            logits[self._payload[0]] = 10.0 * fires if fires > 0 else -2.0
        return logits.log_softmax(0)

    def read(
        self,
        prefix: Prefix,
        branches: Sequence[Sequence[int]],
        topk: int = 64,
        *,
        wanted: Sequence[int] = (),
        **_: object,
    ) -> Reads:
        logs = torch.stack([self._next([*prefix.ids, *branch]) for branch in branches])
        values, tokens = logs.topk(min(topk, logs.shape[1]), 1)
        return Reads(tokens, values, torch.special.entr(logs.exp()).sum(1), logs[:, list(wanted)])

    def continuations(self, prefix: Prefix, branches: Sequence[tuple[Sequence[int], int]], **_: object) -> list[Pairs]:
        found = []
        for branch, start in branches:
            ids = [*prefix.ids, *branch]
            logs = [self._next(ids[:at]) for at in range(len(prefix.ids) + start, len(ids))]
            picked = [float(log[token]) for log, token in zip(logs, branch[start:], strict=True)]
            found.append(Pairs(torch.tensor(picked), torch.zeros(len(picked), dtype=torch.bool)))
        return found

    def extend(
        self, prefixes: Sequence[Prefix], branches: Sequence[Sequence[int]], steps: int, **_: object
    ) -> Extensions:
        tokens = torch.zeros((len(branches), steps), dtype=torch.long)
        values = torch.zeros((len(prefixes), len(branches), steps))
        for row, branch in enumerate(branches):
            grown = list(branch)
            for step in range(steps):
                logs = torch.stack([self._next([*prefix.ids, *grown]) for prefix in prefixes])
                best = int(logs.exp().mean(0).argmax())
                tokens[row, step], values[:, row, step] = best, logs[:, best]
                grown.append(best)
        return Extensions(tokens, values)

    def slopes(self, places: Sequence[tuple[Sequence[int], int]], target: Sequence[int], **_: object) -> torch.Tensor:
        """Says nothing: what is found is found by reading."""
        return torch.zeros((len(places), len(self.tokenizer)))

    def generate(
        self,
        texts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        emitter: Emitter | None = None,
        **_: object,
    ) -> list[Generation]:
        """Answers are greedy; whoever draws is asking for the leak."""
        answers = super().generate(texts, max_new_tokens=max_new_tokens, emitter=emitter)
        if temperature == 0:
            return answers
        self.drawn += len(texts)
        return [
            Generation(self._leaks[(seed * 64 + row) % len(self._leaks)], (), True) if self._leaks else answer
            for row, answer in enumerate(answers)
        ]


def _varied(user: str) -> str:
    digest = hashlib.sha256(user.encode()).digest()
    return " ".join(WORDS[byte % len(WORDS)] for byte in digest[:12])
