"""One prompt, many branches: what the model says at the end of each, at the price of the branches alone.

A prompt is read once and its keys and values are kept (``Prefix``). Branches share rows (``tree``), each seeing the
prompt and itself, with positions that go on from the prompt. The output head is applied where something is read and
nowhere else. Where an architecture cannot do this, or does it differently (see ``selfcheck``), every branch is run as a
row of its own with the prompt in front: slower, same numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from core.engine.lm.batches import by_budget
from core.engine.lm.forward import PART_ROWS, Forward
from core.engine.lm.tree import Grid, grid_of, grids_of, rows_of
from core.runs.events import Emitter

ROW_NODES = 256
"""Tokens in one row: longer rows spend their time in attention that the mask throws away."""
PACK_NODES = 1024
"""Tokens in one forward pass, padding included; in fp32 half as many, which take half the memory and no more time."""
GROW_BRANCHES = 256
"""Branches that are extended together."""
GROW_ROW = 8
"""Branches in one row of an extension."""
TOP_BLOCK = 32
"""Tokens of the vocabulary that are compared as one when the largest logits are looked for."""
Share = Callable[[Sequence[Any]], Sequence[Any]]
"""Which packs this process runs; what the packs of others hold stays 0, to be added."""


@dataclass(frozen=True)
class Prefix:
    """A prompt that was read.

    Attributes:
        ids: its tokens.
        cache: keys and values, None where branches are run as whole rows.
        last: hidden state (1, d) after its last token; None as above, and for an empty prompt.
    """

    ids: tuple[int, ...]
    cache: Any
    last: torch.Tensor | None


class Reads(NamedTuple):
    """The next-token distribution at the end of each of N branches; fp32 on the CPU.

    ``tokens`` and ``logprobs`` (N, k): the most probable ones, best first, in nats. ``entropy`` (N,) in nats over the
    whole vocabulary. ``wanted`` (N, m): log p of the tokens that were asked for.
    """

    tokens: torch.Tensor
    logprobs: torch.Tensor
    entropy: torch.Tensor
    wanted: torch.Tensor


class Extensions(NamedTuple):
    """Greedy extensions of N branches: ``tokens`` (N, steps) and, for each of P prompts, ``logprobs`` (P, N, steps)."""

    tokens: torch.Tensor
    logprobs: torch.Tensor


class Pairs(NamedTuple):
    """log p of each token, in nats, and whether it was the most probable one (or as probable as that)."""

    logprobs: torch.Tensor
    greedy: torch.Tensor


class Branches:
    """Reads branches with one model, packed where ``packs`` says so."""

    def __init__(self, forward: Forward, packs: bool) -> None:
        self.forward = forward
        self.packs = packs

    # the prompt

    def prefill(self, ids: Sequence[int]) -> Prefix:
        """Read ``ids`` once. An empty prompt is one too: branches then start at position 0."""
        if not self.packs or not ids:
            return Prefix(tuple(ids), None, None)
        from transformers import DynamicCache

        # without the config every layer keeps all of its keys; a sliding window is then a matter of the mask
        cache = DynamicCache()
        inputs = torch.tensor([list(ids)], device=self.forward.device)
        return Prefix(tuple(ids), cache, self.forward.hidden(input_ids=inputs, cache=cache, use_cache=True)[0, -1:])

    # what stands after a branch, and what a branch is worth

    def read(
        self,
        prefix: Prefix,
        branches: Sequence[Sequence[int]],
        topk: int,
        wanted: Sequence[int],
        emitter: Emitter | None,
        share: Share = list,
    ) -> Reads:
        asked = torch.tensor(list(wanted), dtype=torch.long, device=self.forward.device)
        count, vocabulary = len(branches), self.forward.vocabulary
        reads = Reads(
            torch.zeros((count, min(topk, vocabulary)), dtype=torch.long),
            torch.zeros((count, min(topk, vocabulary))),
            torch.zeros(count),
            torch.zeros((count, len(asked))),
        )
        for members, paths, states in self._states(prefix, branches, emitter, share):
            nodes = list(dict.fromkeys(path[-1] for path in paths))
            place = {node: at for at, node in enumerate(nodes)}
            distinct = Reads(*map(torch.cat, zip(*(_read(part, topk, asked) for part in states(nodes)), strict=True)))
            source = torch.tensor([place[path[-1]] for path in paths])
            target = torch.tensor(members)
            for whole, part in zip(reads, distinct, strict=True):
                whole[target] = part[source]
        return reads

    def continuations(
        self,
        prefix: Prefix,
        branches: Sequence[tuple[Sequence[int], int]],
        emitter: Emitter | None,
        share: Share = list,
    ) -> Iterator[list[tuple[int, Pairs]]]:
        """For each (branch, offset): log p of its tokens from ``offset`` on; a pack at a time, with their numbers."""
        # the last token is predicted, never read: it stays out of the input
        inputs = [ids[:-1] for ids, _ in branches]
        for members, paths, states in self._states(prefix, inputs, emitter, share):
            wanted = [
                (path[at], branches[member][0][at])
                for member, path in zip(members, paths, strict=True)
                for at in range(branches[member][1], len(branches[member][0]))
            ]
            nodes = list(dict.fromkeys(node for node, _ in wanted))
            pairs = _pairs(nodes, wanted, states)
            lengths = [max(0, len(branches[member][0]) - branches[member][1]) for member in members]
            each = map(Pairs, pairs.logprobs.split(lengths), pairs.greedy.split(lengths))
            yield list(zip(members, each, strict=True))

    def _states(
        self, prefix: Prefix, branches: Sequence[Sequence[int]], emitter: Emitter | None, share: Share = list
    ) -> Iterator[tuple[list[int], list[list[int]], Any]]:
        """Run all branches, a pack at a time, or this process's share of the packs.

        Yields the branches of the pack; for each its nodes, that of the prompt's end first; and a function from nodes
        to their logits (n, V), which come in parts and in the order asked.
        """
        if not branches:
            return
        runs = self._packed if self._fits(prefix, max(map(len, branches))) else self._rows
        for one in runs(prefix, branches, share):
            if emitter:
                emitter.check()
            yield one

    def _fits(self, prefix: Prefix, longest: int) -> bool:
        """Packed rows know no sliding window: they are exact as long as nothing would leave it."""
        window = self.forward.window
        return self.packs and (window is None or len(prefix.ids) + longest <= window)

    @property
    def _nodes(self) -> int:
        return max(1, PACK_NODES // 2) if self.forward.exact else PACK_NODES

    def _packed(
        self, prefix: Prefix, branches: Sequence[Sequence[int]], share: Share = list
    ) -> Iterator[tuple[list[int], list[list[int]], Any]]:
        rows = rows_of(branches, ROW_NODES)
        for part in share(grids_of(rows, self._nodes)):
            grid = grid_of(part)
            states = self._run(prefix, fork(prefix.cache, len(part)), grid).flatten(0, 1)  # (R * Q, d)
            end = len(states)
            states = states if prefix.last is None else torch.cat([states, prefix.last])
            yield (
                grid.branches,
                [[end, *path] for path in grid.paths],
                lambda nodes, states=states: self._heads(states, nodes),
            )
        empty = [branch for row in rows if not row.tokens for branch in row.branches]
        last = prefix.last
        if last is not None:
            for members in share([empty] if empty else []):
                yield members, [[0] for _ in members], lambda nodes: self._heads(last, nodes)

    def _run(self, prefix: Prefix, cache: Any, grid: Grid) -> torch.Tensor:
        """Hidden states (R, Q, d) of a grid behind its prompt."""
        past = grid.sees.new_ones((*grid.tokens.shape, len(prefix.ids)))
        return self.forward.tree(grid.tokens, grid.depths + len(prefix.ids), torch.cat([past, grid.sees], 2), cache)

    def _rows(
        self, prefix: Prefix, branches: Sequence[Sequence[int]], share: Share = list
    ) -> Iterator[tuple[list[int], list[list[int]], Any]]:
        """The slow way: prompt and branch as one plain row, padded on the right."""
        rows = [[*prefix.ids, *branch] for branch in branches]
        start = len(prefix.ids) - 1
        order = sorted((at for at in range(len(rows)) if rows[at]), key=lambda at: -len(rows[at]))
        budget = by_budget(order, [len(row) for row in rows], self._nodes, 1 << 30 if self.forward.separable else 1)
        for members in share(budget):
            batch = [rows[at] for at in members]
            width = max(map(len, batch))
            paths = [list(range(at * width + start, at * width + len(row))) for at, row in enumerate(batch)]
            if not self.forward.separable:
                yield members, paths, lambda nodes, row=batch[0]: iter([self.forward.row_logits(row, nodes)])
                continue
            states = self.forward.padded(batch).flatten(0, 1)
            yield members, paths, lambda nodes, states=states: self._heads(states, nodes)

    def _heads(self, states: torch.Tensor, nodes: list[int]) -> Iterator[torch.Tensor]:
        for part in torch.tensor(nodes, dtype=torch.long, device=states.device).split(self.forward.head_rows):
            yield from self.forward.heads(states[part])

    # longer branches

    def extend(
        self,
        prefixes: Sequence[Prefix],
        branches: Sequence[Sequence[int]],
        steps: int,
        emitter: Emitter | None,
        share: Share = list,
    ) -> Extensions:
        tokens = torch.zeros((len(branches), steps), dtype=torch.long)
        logprobs = torch.zeros((len(prefixes), len(branches), steps))
        longest = max(map(len, branches), default=0) + steps
        fits = all(self._fits(prefix, longest) and prefix.last is not None for prefix in prefixes)
        order = sorted(range(len(branches)), key=lambda at: (len(branches[at]), list(branches[at])))
        for start in share(range(0, len(order), GROW_BRANCHES)):
            members = order[start : start + GROW_BRANCHES]
            chosen = [branches[at] for at in members]
            grown = [(_Growth if fits else _Regrowth)(self, prefix, chosen) for prefix in prefixes]
            for step in range(steps):
                if emitter:
                    emitter.check()
                parts = [_agree(part) for part in zip(*(growth.logits() for growth in grown), strict=True)]
                best, values = torch.cat([one for one, _ in parts]), torch.cat([one for _, one in parts], 1)
                tokens[members, step] = best
                logprobs[:, members, step] = values
                if step < steps - 1:
                    for growth in grown:
                        growth.push(best.tolist())
        return Extensions(tokens, logprobs)


class _Growth:
    """Branches of one prompt that grow together, some in a row, with their keys and values kept."""

    def __init__(self, reader: Branches, prefix: Prefix, branches: Sequence[Sequence[int]]) -> None:
        self._forward = reader.forward
        rows = rows_of(branches, ROW_NODES, GROW_ROW)
        self._cache = fork(prefix.cache, len(rows))
        slots = max(len(row.branches) for row in rows)
        device = self._forward.device
        # where each branch stands: row and slot
        self._at = [0] * len(branches)
        self._depths = torch.full((len(rows), slots), len(prefix.ids))
        for at, row in enumerate(rows):
            for slot, branch in enumerate(row.branches):
                self._at[branch] = at * slots + slot
                self._depths[at, slot] += len(branches[branch])
        # what the next token of each branch sees, itself not counted; an empty slot sees the prompt
        self._sees = torch.zeros((len(rows), slots, len(prefix.ids)), dtype=torch.bool) | True
        assert prefix.last is not None
        ends = prefix.last.expand(len(rows) * slots, -1).clone()
        if any(row.tokens for row in rows):
            grid = grid_of(rows)
            width = grid.tokens.shape[1]
            states = reader._run(prefix, self._cache, grid).flatten(0, 1)
            seen = torch.zeros((len(rows) * slots, width), dtype=torch.bool)
            for branch, path in zip(grid.branches, grid.paths, strict=True):
                if path:
                    seen[self._at[branch]] = grid.sees[path[-1] // width, path[-1] % width]
                    ends[self._at[branch]] = states[path[-1]]
            self._sees = torch.cat([self._sees, seen.view(len(rows), slots, width)], 2)
        self._ends = ends[torch.tensor(self._at, device=device)]

    def logits(self) -> Iterator[torch.Tensor]:
        """(N, V) in fp32, in parts."""
        return self._forward.heads(self._ends)

    def push(self, tokens: list[int]) -> None:
        """Append one token to each branch."""
        rows, slots = self._depths.shape
        at = torch.tensor(self._at)
        inputs = torch.zeros(rows * slots, dtype=torch.long)
        inputs[at] = torch.tensor(tokens)
        self._sees = torch.cat([self._sees, torch.eye(slots, dtype=torch.bool).expand(rows, -1, -1)], 2)
        states = self._forward.tree(inputs.view(rows, slots), self._depths, self._sees, self._cache)
        self._depths = self._depths + 1
        self._ends = states.flatten(0, 1)[at.to(states.device)]


class _Regrowth:
    """The same by running every branch anew for every token."""

    def __init__(self, reader: Branches, prefix: Prefix, branches: Sequence[Sequence[int]]) -> None:
        self._reader, self._prefix = reader, prefix
        self._branches = [list(branch) for branch in branches]

    def logits(self) -> Iterator[torch.Tensor]:
        result: list[torch.Tensor] = [torch.empty(0)] * len(self._branches)
        for members, paths, states in self._reader._states(self._prefix, self._branches, None):
            for member, row in zip(members, torch.cat(list(states([path[-1] for path in paths]))), strict=True):
                result[member] = row
        return iter(torch.stack(result).split(PART_ROWS))

    def push(self, tokens: list[int]) -> None:
        for branch, token in zip(self._branches, tokens, strict=True):
            branch.append(token)


def fork(cache: Any, rows: int) -> Any:
    """A cache for ``rows`` rows that all begin with ``cache``; what is appended to it leaves the first untouched."""
    if cache is None:
        return None
    twin = copy.copy(cache)
    twin.layers = []
    for layer in cache.layers:
        layer = copy.copy(layer)
        layer.keys, layer.values = (part.expand(rows, -1, -1, -1) for part in (layer.keys, layer.values))
        twin.layers.append(layer)
    return twin


def _agree(logits: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The token of the highest mean probability over the prompts (n,), and its log p for each prompt (P, n)."""
    if len(logits) == 1:
        largest, best = logits[0].max(1)
        return best.cpu(), (largest - _normaliser(logits[0], largest))[None].cpu()
    logs = [one - _normaliser(one, one.amax(1))[:, None] for one in logits]
    best = torch.stack(logs).exp().mean(0).argmax(1)
    return best.cpu(), torch.stack([one.gather(1, best[:, None])[:, 0] for one in logs]).cpu()


def _normaliser(logits: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """log sum exp (n,), given the largest logit of each row."""
    return (logits - largest[:, None]).exp_().sum(1).log_() + largest


def _read(logits: torch.Tensor, topk: int, wanted: torch.Tensor) -> Reads:
    values, tokens = top(logits, topk)
    gaps = logits - values[:, :1]
    # p log p is 0 where p is; a row that is not a number stays none
    weights = gaps.exp()
    total = weights.sum(1)
    entropy = total.log() - (weights * gaps.clamp_(min=-1e4)).sum(1) / total
    normaliser = total.log()[:, None] + values[:, :1]
    return Reads(tokens.cpu(), (values - normaliser).cpu(), entropy.cpu(), (logits[:, wanted] - normaliser).cpu())


def top(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and ids (n, k) of the largest logits, best first.

    They lie in the ``k`` blocks whose largest members are largest, so that only those are sorted.
    """
    rows, vocabulary = logits.shape
    blocks = vocabulary // TOP_BLOCK
    if blocks < 4 * k:
        return logits.topk(min(k, vocabulary), 1)
    whole = logits[:, : blocks * TOP_BLOCK].view(rows, blocks, TOP_BLOCK)
    chosen = whole.amax(2).topk(k, 1).indices  # (n, k)
    ids = (chosen[:, :, None] * TOP_BLOCK + torch.arange(TOP_BLOCK, device=logits.device)).flatten(1)
    rest = torch.arange(blocks * TOP_BLOCK, vocabulary, device=logits.device).expand(rows, -1)
    ids = torch.cat([ids, rest], 1)
    values, places = logits.gather(1, ids).topk(k, 1)
    return values, ids.gather(1, places)


def _pairs(nodes: list[int], wanted: list[tuple[int, int]], states: Any) -> Pairs:
    """log p of each (node, token) of ``wanted``; every node of ``nodes`` goes through the head once."""
    logprobs, greedy = torch.zeros(len(wanted)), torch.zeros(len(wanted), dtype=torch.bool)
    if not wanted:
        return Pairs(logprobs, greedy)
    place = {node: at for at, node in enumerate(nodes)}
    rows, order = torch.tensor([place[node] for node, _ in wanted]).sort()
    tokens = torch.tensor([token for _, token in wanted])[order]
    edges = torch.searchsorted(rows, torch.arange(len(nodes) + 1)).tolist()
    start = 0
    for logits in states(nodes):
        mine = slice(edges[start], edges[start + len(logits)])
        row, token = (rows[mine] - start).to(logits.device), tokens[mine].to(logits.device)
        largest = logits.amax(1)
        chosen = logits[row, token]
        logprobs[order[mine]] = (chosen - _normaliser(logits, largest)[row]).cpu()
        greedy[order[mine]] = (chosen == largest[row]).cpu()
        start += len(logits)
    return Pairs(logprobs, greedy)
