"""Do the intervals and tests of core.stats hold their level? Simulated suites with a known true effect.

    PYTHONPATH=. OMP_NUM_THREADS=1 python tests/benchmarks/bench_stats.py [--items binary normal skewed differences
        rare] [--sizes equal unequal steep] [--icc 0 0.1 0.3] [--clusters 8 12 20 30 50 100 200] [--suites 4000]
        [--json FILE]

Prints, per cell: coverage of the 95 % interval of core.stats; its two misses (interval wholly below, wholly above the
truth); the false "absent" rate where the true effect is exactly δ, δ being 4 standard errors; type-I error of cluster_p
at 5 %, and of sign flips alone; and, on the same suites, coverage of the BCa cluster bootstrap and of the plain
cluster-t interval with G − 1 degrees, and how much wider than the latter ours is (median).

Items: ±½ with P(+½) = 0.6; normal; skewed (exponential cluster effects and items); differences in {−1, 0, 1} of which
20 % are not 0, with mean 0.05; rare ±½ with P(+½) = 0.06. Sizes: 10 items a cluster; 2 to 18, evenly (coefficient of
variation 0.5); log-normal between 1 and 60 (0.8). Clusters are drawn anew in every suite.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats

from core.stats.clusters import equivalent, interval_of_sums, mean_of_sums, p_of_sums, sign_flip_p

BOUNDS = {"binary": (-0.5, 0.5), "rare": (-0.5, 0.5), "differences": (-1.0, 1.0)}


class Cell(NamedTuple):
    items: str
    sizes: str
    icc: float
    clusters: int


def sizes_of(kind: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(suites, G) items a cluster."""
    if kind == "equal":
        return np.full(shape, 10)
    if kind == "unequal":
        return rng.integers(2, 19, shape)
    return np.clip(np.rint(rng.lognormal(np.log(7), 0.8, shape)), 1, 60).astype(int)


def shares(mean: float, icc: float, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A cluster's own probability, Beta with ``mean``; items of one cluster then correlate by ``icc``."""
    if icc == 0:
        return np.full(shape, mean)
    return rng.beta(mean * (1 / icc - 1), (1 - mean) * (1 / icc - 1), shape)


def suites_of(cell: Cell, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """(suites, G) sums and sizes, and the true mean."""
    shape = (count, cell.clusters)
    m = sizes_of(cell.sizes, shape, rng)
    if cell.items in ("binary", "rare"):
        p = 0.6 if cell.items == "binary" else 0.06
        return rng.binomial(m, shares(p, cell.icc, shape, rng)) - m / 2, m, p - 0.5
    if cell.items == "differences":
        changed = rng.binomial(m, shares(0.2, cell.icc, shape, rng))
        return 2.0 * rng.binomial(changed, shares(0.625, cell.icc, shape, rng)) - changed, m, 0.05
    if cell.items == "normal":
        own = rng.normal(0, np.sqrt(cell.icc), shape)
        return m * own + rng.normal(0, 1, shape) * np.sqrt(m * (1 - cell.icc)), m, 0.0
    own = np.sqrt(cell.icc) * (rng.exponential(1, shape) - 1)
    return m * own + np.sqrt(1 - cell.icc) * (rng.gamma(m) - m), m, 0.0


def cluster_t(sums: np.ndarray, m: np.ndarray) -> tuple[float, float]:
    """x̄ ± t_{G−1}·√(G/(G−1)·Σ r²)/n: what is usual."""
    groups, n = len(sums), m.sum()
    mean = sums.sum() / n
    half = stats.t.ppf(0.975, groups - 1) * np.sqrt(groups / (groups - 1) * ((sums - m * mean) ** 2).sum()) / n
    return mean - half, mean + half


def bca(sums: np.ndarray, m: np.ndarray, times: np.ndarray) -> tuple[float, float]:
    """Efron 1987 over clusters, from ``times`` (draws, G)."""
    mean = sums.sum() / m.sum()
    means = (times @ sums) / (times @ m)
    left_out = (sums.sum() - sums) / (m.sum() - m)
    deviation = left_out.mean() - left_out
    spread = (deviation**2).sum()
    acceleration = (deviation**3).sum() / (6 * spread**1.5) if spread else 0.0
    below = (np.mean(means < mean - 1e-12) + np.mean(means < mean + 1e-12)) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / len(means), 1 - 1 / len(means)))
    z = bias + stats.norm.ppf([0.025, 0.975])
    low, high = np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return low, high


def simulate(cell: Cell, count: int, draws: int) -> dict[str, float]:
    """One cell; the seed follows from the cell."""
    rng = np.random.default_rng([len(cell.items), len(cell.sizes), int(cell.icc * 10), cell.clusters])
    sums, sizes, truth = suites_of(cell, count, rng)
    means = sums.sum(1) / sizes.sum(1)
    margin = 4 * float(means.std())  # as many standard errors as make absence provable
    names = np.arange(cell.clusters).astype(str)
    times = rng.multinomial(cell.clusters, np.full(cell.clusters, 1 / cell.clusters), draws).astype(float)
    tally = dict.fromkeys(("below", "above", "absent", "type1", "flips", "bca", "t"), 0.0)
    widths, limits = [], BOUNDS.get(cell.items)
    for s, m in zip(sums, sizes, strict=True):
        both = np.stack([s, m], 1).astype(float)
        ours = interval_of_sums(both, m, mean_of_sums, bounds=limits, draws=draws)
        tally["below"] += ours.high < truth
        tally["above"] += ours.low > truth
        shift = margin - truth  # the same suite with a true effect of exactly δ
        tally["absent"] += equivalent(ours._replace(low=ours.low + shift, high=ours.high + shift), margin)
        null = s - m * truth  # the same suite with no effect
        flips = sign_flip_p(null, names, draws=999)
        tally["flips"] += flips <= 0.05
        moved = (limits[0] - truth, limits[1] - truth) if limits else None
        tally["type1"] += flips <= 0.05 and p_of_sums(np.stack([null, m], 1), m, bounds=moved, draws=draws) <= 0.05
        for name, (low, high) in (("bca", bca(s, m, times)), ("t", cluster_t(s, m))):
            tally[name] += low <= truth <= high
            width = high - low
        widths.append((ours.high - ours.low) / width if width else 1.0)
    percent = {name: 100 * value / count for name, value in tally.items()}
    return {"coverage": 100 - percent["below"] - percent["above"]} | percent | {"width": float(np.median(widths))}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", nargs="+", default=["binary", "normal", "skewed", "differences", "rare"])
    parser.add_argument("--sizes", nargs="+", default=["equal", "unequal", "steep"])
    parser.add_argument("--icc", nargs="+", type=float, default=[0.0, 0.1, 0.3])
    parser.add_argument("--clusters", nargs="+", type=int, default=[8, 12, 20, 30, 50, 100, 200])
    parser.add_argument("--suites", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--json", metavar="FILE", help="append one line a cell; cells that it holds are skipped")
    options = parser.parse_args()
    done = set()
    if options.json and Path(options.json).exists():
        rows = [json.loads(line) for line in Path(options.json).read_text().splitlines()]
        done = {(row["items"], row["sizes"], row["icc"], row["clusters"]) for row in rows}
    print("items       sizes    icc   G  coverage (below/above)  absent  type-I (flips) |  BCa     t  width/t   s")
    for cell in (
        Cell(items, sizes, icc, clusters)
        for clusters in options.clusters
        for items in options.items
        for sizes in options.sizes
        for icc in options.icc
    ):
        if tuple(cell) in done:
            continue
        start = time.perf_counter()
        found = simulate(cell, options.suites, options.draws)
        print(
            f"{cell.items:11} {cell.sizes:7} {cell.icc:4.1f} {cell.clusters:4} "
            f"{found['coverage']:6.2f} ({found['below']:5.2f}/{found['above']:5.2f})   {found['absent']:5.2f}   "
            f"{found['type1']:5.2f} ({found['flips']:5.2f})"
            f"   | {found['bca']:5.1f} {found['t']:5.1f}   {found['width']:5.2f}  {time.perf_counter() - start:4.0f}",
            flush=True,
        )
        if options.json:
            with Path(options.json).open("a") as file:
                file.write(json.dumps(cell._asdict() | found | {"suites": options.suites}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
