"""Many branches in few rows: tokens that branches share stand once, and a mask lets each branch see only itself.

Tree attention (Miao et al. 2024, SpecInfer, §4.2): a row holds the trie of its branches in depth-first order. Token
``k`` is an ancestor of token ``q`` exactly when ``k <= q < end[k]``, where ``end`` closes the subtree of ``k``; so the
mask of a row is two comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    rows: list[Row] = []
    row: Row | None = None
    last: Sequence[int] = ()
    for index in sorted(range(len(branches)), key=lambda at: list(branches[at])):
        branch = branches[index]
        shared = _shared(last, branch) if row else 0
        full = row and (len(row.tokens) + len(branch) - shared > width or len(row.branches) == most)
        if row is None or full:
            row, shared = Row([], [], [], [], []), 0
            rows.append(row)
        path = row.paths[-1][:shared] if row.paths else []
        for depth in range(shared, len(branch)):
            path.append(len(row.tokens))
            row.tokens.append(branch[depth])
            row.depths.append(depth)
            row.ends.append(0)
        for node in path:
            row.ends[node] = len(row.tokens)
        row.branches.append(index)
        row.paths.append(path)
        last = branch
    return rows


def _shared(one: Sequence[int], two: Sequence[int]) -> int:
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
