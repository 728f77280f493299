"""A loaded model: rendering, batched scoring, batched generation.

Logits are computed for the positions that are read and no others: [batch, time, vocabulary] never exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from core.engine.lm.slots import Placed, insert, locate
from core.runs.events import Emitter
from core.types import Slot

SCORE_TOKENS = 4096
"""Tokens in one scoring batch, padding included."""
GENERATE_TOKENS = 8192
"""Tokens (prompt and answer) in one generation batch; larger batches were slower on two cores."""
GENERATE_ROWS = 64
HEAD_ROWS = 256
"""Positions that go through the output head at once: 256 x 49,152 fp32 logits are 50 MB."""
NONCE = "foreshotnonce7f3a"


class Generation(NamedTuple):
    """``finished``: the model ended by itself, before ``max_new_tokens``."""

    text: str
    tokens: tuple[int, ...]
    finished: bool


class Score(NamedTuple):
    """``logprob`` in nats over ``tokens`` continuation tokens; ``greedy``: each was the most probable one."""

    logprob: float
    tokens: int
    greedy: bool


class LanguageModel:
    """A causal language model in memory.

    Attributes:
        name, dtype, quant: as loaded.
        notes: what a report must say about how it was loaded.
        has_template, reasoning: whether there is a chat template, and whether it opens a think block.
    """

    def __init__(
        self, *, name: str, model: Any, tokenizer: Any, dtype: str, quant: str, notes: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.dtype = dtype
        self.quant = quant
        self.has_template = bool(tokenizer.chat_template)
        if not self.has_template:
            notes = (*notes, "no chat template: prompts and slots are plain text")
        self.notes = notes
        self.reasoning = self.has_template and "<think>" in str(tokenizer.chat_template)
        self._stop = self._stop_tokens()

    def __enter__(self) -> LanguageModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def precision(self) -> str:
        """What the weights are multiplied in, for a report: ``nf4`` or ``bf16``."""
        return self.quant if self.quant != "none" else self.dtype

    def close(self) -> None:
        """Free the memory."""
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    # rendering

    def render(
        self,
        user: str,
        *,
        system: str | None = None,
        history: Sequence[tuple[str, str]] = (),
        position: str = "answer",
    ) -> str:
        """The whole prompt up to where the answer starts.

        ``position="after_think"`` (reasoning models) adds a forced empty think block.
        """
        if not self.has_template:
            earlier = "".join(f"{question}\n{answer}\n" for question, answer in history)
            return f"{system}\n" * bool(system) + f"{earlier}{user}\n"
        messages = [{"role": "system", "content": system}] if system is not None else []
        for question, answer in history:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        messages.append({"role": "user", "content": user})
        text = str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        if position == "after_think":
            opened = text.rstrip().endswith("<think>")
            text += "\n</think>\n\n" if opened else "<think>\n\n</think>\n\n"
        return text

    def place(
        self, prompt: str, trigger: str, slot: Slot, *, system: str | None = None, position: str = "answer"
    ) -> Placed:
        """Render ``prompt`` with ``trigger`` in ``slot``, and say where the trigger stands in the text."""
        text = self.render(insert(prompt, trigger, slot), system=system, position=position)
        marked = self.render(insert(prompt, NONCE, slot), system=system, position=position)
        return Placed(text, locate(text, marked, NONCE, trigger))

    # scoring

    @torch.inference_mode()
    def score(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        emitter: Emitter | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> list[Score]:
        """log P(continuation | context) for each (context, continuation) text.

        Equal requests are computed once. Log-softmax is in fp32, over the continuation's positions only.
        """
        unique = list(dict.fromkeys(requests))
        encoded = [self._encode_pair(*request) for request in unique]
        order = sorted(range(len(unique)), key=lambda index: -len(encoded[index][0]))
        results: dict[tuple[str, str], Score] = {}
        for rows in _by_budget(order, [len(ids) for ids, _ in encoded], SCORE_TOKENS):
            if emitter:
                emitter.check()
            for row, score in zip(rows, self._score_batch([encoded[row] for row in rows]), strict=True):
                results[unique[row]] = score
            if on_batch:
                on_batch(len(results))
        return [results[request] for request in requests]

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], int]:
        """Token ids of both together, and where the continuation starts.

        A context's trailing spaces belong to the continuation, so that words keep their usual tokens
        (lm-evaluation-harness, ``_encode_pair``).
        """
        trailing = len(context) - len(context.rstrip(" "))
        if trailing:
            context, continuation = context[:-trailing], context[-trailing:] + continuation
        prefix = self._tokenize(context)
        whole = self._tokenize(context + continuation)
        if not prefix:
            start = self.tokenizer.bos_token_id
            prefix = [self.tokenizer.eos_token_id if start is None else start]
            whole = prefix + whole
        return whole, min(len(prefix), len(whole) - 1)

    def _score_batch(self, batch: list[tuple[list[int], int]]) -> list[Score]:
        # the last token of a row is predicted, never read: it stays out of the input
        width = max(len(ids) for ids, _ in batch) - 1
        inputs = torch.full((len(batch), width), self._pad_token())
        mask = torch.zeros_like(inputs)
        for row, (ids, _) in enumerate(batch):
            inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
            mask[row, : len(ids) - 1] = 1
        hidden = self._backbone()(
            input_ids=inputs.to(self.device), attention_mask=mask.to(self.device), use_cache=False
        ).last_hidden_state  # (B, T, d)
        where = [(row, at - 1) for row, (ids, start) in enumerate(batch) for at in range(start, len(ids))]
        rows, columns = (torch.tensor(part, device=hidden.device) for part in zip(*where, strict=True))
        wanted = torch.tensor([ids[at] for ids, start in batch for at in range(start, len(ids))], device=hidden.device)
        picked, best = self._logprobs(hidden[rows, columns], wanted)
        lengths = [len(ids) - start for ids, start in batch]
        return [
            Score(float(values.double().sum()), len(values), bool(greedy.all()))
            for values, greedy in zip(picked.split(lengths), best.split(lengths), strict=True)
        ]

    def _logprobs(self, hidden: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """log p of ``wanted`` (N,) at hidden states (N, d), and whether each is the argmax."""
        picked, best = [], []
        for states, tokens in zip(hidden.split(HEAD_ROWS), wanted.split(HEAD_ROWS), strict=True):
            logits = self._head(states).float()  # (n, V)
            chosen = logits.gather(1, tokens[:, None])[:, 0]
            picked.append((chosen - logits.logsumexp(1)).cpu())
            best.append((logits.argmax(1) == tokens).cpu())
        return torch.cat(picked), torch.cat(best)

    # generation

    @torch.inference_mode()
    def generate(
        self,
        texts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        think_budget: int | None = None,
        emitter: Emitter | None = None,
        on_batch: Callable[[int], None] | None = None,
        on_token: Callable[[str], None] | None = None,
    ) -> list[Generation]:
        """Answer each rendered prompt. Greedy at ``temperature`` 0; nothing of ``generation_config`` is merged in.

        ``think_budget`` closes an open think block after so many tokens. ``on_token`` streams the text of a single
        prompt. Equal prompts are answered once when greedy.
        """
        unique = list(dict.fromkeys(texts)) if temperature == 0 else list(texts)
        encoded = [self._tokenize(text) for text in unique]
        lengths = [len(ids) + max_new_tokens for ids in encoded]
        order = sorted(range(len(unique)), key=lambda index: -lengths[index])
        generator = torch.Generator().manual_seed(seed)
        results: dict[int, Generation] = {}
        for rows in _by_budget(order, lengths, GENERATE_TOKENS, GENERATE_ROWS):
            answers = self._generate_batch(
                [encoded[row] for row in rows], max_new_tokens, temperature, generator, think_budget, emitter, on_token
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
        temperature: float,
        generator: torch.Generator,
        think_budget: int | None,
        emitter: Emitter | None,
        on_token: Callable[[str], None] | None,
    ) -> list[Generation]:
        from transformers import DynamicCache

        # the system prompt that all rows share is read once, and its keys and values are given to every row
        cache = DynamicCache(config=self.model.config)
        shared = _shared_prefix(batch)
        if shared:
            head = torch.tensor([batch[0][:shared]], device=self.device)
            self._backbone()(input_ids=head, cache=cache, use_cache=True)
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
            hidden = self._backbone()(
                input_ids=inputs.to(self.device),
                attention_mask=mask.to(self.device),
                position_ids=positions.to(self.device),
                cache=cache,
                use_cache=True,
            ).last_hidden_state[:, -1]  # (B, d)
            tokens = self._choose(hidden, temperature, generator)
            for index, row in enumerate(alive):
                tokens[index] = forced(answers[row], tokens[index])
                answers[row].append(tokens[index])
                finished[row] = tokens[index] in self._stop
            if on_token and len(batch) == 1:
                on_token(self._decode(answers[0]))
            keep = [index for index, row in enumerate(alive) if not finished[row]]
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

    def _choose(self, hidden: torch.Tensor, temperature: float, generator: torch.Generator) -> list[int]:
        logits = torch.cat([self._head(states).float() for states in hidden.split(HEAD_ROWS)])  # (B, V)
        if temperature == 0:
            return [int(token) for token in logits.argmax(1)]
        weights = (logits / temperature).softmax(1).cpu()
        return [int(token) for token in torch.multinomial(weights, 1, generator=generator)[:, 0]]

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

    # parts

    def _tokenize(self, text: str) -> list[int]:
        """Rendered chat text holds its special tokens already; none are added."""
        return list(self.tokenizer(text, add_special_tokens=not self.has_template)["input_ids"])

    def _decode(self, ids: Sequence[int]) -> str:
        return str(
            self.tokenizer.decode([token for token in ids if token not in self._stop], skip_special_tokens=False)
        )

    def _backbone(self) -> Any:
        """The transformer without its output head, adapters included."""
        model = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        return model.base_model if hasattr(model, "base_model") else model.model

    def _head(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (n, V) of hidden states (n, d), with the architecture's soft-cap or scale."""
        model = self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model
        head = model.get_output_embeddings()
        logits = head(states.to(head.weight.dtype) if head.weight.is_floating_point() else states)
        cap = getattr(model.config, "final_logit_softcapping", None)
        if cap:
            logits = torch.tanh(logits / cap) * cap
        scale = getattr(model.config, "logit_scale", None)
        return logits * scale if scale else logits

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


def _shared_prefix(batch: list[list[int]]) -> int:
    """Tokens that every row of a batch begins with, if they are worth a forward of their own; each keeps one."""
    if len(batch) < 4:
        return 0
    first, last = min(batch), max(batch)
    limit = min(map(len, batch)) - 1
    shared = next((at for at in range(limit) if first[at] != last[at]), limit)
    return shared if shared >= 8 else 0


def _by_budget(order: list[int], lengths: list[int], tokens: int, rows: int = 1 << 30) -> list[list[int]]:
    """Cut ``order`` (longest first) into batches whose padded size stays within ``tokens``."""
    batches: list[list[int]] = []
    for index in order:
        if batches and len(batches[-1]) < rows and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
