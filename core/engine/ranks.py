"""Several processes of one job (``accelerate launch``), or one that knows nothing of this.

Training: the first process does everything: data, evaluation, checkpoints, export. The others join where training
begins: each takes its share of the examples of every step, and gradients are added up, so that every supervised token
has the weight that it has alone. Decisions are the first one's.

Scanning: all processes run the same program. Whatever goes through the model is cut as one process cuts it, each takes
its share of the pieces, and all get all results: so all decide alike, and as one process would.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import torch

from core.errors import Cancelled, EnvironmentFault
from core.runs.events import Event
from core.specs import LoadOptions

S = TypeVar("S")
T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""The others wait while the first one lets the teacher answer, however long that takes."""


class Silent:
    """An emitter of a process that helps: the first one tells, and decides."""

    def emit(self, event: Event) -> None:
        return

    def check(self) -> None:
        return


class Ranks:
    """This process among those of the job.

    Attributes:
        rank: from 0. world: how many there are.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self.world = int(environment.get("WORLD_SIZE", "1"))
        self.rank = int(environment.get("RANK", "0")) if self.world > 1 else 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def placed(self, load: LoadOptions) -> LoadOptions:
        """One GPU for each process."""
        if self.world == 1 or load.device == "cpu" or not torch.cuda.is_available():
            return load
        return msgspec.structs.replace(load, device=f"cuda:{os.environ.get('LOCAL_RANK', '0')}")

    # beginning and end

    def join(self, device: str) -> None:
        """Meet the others to train. ``device`` ``cpu`` keeps everything on the CPU."""
        if self.world == 1:
            return
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs

        cpu = device == "cpu" or not torch.cuda.is_available()
        Accelerator(cpu=cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])

    def leave(self) -> None:
        """The work is done: a process that ends with its connections open may be aborted by their threads."""
        if self.world > 1 and torch.distributed.is_initialized():
            with self._heard():
                torch.distributed.barrier()
            torch.distributed.destroy_process_group()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Meet the others for results that lie on the CPU, wherever they are computed; leave them at the end.

        One that fails or is cancelled closes its connections, which the others notice where they next wait for it.
        """
        if self.world == 1:
            yield
            return
        torch.distributed.init_process_group("gloo", timeout=PATIENCE)
        try:
            yield
            self.leave()
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()

    # what they tell one another

    def agree(self, value: T) -> T:
        """What the first process says."""
        if self.world == 1:
            return value
        said = [value]
        with self._heard():
            torch.distributed.broadcast_object_list(said, src=0)
        return said[0]

    def same(self, *asked: object) -> None:
        """Raise EnvironmentFault, in all processes, unless what is ``asked`` reads the same in all.

        Processors of two kinds round differently, and a choice between equals may then fall differently.
        """
        if self.world == 1:
            return
        digest = torch.tensor([1, -1]) * zlib.crc32(repr(asked).encode())
        with self._heard():
            torch.distributed.all_reduce(digest, torch.distributed.ReduceOp.MAX)
        if digest[0] != -digest[1]:
            raise EnvironmentFault(
                "processes_differ",
                "The processes of this run have come to different numbers.",
                "Run them on machines of one kind with the same files, or run one process alone.",
            )

    def add(self, tensors: Iterable[torch.Tensor]) -> None:
        """The sum over all processes, in place and in all of them."""
        if self.world > 1:
            with self._heard():
                for tensor in tensors:
                    torch.distributed.all_reduce(tensor)

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """What this process works on."""
        return items[self.rank :: self.world]

    def each(self, items: Sequence[S], work: Callable[[S], T]) -> list[T]:
        """``work`` on every item, each in one process; all get all results, in the order of the items."""
        mine = [work(item) for item in self.share(items)]
        if self.world == 1:
            return mine
        parts: list[Any] = [None] * self.world
        with self._heard():
            torch.distributed.all_gather_object(parts, mine)
        return [parts[at % self.world][at // self.world] for at in range(len(items))]

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Another process that is gone: the first one says so; where it is the first, that one has said why."""
        try:
            yield
        except RuntimeError as error:
            if not any(sign in str(error) for sign in ("by peer", "Broken pipe")):
                raise
            if not self.first:
                raise Cancelled from error
            raise EnvironmentFault(
                "process_lost",
                "Another process of this run has ended before its work was done.",
                "Its own message says why. What was finished is kept; the run can be resumed.",
            ) from error


ALONE = Ranks({})
"""Of a model that no other process reads."""
