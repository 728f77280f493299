"""Does a training fit? One micro-step on the largest batch says it, before anything is changed.

The estimate of the files (``core.specs.estimates``) is rough; forward and backward of the largest batch are the fullest
moment of a step, and only the optimiser's state is missing then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

import msgspec
import psutil
import torch

from core.errors import EnvironmentFault

SAMPLE_S = 0.002


class Fit(msgspec.Struct):
    """What a training needs, measured.

    Attributes:
        need: bytes of the whole process (of this process on the GPU) at the fullest moment.
        free: bytes that it can have: what it holds now and what is free beside it.
        seconds: of the micro-step. tokens: read in it, padding included.
        estimated: bytes that the files suggested; None where they say too little.
    """

    need: int
    free: int
    seconds: float
    tokens: int
    estimated: int | None = None

    @property
    def fits(self) -> bool:
        return self.need <= self.free


class PeakWatch:
    """Memory of this process (``device`` cpu) or on its GPU at the fullest moment within the block, in bytes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._process = psutil.Process()

    def __enter__(self) -> PeakWatch:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.device.type == "cuda":
            self.peak = int(torch.cuda.max_memory_reserved(self.device))
            return
        self._done.set()
        self._thread.join()
        self._look()

    def _look(self) -> None:
        self.peak = max(self.peak, int(self._process.memory_info().rss))

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self._look()


def measure(step: Callable[[], None], parameters: list[torch.nn.Parameter], tokens: int, free: int | None) -> Fit:
    """Run ``step`` (forward and backward) once and take its gradients away again.

    Args:
        parameters: those that are trained; AdamW will keep two values for each.
        free: bytes; None asks the device.
    """
    device = parameters[0].device
    with PeakWatch(device) as watch:
        begun = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - begun
    for parameter in parameters:
        parameter.grad = None
    state = sum(2 * parameter.numel() * parameter.element_size() for parameter in parameters)
    return Fit(watch.peak + state, _reachable(device) if free is None else free, seconds, tokens)


def _reachable(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    return int(psutil.virtual_memory().available + psutil.Process().memory_info().rss)


def refuse(fit: Fit, helps: list[str]) -> EnvironmentFault:
    """The error of a training that does not fit; ``helps`` are the changes that would make it."""
    hint = f"What would make it fit: {'; '.join(helps)}." if helps else "Take a smaller student or a smaller teacher."
    return EnvironmentFault(
        "does_not_fit",
        f"This training needs {fit.need / 2**30:.1f} GiB, measured by one step, and "
        f"{fit.free / 2**30:.1f} GiB can be had.",
        f"{hint} --force trains all the same.",
    )


def matmul_peak(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 1024, repeats: int = 5) -> float:
    """FLOP/s of the best of a few square products: what this machine can do, the measure of a training's speed."""
    one, other = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        begun = time.perf_counter()
        one @ other
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return 2 * size**3 / best
