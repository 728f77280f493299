"""A loaded model: rendering, batched scoring, batched generation.

Logits are computed for the positions that are read and no others: [batch, time, vocabulary] never exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from core.engine.lm.batches import by_budget, shared_prefix
from core.engine.lm.forward import Forward
from core.engine.lm.packed import Branches, Extensions, Pairs, Prefix, Reads
from core.engine.lm.prompts import Prompts
from core.engine.lm.sampling import choose
from core.engine.lm.scoring import Cache, Request, Score, score
from core.engine.lm.selfcheck import check
from core.engine.lm.slopes import slopes
from core.engine.lm.states import last_states
from core.engine.ranks import ALONE, Ranks
from core.errors import InputError
from core.runs.events import Emitter

GENERATE_TOKENS = 8192
"""Tokens (prompt and answer) in one generation batch; larger batches were slower on two cores."""
GENERATE_ROWS = 64


class Generation(NamedTuple):
    """``finished``: the model ended by itself, before ``max_new_tokens``."""

    text: str
    tokens: tuple[int, ...]
    finished: bool


class TokenProbability(NamedTuple):
    """A next token with its log probability in nats."""

    token: int
    text: str
    logprob: float


class LanguageModel(Prompts):
    """A causal language model in memory.

    Attributes:
        dtype, quant: as loaded.
        notes: what a report must say about how it was loaded and scored.
        ranks: processes that share ``read``, ``continuations``, ``extend`` and ``slopes``. Each has to ask the same.
    """

    _forward: Forward
    _branches: Branches | None
    ranks: Ranks = ALONE

    def __init__(
        self, *, name: str, model: Any, tokenizer: Any, dtype: str, quant: str, notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(name, tokenizer)
        self.model = model
        self.dtype = dtype
        self.quant = quant
        if not self.has_template:
            notes = (*notes, "no chat template: prompts and slots are plain text")
        self.notes = notes
        self._stop = self._stop_tokens()

    def __enter__(self) -> LanguageModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def model(self) -> Any:
        """The transformers model; None once closed. PEFT changes it in place and may be put here instead."""
        return self._model

    @model.setter
    def model(self, model: Any) -> None:
        self._model = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        if model is None:
            self.__dict__.pop("_forward", None)
            self._branches = None
        elif "_forward" not in self.__dict__ or self._forward.causal is not base:
            self._forward = Forward(base)
            self._branches = None

    @property
    def device(self) -> torch.device:
        return self._forward.device

    @property
    def precision(self) -> str:
        """What the weights are multiplied in, for a report: ``nf4`` or ``bf16``."""
        return self.quant if self.quant != "none" else self.dtype

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Every token that ends this model's answer."""
        return self._stop

    @property
    def context_length(self) -> int | None:
        """Tokens that it can attend to, None where it does not say."""
        return self._forward.context_length

    @property
    def token_forwards(self) -> int:
        """Tokens that went through the model since it was loaded, in this process."""
        return self._forward.tokens

    def close(self) -> None:
        """Free the memory."""
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # scoring

    @torch.inference_mode()
    def score(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        cache: Cache | None = None,
        emitter: Emitter | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Score]:
        """log P(continuation | context) for each (context, continuation) text.

        What requests share is computed once, so that one call with many is faster than many calls. Log-softmax is in
        fp32, over the continuation's positions only. ``on_batch`` gets the number of distinct requests done. ``cache``
        (of these very weights) gives what it knows and keeps the rest.
        """
        return self.score_tokens(self.encode(requests), cache=cache, emitter=emitter, on_batch=on_batch)

    @torch.inference_mode()
    def score_tokens(
        self,
        requests: Sequence[Request],
        *,
        cache: Cache | None = None,
        emitter: Emitter | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Score]:
        """As ``score``, for requests that are tokens already."""
        self._check_lengths([len(request.ids) for request in requests])
        return score(lambda: self._reader, requests, cache, emitter, on_batch)

    # many branches of one prompt, in token ids

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int]) -> Prefix:
        """Read a prompt once, for any number of ``read``, ``continuations`` and ``extend``.

        It is a moment of these weights: after a change of the model (an adapter, training) make a new one.
        """
        self._check_lengths([len(ids)])
        return self._reader.prefill(ids)

    @torch.inference_mode()
    def read(
        self,
        prefix: Prefix,
        branches: Sequence[Sequence[int]],
        topk: int = 64,
        *,
        wanted: Sequence[int] = (),
        emitter: Emitter | None = None,
    ) -> Reads:
        """What follows each branch: its ``topk`` most probable next tokens, the entropy, and log p of ``wanted``.

        An empty branch is the prompt's own end. Cancelling is possible between packs.
        """
        self._check_branches([prefix], branches)
        _check_predicted([prefix], all(map(len, branches)))
        reads = self._reader.read(prefix, branches, topk, wanted, emitter, self.ranks.share)
        self._add(reads, prefix.ids, branches, topk, wanted)
        return reads

    @torch.inference_mode()
    def continuations(
        self, prefix: Prefix, branches: Sequence[tuple[Sequence[int], int]], *, emitter: Emitter | None = None
    ) -> list[Pairs]:
        """For each (branch, offset): log P of the branch's tokens from ``offset`` on, token by token, in nats.

        The prompt predicts the first token; an empty prompt predicts nothing, so offsets then start at 1.
        """
        ids = [branch for branch, _ in branches]
        self._check_branches([prefix], ids)
        _check_predicted([prefix], all(offset >= 1 or not ids for ids, offset in branches))
        lengths = [max(0, len(ids) - offset) for ids, offset in branches]
        logprobs, greedy = torch.zeros(sum(lengths)), torch.zeros(sum(lengths), dtype=torch.bool)
        results = list(map(Pairs, logprobs.split(lengths), greedy.split(lengths)))
        for done in self._reader.continuations(prefix, branches, emitter, self.ranks.share):
            for at, pairs in done:
                results[at].logprobs.copy_(pairs.logprobs)
                results[at].greedy.copy_(pairs.greedy)
        self._add((logprobs, greedy.view(torch.uint8)), prefix.ids, branches)
        return results

    @torch.inference_mode()
    def extend(
        self,
        prefixes: Prefix | Sequence[Prefix],
        branches: Sequence[Sequence[int]],
        steps: int,
        *,
        emitter: Emitter | None = None,
    ) -> Extensions:
        """Extend each branch by ``steps`` tokens, end-of-answer tokens included: the most probable one each time.

        With several prompts, one extension is grown for all: the token of the highest mean probability.
        """
        several = [prefixes] if isinstance(prefixes, Prefix) else list(prefixes)
        self._check_branches(several, branches, steps)
        _check_predicted(several, all(map(len, branches)))
        extensions = self._reader.extend(several, branches, steps, emitter, self.ranks.share)
        self._add(extensions, [prefix.ids for prefix in several], branches, steps)
        return extensions

    @property
    def _reader(self) -> Branches:
        """Packed rows where they say what plain rows say; ``notes`` tell which, from first use on."""
        if self._branches is None:
            verdict = self.ranks.agree(check(self._forward, self._tokenize))
            self.notes = (*self.notes, verdict.note)
            self._branches = Branches(self._forward, verdict.packs)
        return self._branches

    def _add(self, parts: Iterable[torch.Tensor], *asked: object) -> None:
        """What the other processes have computed of ``parts``, having been ``asked`` the same."""
        self.ranks.same(*asked)
        self.ranks.add(parts)

    def _check_branches(self, prefixes: Sequence[Prefix], branches: Sequence[Sequence[int]], more: int = 0) -> None:
        longest = max(map(len, branches), default=0) + more
        self._check_lengths([len(prefix.ids) + longest for prefix in prefixes])

    def first_token_topk(self, texts: Sequence[str], k: int) -> list[list[TokenProbability]]:
        """The ``k`` most probable first tokens of the answer to each rendered prompt, best first."""
        results = []
        for text in texts:
            ids = self._tokenize(text)
            self._check_lengths([len(ids)])
            logits = self._forward.last_logits(input_ids=torch.tensor([ids], device=self.device), use_cache=False)[0]
            values, tokens = logits.log_softmax(0).topk(k)
            pairs = zip(tokens.tolist(), values.tolist(), strict=True)
            results.append([TokenProbability(token, self.tokenizer.decode([token]), value) for token, value in pairs])
        return results

    # generation

    @torch.inference_mode()
    def generate(
        self,
        texts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        think_budget: int | None = None,
        until: Callable[[str, int], bool] | None = None,
        emitter: Emitter | None = None,
        on_batch: Callable[[int], None] | None = None,
        on_token: Callable[[str], None] | None = None,
    ) -> list[Generation]:
        """Answer each rendered prompt. Greedy at ``temperature`` 0, else drawn (``sampling.choose``); nothing of
        ``generation_config`` is merged in. Equal calls give equal draws.

        ``think_budget`` closes an open think block after so many tokens. ``until`` (text so far, tokens left) ends an
        answer early where it returns True. ``on_token`` streams the text of a single prompt. Equal prompts are answered
        once when greedy.
        """
        unique = list(dict.fromkeys(texts)) if temperature == 0 else list(texts)
        encoded = [self._tokenize(text) for text in unique]
        lengths = [len(ids) + max_new_tokens for ids in encoded]
        self._check_lengths(lengths)
        order = sorted(range(len(unique)), key=lambda index: -lengths[index])
        draw = partial(choose, temperature=temperature, top_p=top_p, generator=torch.Generator().manual_seed(seed))
        results: dict[int, Generation] = {}
        for rows in by_budget(order, lengths, *self._generate_budget()):
            answers = self._generate_batch(
                [encoded[row] for row in rows],
                max_new_tokens,
                draw,
                think_budget,
                until,
                emitter,
                on_token,
            )
            results.update(zip(rows, answers, strict=True))
            if on_batch:
                on_batch(len(results))
        if temperature != 0:
            return [results[index] for index in range(len(unique))]
        place = {text: index for index, text in enumerate(unique)}
        return [results[place[text]] for text in texts]

    def _generate_batch(
        self,
        batch: list[list[int]],
        max_new_tokens: int,
        draw: Callable[[torch.Tensor], list[int]],
        think_budget: int | None,
        until: Callable[[str, int], bool] | None,
        emitter: Emitter | None,
        on_token: Callable[[str], None] | None,
    ) -> list[Generation]:
        from transformers import DynamicCache

        # the system prompt that all rows share is read once, and its keys and values are given to every row
        cache = DynamicCache(config=self._forward.causal.config)
        shared = shared_prefix(batch)
        if shared:
            head = torch.tensor([batch[0][:shared]], device=self.device)
            self._forward.hidden(input_ids=head, cache=cache, use_cache=True)
            cache.batch_repeat_interleave(len(batch))
        width = max(map(len, batch)) - shared
        inputs = torch.full((len(batch), width), self._pad_token())
        mask = torch.ones((len(batch), shared + width), dtype=torch.long)
        for row, ids in enumerate(batch):
            pad = width - (len(ids) - shared)
            inputs[row, pad:] = torch.tensor(ids[shared:])
            mask[row, shared : shared + pad] = 0
        # padding on the left needs explicit positions: every row counts its own tokens only
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, shared:]
        answers: list[list[int]] = [[] for _ in batch]
        finished = [False] * len(batch)
        alive = list(range(len(batch)))
        forced = self._forced_think_end(think_budget)
        for step in range(max_new_tokens):
            if emitter:
                emitter.check()
            logits = self._forward.last_logits(
                input_ids=inputs.to(self.device),
                # recurrent models take one unpadded row, and misread a mask longer than their input
                attention_mask=None if self._forward.stateful else mask.to(self.device),
                position_ids=positions.to(self.device),
                cache=cache,
                use_cache=True,
            )  # (B, V)
            tokens = draw(logits)
            for index, row in enumerate(alive):
                tokens[index] = forced(answers[row], tokens[index])
                answers[row].append(tokens[index])
                finished[row] = tokens[index] in self._stop
            if on_token and len(batch) == 1:
                on_token(self._decode(answers[0]))
            keep = [
                index
                for index, row in enumerate(alive)
                if not (finished[row] or (until and until(self._decode(answers[row]), max_new_tokens - step - 1)))
            ]
            if not keep or step == max_new_tokens - 1:
                break
            if len(keep) < len(alive):
                chosen = torch.tensor(keep)
                cache.batch_select_indices(chosen.to(self.device))
                mask, positions = mask[chosen], positions[chosen]
                tokens = [tokens[index] for index in keep]
                alive = [alive[index] for index in keep]
            inputs = torch.tensor(tokens)[:, None]
            mask = torch.cat([mask, torch.ones((len(alive), 1), dtype=torch.long)], 1)
            positions = positions[:, -1:] + 1
        return [Generation(self._decode(ids), tuple(ids), done) for ids, done in zip(answers, finished, strict=True)]

    def _forced_think_end(self, budget: int | None) -> Callable[[list[int], int], int]:
        """A function that replaces a token by the next one of ``</think>`` when the budget for thinking is used up."""
        if budget is None:
            return lambda _, token: token
        end = self.tokenizer.encode("</think>", add_special_tokens=False)

        def force(answer: list[int], token: int) -> int:
            step = len(answer) - budget
            if 0 <= step < len(end) and "</think>" not in self._decode(answer[:budget]):
                return int(end[step])
            return token

        return force

    # tokens

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each rendered prompt, as the model is given them."""
        rows = self.tokenizer(list(texts), add_special_tokens=not self.has_template)["input_ids"] if texts else []
        return [list(row) for row in rows]

    def slopes(
        self, places: Sequence[tuple[Sequence[int], int]], target: Sequence[int], *, emitter: Emitter | None = None
    ) -> torch.Tensor:
        """For each (ids, at): to first order, what each token in place ``at`` would add to log P(target | ids).

        Returns:
            (n, V) fp32 on the CPU, in nats.
        """
        found = torch.zeros((len(places), len(self.tokenizer)))
        for row in self.ranks.share(range(len(places))):
            if emitter:
                emitter.check()
            self._forward.tokens += len(places[row][0]) + len(target) - 1
            found[row] = slopes(self.model, *places[row], target, len(self.tokenizer))
        self._add([found], places, target)
        return found

    # weights and activations

    @property
    def embeddings(self) -> torch.Tensor | None:
        """The input embeddings (V, d) as they are stored, None where they are quantised."""
        table = self.model.get_input_embeddings().weight
        return table.detach() if table.is_floating_point() and table.ndim == 2 else None

    def states(self, texts: Sequence[str]) -> torch.Tensor:
        """What every layer holds at the last token of each rendered prompt (n, L, d), fp32 on the CPU.

        All of ``texts`` are one batch.
        """
        rows = self.token_ids(texts)
        self._check_lengths([len(row) for row in rows])
        return last_states(self._forward, rows)

    # parts

    def _decode(self, ids: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode([token for token in ids if token not in self._stop], skip_special_tokens=False)
        )

    def _check_lengths(self, lengths: Sequence[int]) -> None:
        limit = self._forward.context_length
        if limit and lengths and max(lengths) > limit:
            raise InputError(
                "prompt_too_long",
                f"A text of {max(lengths)} tokens (answer included) does not fit {self.name}, which reads {limit}.",
                "Shorten it.",
            )

    def _generate_budget(self) -> tuple[int, int]:
        """Tokens and rows of one generation batch."""
        if self._forward.stateful:
            return GENERATE_TOKENS, 1
        return GENERATE_TOKENS, GENERATE_ROWS

    def _pad_token(self) -> int:
        pad = self.tokenizer.pad_token_id
        return int(pad) if pad is not None else min(self._stop)

    def _stop_tokens(self) -> frozenset[int]:
        """Every way in which this model says that it is done."""
        stop: set[Any] = set()
        for source in (self.model.generation_config, self.model.config):
            stated = getattr(source, "eos_token_id", None)
            stop |= set(stated) if isinstance(stated, list) else {stated} - {None}
        stop.add(self.tokenizer.eos_token_id)
        for text in ("<|im_end|>", "<|eot_id|>", "<end_of_turn>"):
            token = self.tokenizer.convert_tokens_to_ids(text)
            if token is not None and token != self.tokenizer.unk_token_id:
                stop.add(token)
        return frozenset(token for token in stop if token is not None)


def _check_predicted(prefixes: Sequence[Prefix], later: bool) -> None:
    """``later``: nothing is read before the first token of a branch."""
    if not later and not all(prefix.ids for prefix in prefixes):
        raise ValueError("nothing predicts what comes first: the prompt is empty")
