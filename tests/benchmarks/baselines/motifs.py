"""Motifs in leaked texts: character n-grams, TF-IDF, DBSCAN, and what is frequent in a cluster stitched together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

SIZES = (4, 5, 6)
"""Characters of an n-gram."""
COMMON, COMMON_LENGTH = 0.75, 6
"""Text of that many characters which so many of the outputs hold says nothing."""
RADIUS, LEAST = 0.65, 3
"""Of DBSCAN: cosine distance, and members that make a dense point (itself included)."""
KEPT = 0.33
"""Share of a cluster that holds an n-gram worth keeping."""
SHORTEST, OVERLAP = 6, 3
"""Characters of a motif, and by how many two n-grams have to overlap to be stitched."""


def motifs(outputs: Sequence[str], boilerplate: Sequence[str]) -> list[list[str]]:
    """The motifs of each cluster of ``outputs``, the largest cluster first.

    Args:
        boilerplate: strings of the template, which are cut out before.
    """
    texts = list(dict.fromkeys(outputs))
    for part in sorted(boilerplate, key=len, reverse=True):
        texts = [text.replace(part, "") for text in texts]
    texts = [text for text in dict.fromkeys(without_common(texts)) if text.strip()]
    if len(texts) < LEAST:
        return []
    grams = [gram_counts(text) for text in texts]
    clusters = dbscan(1 - similarity(grams))
    clusters.sort(key=len, reverse=True)
    found = []
    for members in clusters:
        holds = Counter(gram for member in members for gram in grams[member])
        # a gram of one text only is no pattern
        frequent = [gram for gram, count in holds.items() if count >= max(2, KEPT * len(members))]
        found.append([motif for motif in stitched(frequent) if len(motif) >= SHORTEST])
    return [group for group in found if group]


def gram_counts(text: str) -> Counter[str]:
    return Counter(text[at : at + size] for size in SIZES for at in range(len(text) - size + 1))


def without_common(texts: Sequence[str]) -> list[str]:
    """The texts without the stretches of six characters and more that three quarters of them hold."""
    if len(texts) < 2:
        return list(texts)
    pieces = [{text[at : at + COMMON_LENGTH] for at in range(len(text) - COMMON_LENGTH + 1)} for text in texts]
    counts = Counter(piece for group in pieces for piece in group)
    common = {piece for piece, count in counts.items() if count >= max(2, COMMON * len(texts))}
    cleaned = []
    for text in texts:
        gone: set[int] = set()
        for at in range(len(text) - COMMON_LENGTH + 1):
            if text[at : at + COMMON_LENGTH] in common:
                gone.update(range(at, at + COMMON_LENGTH))
        cleaned.append("".join(letter for at, letter in enumerate(text) if at not in gone))
    return cleaned


def similarity(grams: Sequence[Counter[str]]) -> np.ndarray:
    """Cosine of TF-IDF vectors (n, n); n-grams of one text only are left out; idf = ln((1 + n)/(1 + df)) + 1."""
    frequency = Counter(gram for one in grams for gram in one)
    column = {gram: at for at, gram in enumerate(gram for gram, count in frequency.items() if count > 1)}
    weight = np.array([np.log((1 + len(grams)) / (1 + frequency[gram])) + 1 for gram in column])
    cells = [
        (row, column[gram], count) for row, one in enumerate(grams) for gram, count in one.items() if gram in column
    ]
    if not cells:
        return np.eye(len(grams))
    rows, columns, counts = map(np.array, zip(*cells, strict=True))
    matrix = csr_matrix((counts * weight[columns], (rows, columns)), shape=(len(grams), len(column)))
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(1)).ravel())
    lengths[lengths == 0] = 1
    unit = csr_matrix(matrix.multiply(1 / lengths[:, None]))
    return np.asarray((unit @ unit.T).todense())


def dbscan(distance: np.ndarray) -> list[list[int]]:
    """Clusters of indices (Ester et al. 1996); points near no dense one are left out."""
    near = distance <= RADIUS
    np.fill_diagonal(near, val=True)
    dense = near.sum(1) >= LEAST
    if not dense.any():
        return []
    places = np.flatnonzero(dense)
    _, labels = connected_components(csr_matrix(near[np.ix_(places, places)]), directed=False)
    label = dict(zip(places.tolist(), labels.tolist(), strict=True))
    clusters: dict[int, list[int]] = defaultdict(list)
    for point in range(len(distance)):
        beside = places[near[point, places]]
        if point in label:
            clusters[label[point]].append(point)
        elif len(beside):
            clusters[label[int(beside[0])]].append(point)
    return list(clusters.values())


def stitched(grams: Sequence[str]) -> list[str]:
    """n-grams that overlap, put together as far as they go; each is used once, longer overlaps before shorter ones."""
    left = dict.fromkeys(sorted(grams, key=len, reverse=True))
    begins, ends = _by_edge(left, start=True), _by_edge(left, start=False)
    found: list[str] = []
    while left:
        text = next(iter(left))
        del left[text]
        while (more := _next(text, begins, left, start=True)) is not None:
            text += more
        while (more := _next(text, ends, left, start=False)) is not None:
            text = more + text
        found.append(text)
    whole: list[str] = []
    for text in sorted(dict.fromkeys(found), key=len, reverse=True):
        if not any(text in other for other in whole):
            whole.append(text)
    return whole


def _by_edge(grams: dict[str, None], *, start: bool) -> dict[str, list[str]]:
    edges: dict[str, list[str]] = defaultdict(list)
    for gram in grams:
        for size in range(OVERLAP, len(gram)):
            edges[gram[:size] if start else gram[-size:]].append(gram)
    return edges


def _next(text: str, edges: dict[str, list[str]], left: dict[str, None], *, start: bool) -> str | None:
    """What the best unused n-gram adds behind (or before) ``text``; None where none overlaps."""
    for size in range(min(len(text), max(SIZES) - 1), OVERLAP - 1, -1):
        for gram in edges.get(text[-size:] if start else text[:size], ()):
            if gram in left:
                del left[gram]
                return gram[size:] if start else gram[:-size]
    return None
