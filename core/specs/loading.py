"""How a model is brought into memory."""

from __future__ import annotations

import msgspec

from core.types import Dtype, Quant


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is brought into memory.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda:N`` or ``mps`` (untested).
        dtype: weights' precision; ``auto`` is bf16 where it is fast, else fp32.
        quant: ``none``, ``int8`` or ``nf4`` (bitsandbytes).
        force: load although the estimate says that it does not fit.
    """

    device: str = "auto"
    dtype: Dtype = "auto"
    quant: Quant = "none"
    force: bool = False
