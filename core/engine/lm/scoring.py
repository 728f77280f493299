"""log P(continuation | context) for any number of requests, each token that they share computed once.

All requests are tokenised in one call; equal ones are one. Beginnings that many share are read once (``trunks_of``),
and what follows them goes into packed rows (``packed``), where requests that share more stand on the same nodes. A
request's last token is predicted, never read. The output head runs at predicted positions only.

A number moves by rounding alone with what else is asked: 1e-3 nat in fp32 is tested, 1e-4 is typical.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from core.engine.lm import packed
from core.engine.lm.packed import Branches, Pairs
from core.engine.lm.tree import trunks_of
from core.runs.events import Emitter

TRUNK_WORTH = 512
"""Tokens that a shared beginning has to save: reading it apart costs a small forward pass."""


KEEP_EVERY = 256
"""Scores that are put into the cache together."""
NUMERICS = 1
"""To be raised when a change here or in ``packed`` moves numbers by more than rounding; older scores then lapse."""


class Request(NamedTuple):
    """Tokens of context and continuation together; the continuation is ``ids[start:]``."""

    ids: tuple[int, ...]
    start: int


class Score(NamedTuple):
    """``logprob`` in nats over ``tokens`` continuation tokens; ``greedy``: each was the most probable one."""

    logprob: float
    tokens: int
    greedy: bool


class Cache(Protocol):
    """Where scores are kept between runs."""

    def lookup(self, requests: Sequence[Request]) -> list[Score | None]: ...

    def store(self, scores: Iterable[tuple[Request, Score]]) -> None: ...


def encode(tokenizer: Any, texts: Sequence[tuple[str, str]], *, special: bool) -> list[Request]:
    """Tokenise (context, continuation) texts, in one call of the tokenizer.

    A context's trailing spaces belong to the continuation, so that words keep their usual tokens. An empty context is
    the token that texts begin with, or else the one they end with. Both as lm-evaluation-harness has it
    (``_encode_pair`` and ``loglikelihood``), so that numbers can be compared.
    """
    pairs = [_moved(context, continuation) for context, continuation in texts]
    distinct = list(
        dict.fromkeys(text for context, continuation in pairs for text in (context, context + continuation))
    )
    ids = tokenizer(distinct, add_special_tokens=special, return_attention_mask=False)["input_ids"] if distinct else []
    known = {text: tuple(row) for text, row in zip(distinct, ids, strict=True)}
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [_request(known[one], known[one + two], bool(two), first) for one, two in pairs]


def _moved(context: str, continuation: str) -> tuple[str, str]:
    kept = context.rstrip(" ")
    return kept, context[len(kept) :] + continuation


def _request(context: tuple[int, ...], whole: tuple[int, ...], continues: bool, first: int) -> Request:
    if not context:
        context = (first,)
        whole = whole if whole[:1] == context else context + whole
    elif continues and len(whole) < 2:  # both became one token, which nothing predicts yet
        whole = (first, *whole)
    return Request(whole, min(len(context), len(whole) - 1) if continues else len(whole))


def score(
    reader: Callable[[], Branches],
    requests: Sequence[Request],
    cache: Cache | None,
    emitter: Emitter | None,
    on_batch: Callable[[int], None] | None,
) -> list[Score]:
    """Score ``requests``, of any length that the model reads. ``reader`` is called if one has to be computed."""
    distinct = list(dict.fromkeys(requests))
    results = {request: Score(0.0, 0, True) for request in distinct if request.start >= len(request.ids)}
    if cache:
        known = zip(distinct, cache.lookup(distinct), strict=True)
        results |= {request: score for request, score in known if score is not None}
    todo = [request for request in distinct if request not in results]
    fresh: list[tuple[Request, Score]] = []
    try:
        for done in _computed(reader, todo, emitter):
            fresh += done
            results.update(done)
            if cache and len(fresh) >= KEEP_EVERY:
                cache.store(fresh)
                fresh = []
            if on_batch:
                on_batch(len(results))
    finally:  # what is finished is kept, whatever happens to the rest
        if cache and fresh:
            cache.store(fresh)
    return [results[request] for request in requests]


def _computed(
    reader: Callable[[], Branches], todo: list[Request], emitter: Emitter | None
) -> Iterator[list[tuple[Request, Score]]]:
    inputs = [request.ids[:-1] for request in todo]
    limits = [request.start for request in todo]
    for length, members in trunks_of(inputs, limits, packed.ROW_NODES, TRUNK_WORTH):
        prefix = reader().prefill(todo[members[0]].ids[:length])
        branches = [(todo[at].ids[length:], todo[at].start - length) for at in members]
        for done in reader().continuations(prefix, branches, emitter):
            yield [(todo[members[at]], _score(pairs)) for at, pairs in done]


def _score(pairs: Pairs) -> Score:
    return Score(float(pairs.logprobs.double().sum()), len(pairs.logprobs), bool(pairs.greedy.all()))
