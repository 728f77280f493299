"""Which rows run together."""

from __future__ import annotations


def shared_prefix(batch: list[list[int]]) -> int:
    """Tokens that every row of a batch begins with, if they are worth a forward of their own; each keeps one."""
    if len(batch) < 4:
        return 0
    first, last = min(batch), max(batch)
    limit = min(map(len, batch)) - 1
    shared = next((at for at in range(limit) if first[at] != last[at]), limit)
    return shared if shared >= 8 else 0


def by_budget(order: list[int], lengths: list[int], tokens: int, rows: int = 1 << 30) -> list[list[int]]:
    """Cut ``order`` (longest first) into batches whose padded size stays within ``tokens``."""
    batches: list[list[int]] = []
    for index in order:
        if batches and len(batches[-1]) < rows and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
