"""Many branches in few rows: tokens that branches share stand once, and a mask lets each branch see only itself.

Tree attention (Miao et al. 2024, SpecInfer, §4.2): a row holds the trie of its branches in depth-first order. Token
``k`` is an ancestor of token ``q`` exactly when ``k <= q < end[k]``, where ``end`` closes the subtree of ``k``; so the
mask of a row is two comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch

from core.engine.lm.batches import by_budget


class Row(NamedTuple):
    """A trie in depth-first order.

    ``tokens``, ``depths`` and ``ends`` have one entry a node. ``paths[i]`` are the nodes of branch ``branches[i]``.
    """

    tokens: list[int]
    depths: list[int]
    ends: list[int]
    branches: list[int]
    paths: list[list[int]]


def rows_of(branches: Sequence[Sequence[int]], width: int, most: int | None = None) -> list[Row]:
    """Rows of at most ``width`` nodes (a longer branch has a row of its own) and ``most`` branches.

    Branches are taken in lexicographic order, so that those that share a beginning are neighbours.
    """
    order = sorted(range(len(branches)), key=lambda at: list(branches[at]))
    ordered = [branches[at] for at in order]
    shared = [0, *(common(one, two) for one, two in pairwise(ordered))]
    edges = [*_cuts([len(branch) for branch in ordered], shared, width, most or len(order)), len(order)]
    return [_row(order[start:end], ordered[start:end], [0, *shared[start + 1 : end]]) for start, end in pairwise(edges)]


def _cuts(lengths: list[int], shared: list[int], width: int, most: int) -> list[int]:
    """Where rows start: as late as ``width`` and ``most`` allow, or earlier where neighbours share least.

    What two neighbours share stands in both rows when the cut goes between them. A row is at least half full.
    """
    starts: list[int] = []
    at = 0
    while at < len(lengths):
        starts.append(at)
        nodes, best = lengths[at], at + 1
        for end in range(at + 1, min(len(lengths), at + most) + 1):
            if end == len(lengths):
                best = end
                break
            if 2 * nodes <= width or shared[end] <= shared[best]:
                best = end
            nodes += lengths[end] - shared[end]
            if nodes > width:
                break
        at = best
    return starts


def _row(numbers: list[int], branches: Sequence[Sequence[int]], shared: list[int]) -> Row:
    row = Row([], [], [], numbers, [])
    for branch, keep in zip(branches, shared, strict=True):
        path = row.paths[-1][:keep] if row.paths else []
        for depth in range(keep, len(branch)):
            path.append(len(row.tokens))
            row.tokens.append(branch[depth])
            row.depths.append(depth)
            row.ends.append(0)
        for node in path:
            row.ends[node] = len(row.tokens)
        row.paths.append(path)
    return row


def common(one: Sequence[int], two: Sequence[int]) -> int:
    """Tokens that both begin with."""
    limit = min(len(one), len(two))
    return next((at for at in range(limit) if one[at] != two[at]), limit)


class Grid(NamedTuple):
    """Rows side by side, padded to one width Q.

    ``tokens`` and ``depths`` are (R, Q); ``sees`` (R, Q, Q) is True where the second node is the first or its ancestor.
    ``paths`` are the nodes of branch ``branches[i]``, counted through all rows (row * Q + node).
    """

    tokens: torch.Tensor
    depths: torch.Tensor
    sees: torch.Tensor
    branches: list[int]
    paths: list[list[int]]


def grid_of(rows: Sequence[Row]) -> Grid:
    width = max(len(row.tokens) for row in rows)
    tokens, depths = torch.zeros((2, len(rows), width), dtype=torch.long)
    ends = torch.zeros((len(rows), width), dtype=torch.long)
    for at, row in enumerate(rows):
        length = len(row.tokens)
        tokens[at, :length] = torch.tensor(row.tokens, dtype=torch.long)
        depths[at, :length] = torch.tensor(row.depths, dtype=torch.long)
        ends[at, :length] = torch.tensor(row.ends, dtype=torch.long)
    node = torch.arange(width)
    ends = torch.maximum(ends, node + 1)  # padding sees itself: a row that sees nothing is not a number
    sees = (node[None, None, :] <= node[None, :, None]) & (node[None, :, None] < ends[:, None, :])
    branches = [branch for row in rows for branch in row.branches]
    paths = [[at * width + step for step in path] for at, row in enumerate(rows) for path in row.paths]
    return Grid(tokens, depths, sees, branches, paths)


def grids_of(rows: Sequence[Row], tokens: int) -> list[list[Row]]:
    """Rows cut into grids of at most ``tokens`` nodes, padding included; rows without a node stay out."""
    lengths = [len(row.tokens) for row in rows]
    order = sorted((at for at in range(len(rows)) if lengths[at]), key=lambda at: -lengths[at])
    return [[rows[at] for at in batch] for batch in by_budget(order, lengths, tokens)]


class Trunk(NamedTuple):
    """``members`` (branches) share their first ``length`` tokens, which are worth a forward pass of their own."""

    length: int
    members: list[int]


def trunks_of(branches: Sequence[Sequence[int]], limits: Sequence[int], width: int, worth: int) -> list[Trunk]:
    """Group branches by the beginnings they share, where reading those once saves at least ``worth`` tokens.

    Rows of ``width`` nodes each repeat what their branches share. ``limits``: how far each branch's beginning may go.
    """
    if not branches:
        return []
    order = sorted(range(len(branches)), key=lambda at: list(branches[at]))
    ordered = [branches[at] for at in order]
    shared = [0, *(common(one, two) for one, two in pairwise(ordered))]
    fresh = list(accumulate((len(branch) - keep for branch, keep in zip(ordered, shared, strict=True)), initial=0))
    rest = Trunk(0, [])
    found = [rest]
    todo = [(0, len(order), rest)]
    while todo:
        start, end, trunk = todo.pop()
        nodes = fresh[end] - fresh[start]
        if nodes * len(ordered[start]) < worth * width:  # no gain even if all of it were shared
            trunk.members.extend(order[start:end])
            continue
        together = common(ordered[start], ordered[end - 1])
        reach = min(together, *(limits[at] for at in order[start:end]))
        if (reach - trunk.length) * ((nodes - reach) // width) >= worth:
            trunk = Trunk(reach, [])
            found.append(trunk)
        edges = [start, *(at for at in range(start + 1, end) if shared[at] == together), end]
        if len(edges) == 2:
            trunk.members.append(order[start])
        else:
            todo += [(one, two, trunk) for one, two in pairwise(edges)]
    return [trunk for trunk in found if trunk.members]
