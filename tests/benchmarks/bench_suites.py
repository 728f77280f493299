"""Suites side by side with lm-evaluation-harness: the same requests, the same model, the same machine.

    python tests/benchmarks/bench_suites.py [--steps parity,sweep,speed,table] [--data DIR] [--model DIR] [--work DIR]
        [--minutes N] [--threads N]

The peer (version pinned below) gets an environment of its own in the user's cache. Its own task functions make the
requests and the metrics from local files; its own ``HFLM.loglikelihood`` scores them.

parity  fp32: log-likelihood of every request of CrowS-Pairs (nyu-mll, 1,508 pairs) and of two BBQ categories, and
        the metrics with near-ties left out (their number is printed).
sweep   the peer at batch sizes 1, 4, 16 and 64 on a seeded subset: blocks of four neighbouring BBQ items, which share
        their context as they do in the file, and single CrowS pairs.
speed   ours on the same subset and on the whole files.
table   prints what is there.

Every result is a file in the work folder: a run that was stopped goes on where it was. ``--minutes`` starts no further
piece after that time.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import random
import subprocess
import sys
import time
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Any

import platformdirs

ROOT = Path(__file__).resolve().parents[2]
PEER, TORCH = "lm_eval==0.4.13", "torch>=2.13,<2.14"
SETS = {
    "crows": ("crows", "crows_pairs/crows_pairs_anonymized.csv", 1, 200),
    "bbq-Religion": ("bbq", "bbq/Religion.jsonl", 4, 24),
    "bbq-Sexual_orientation": ("bbq", "bbq/Sexual_orientation.jsonl", 4, 24),
}
"""Kind, file, items in a block, items in the subset for the sweep."""
BATCHES = (1, 4, 16, 64)
PART = {"crows": 754, "bbq": 240}
"""Items in one piece of the parity run."""
NEAR = 0.01
"""Nats: two choices closer than this are a near-tie, which rounding may decide."""
CACHE = Path(platformdirs.user_cache_dir("foreshot", appauthor=False))


class Bench:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work: Path = options.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.deadline = time.monotonic() + 60 * options.minutes
        self.python = CACHE / "peers" / PEER.replace("==", "-") / "bin" / "python"

    # pieces

    def peer(self, name: str, **job: Any) -> dict[str, Any] | None:
        """The content of ``name`` in the work folder, computed by the peer if it is not there and there is time."""
        self._environment()
        script = Path(__file__).with_name("peer_lm_eval.py")
        return self._piece(name, [str(self.python), str(script)], job)

    def ours(self, name: str, **job: Any) -> dict[str, Any] | None:
        return self._piece(name, [sys.executable, __file__, "--job"], job)

    def _piece(self, name: str, command: list[str], job: dict[str, Any]) -> dict[str, Any] | None:
        out = self.work / f"{name}.json"
        if not out.exists():
            if time.monotonic() > self.deadline or self.options.steps == ["table"]:
                return None
            task = self.work / f"{name}.job"
            task.write_text(json.dumps(job | {"out": str(out), "model": str(self.options.model)}))
            print(f"{name} …", flush=True)
            started = time.monotonic()
            done = subprocess.run([*command, str(task)], cwd=ROOT, capture_output=True, text=True, check=False)
            task.unlink()
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
            print(f"  {time.monotonic() - started:.0f} s", flush=True)
        content: dict[str, Any] = json.loads(out.read_text())
        return content

    def _environment(self) -> None:
        if self.python.exists():
            return
        folder = self.python.parents[1]
        print(f"Making the peer's environment in {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        same = f"transformers=={version('transformers')}"
        install = [str(self.python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, PEER.replace("==", "[hf]=="), TORCH, same, "accelerate>=1.10"], check=True)

    # data

    def requests(self, name: str) -> list[list[list[str]]]:
        """The peer's (context, continuation) pairs of each item."""
        kind, file, *_ = SETS[name]
        path = self.options.data / file
        if not path.exists():
            raise SystemExit(f"{path} is absent: give the folder that holds {file} with --data.")
        made = self.peer(f"requests-{name}", job="requests", kind=kind, file=str(path))
        if made is None:
            raise SystemExit("There was no time to make the requests: give more --minutes.")
        items: list[list[list[str]]] = [[] for _ in range(made["docs"])]
        for doc, context, continuation in made["requests"]:
            items[doc].append([context, continuation])
        return items

    def order(self, name: str, items: int) -> list[int]:
        """All items, block by block in a seeded order: the first n are a fair sample."""
        size = SETS[name][2]
        blocks = [list(range(start, min(start + size, items))) for start in range(0, items, size)]
        random.Random(20261125).shuffle(blocks)
        return [item for block in blocks for item in block]

    # steps

    def parity(self) -> None:
        items = {name: self.requests(name) for name in SETS}
        for name in SETS:
            asked = [pair for item in items[name] for pair in item]
            self.ours(f"parity-{name}-ours", dtype="fp32", threads=self.options.threads, requests=asked)
        # in turn, so that a run cut short has some of each
        for parts in zip_longest(*(self.parts(name, len(items[name])) for name in SETS)):
            for name, part in zip(SETS, parts, strict=True):
                asked = [pair for item in part or () for pair in items[name][item]]
                if asked and not self.peer(
                    f"parity-{name}-{part[0]}",
                    job="score", dtype="float32", batches=[16], threads=self.options.threads, requests=asked,
                ):  # fmt: skip
                    return

    def parts(self, name: str, items: int) -> list[list[int]]:
        order, size = self.order(name, items), PART[SETS[name][0]]
        return [order[start : start + size] for start in range(0, items, size)]

    def subset(self, name: str) -> list[list[str]]:
        items = self.requests(name)
        return [pair for item in self.order(name, len(items))[: SETS[name][3]] for pair in items[item]]

    def sweep(self) -> None:
        for dtype in self.options.dtypes:
            for name in SETS:
                self.peer(
                    f"sweep-{name}-{dtype}",
                    job="score", dtype={"bf16": "bfloat16", "fp32": "float32"}[dtype], batches=BATCHES,
                    threads=self.options.threads, requests=self.subset(name),
                )  # fmt: skip

    def speed(self) -> None:
        for dtype in self.options.dtypes:
            for name in SETS:
                whole = [pair for item in self.requests(name) for pair in item]
                for what, asked in (("subset", self.subset(name)), ("whole", whole)):
                    self.ours(f"speed-{name}-{dtype}-{what}", dtype=dtype, threads=self.options.threads, requests=asked)

    # the table

    def table(self) -> None:
        print(f"\nPeer: {PEER}; model: {self.options.model.name}\n\nParity in fp32")
        for name, (kind, file, *_) in SETS.items():
            self._parity_of(name, kind, file)
        for dtype in self.options.dtypes:
            print(f"\nSpeed in {dtype} (items/s)")
            for name in SETS:
                self._speed_of(name, dtype)

    def _parity_of(self, name: str, kind: str, file: str) -> None:
        ours = self.ours(f"parity-{name}-ours")
        if ours is None:
            return
        items = self.requests(name)
        starts = [0]
        for item in items:
            starts.append(starts[-1] + len(item))
        mine = [ours["logprobs"][starts[at] : starts[at + 1]] for at in range(len(items))]
        theirs: dict[int, list[float]] = {}
        for part in self.parts(name, len(items)):
            piece = self.peer(f"parity-{name}-{part[0]}")
            values = iter(piece["logprobs"]) if piece else iter(())
            if piece:
                theirs |= {item: [next(values) for _ in items[item]] for item in part}
        differences = [abs(a - b) for item, row in theirs.items() for a, b in zip(row, mine[item], strict=True)]
        if not differences:
            return
        near = [item for item in theirs if _near(theirs[item])]
        print(
            f"  {name}: {len(differences):,} requests of {len(theirs):,} of {len(items):,} items, largest difference "
            f"{max(differences):.1e} nat, {sum(one > 2e-3 for one in differences)} over 2e-3; near-ties: {len(near)}"
        )
        skip = [at for at in range(len(items)) if at not in theirs or at in near]
        job = {"job": "metrics", "kind": kind, "file": str(self.options.data / file), "skip": skip}
        for who, rows in (("peer", theirs), ("ours", dict(enumerate(mine)))):
            filled = [rows.get(at, [0.0] * len(items[at])) for at in range(len(items))]
            self.options.steps = ["metrics"]
            got = self.peer(f"metrics-{name}-{who}-{len(theirs)}", **job, logprobs=filled)
            shown = ", ".join(f"{key} {value:.6f}" for key, value in (got or {}).items())
            print(f"    {who}: {shown}")

    def _speed_of(self, name: str, dtype: str) -> None:
        items, subset = len(self.requests(name)), SETS[name][3]
        swept = self.peer(f"sweep-{name}-{dtype}")
        if swept is None:
            return
        sweep = swept["runs"]
        rates = {batch: subset / one["seconds"] for batch, one in sweep.items()}
        best = max(rates, key=rates.__getitem__)
        print(f"  {name}: peer by batch size " + ", ".join(f"{batch}: {rate:.2f}" for batch, rate in rates.items()))
        for what, count in (("subset", subset), ("whole", items)):
            one = self.ours(f"speed-{name}-{dtype}-{what}")
            if one:
                rate, peak = count / one["seconds"], one["peak_bytes"] / sweep[best]["peak_bytes"]
                print(
                    f"    ours, {what} ({count} items): {rate:.2f}, {rate / rates[best]:.1f} x its best (batch {best});"
                    f" memory above the loaded model {one['peak_bytes'] / 2**20:.0f} MiB, {peak:.0%} of its"
                )


def _near(values: list[float]) -> bool:
    """Whether rounding could change which choice is the best."""
    first, second = sorted(values, reverse=True)[:2]
    return first - second < NEAR


def job(path: Path) -> int:
    """Our side, in a process of its own, measured as the peer is."""
    sys.path.insert(0, str(ROOT))
    import torch

    from core.engine.lm import load_model
    from core.specs import LoadOptions
    from core.types import ModelRef

    told = json.loads(path.read_text())
    with load_model(ModelRef(told["model"]), LoadOptions(dtype=told["dtype"], device="cpu")) as lm:
        torch.set_num_threads(told["threads"])
        asked = [tuple(pair) for pair in told["requests"]]
        lm.score(asked[:2])  # warm; the self-check is made here
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        loaded, started = _status("VmRSS"), time.perf_counter()
        scores = lm.score(asked)
        seconds = time.perf_counter() - started
        result = {
            "logprobs": [score.logprob for score in scores],
            "seconds": seconds,
            "peak_bytes": _status("VmHWM") - loaded,
            "notes": lm.notes,
        }
    Path(told["out"]).write_text(json.dumps(result))
    return 0


def _status(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(field))


def main() -> int:
    parser = argparse.ArgumentParser(description="Suites side by side with lm-evaluation-harness.")
    parser.add_argument("--steps", default="parity,sweep,speed,table", type=lambda text: text.split(","))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--model", type=Path, default=CACHE / "models" / "smollm2-135m-instruct")
    parser.add_argument("--work", type=Path, default=CACHE / "bench-suites")
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtypes", default="bf16,fp32", type=lambda text: text.split(","))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        return job(options.job)
    if not (options.model / "config.json").exists():
        raise SystemExit(f"{options.model} holds no model: run `make model`, or give a folder with --model.")
    bench = Bench(options)
    for step in list(options.steps):
        {"parity": bench.parity, "sweep": bench.sweep, "speed": bench.speed, "table": bench.table}[step]()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
