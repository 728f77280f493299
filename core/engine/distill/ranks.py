"""Several processes that train one student (``accelerate launch``), or one that knows nothing of this.

The first process does everything: data, evaluation, checkpoints, export. The others join where training begins: each
takes its share of the examples of every step, and gradients are added up, so that every supervised token has the weight
that it has alone. Decisions are the first one's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import TypeVar

import msgspec
import torch

from core.errors import Cancelled
from core.runs.events import Event
from core.specs import LoadOptions

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
    """This process among those of the training.

    Attributes:
        rank: from 0. world: how many there are.
    """

    def __init__(self) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0")) if self.world > 1 else 0

    @property
    def first(self) -> bool:
        return self.rank == 0

    def join(self, device: str) -> None:
        """Meet the others. ``device`` ``cpu`` keeps everything on the CPU."""
        if self.world == 1:
            return
        from accelerate import Accelerator
        from accelerate.utils import InitProcessGroupKwargs

        cpu = device == "cpu" or not torch.cuda.is_available()
        Accelerator(cpu=cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])

    def leave(self) -> None:
        """The work is done: a process that ends with its connections open may be aborted by their threads."""
        if self.world > 1 and torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()

    def placed(self, load: LoadOptions) -> LoadOptions:
        """One GPU for each process."""
        if self.world == 1 or load.device == "cpu" or not torch.cuda.is_available():
            return load
        return msgspec.structs.replace(load, device=f"cuda:{os.environ.get('LOCAL_RANK', '0')}")

    def agree(self, value: T) -> T:
        """What the first process says."""
        if self.world == 1:
            return value
        from accelerate.utils import broadcast_object_list

        said = [value]
        try:
            broadcast_object_list(said, from_process=0)
        except RuntimeError as error:
            if "by peer" in str(error) and not self.first:  # it ended, and has said why
                raise Cancelled from error
            raise
        return said[0]

    def add(self, tensors: Iterable[torch.Tensor]) -> None:
        """The sum over all processes, in place and in all of them."""
        if self.world > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def share(self, indices: list[int]) -> list[int]:
        """What this process works on."""
        return indices[self.rank :: self.world]
