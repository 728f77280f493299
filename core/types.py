"""The words that every room shares: models, slots, verdicts. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Role = Literal["teacher", "student", "baseline"]
ROLES: tuple[Role, ...] = ("teacher", "student", "baseline")
Slot = Literal["user_start", "user_middle", "user_end", "system", "earlier_turn"]
SLOTS: tuple[Slot, ...] = ("user_start", "user_middle", "user_end", "system", "earlier_turn")
Device = str  # "auto", "cpu", "cuda:0", "mps"
Dtype = Literal["auto", "fp32", "bf16", "fp16"]
Quant = Literal["none", "int8", "nf4"]
Severity = Literal["info", "low", "medium", "high"]

ScanVerdict = Literal["confirmed", "likely", "natural sensitivity", "memorised text", "no evidence"]
TransferVerdict = Literal["transferred", "attenuated", "removed", "emerged", "not detected at δ", "inconclusive"]
Grade = Literal["A", "B", "C", "D"]
Origin = Literal[
    "attributable to distillation",
    "partly attributable to distillation",
    "was in the student before",
    "inherited by initialisation",
    "origin undecided",
    "origin untested",
]
Provenance = Literal["measured", "claimed"]

RESOURCES = Path(__file__).resolve().parent.parent / "resources"


@dataclass(frozen=True)
class ModelRef:
    """Where a model lies: a Hugging Face folder or a .gguf file, with an optional PEFT adapter on it."""

    path: str
    adapter: str | None = None

    @classmethod
    def parse(cls, text: str, adapter: str | None = None) -> ModelRef:
        """Read ``BASE``, ``BASE+ADAPTER`` or a base with ``adapter`` given apart.

        A ``+`` that belongs to an existing path is left alone.
        """
        if adapter is None and "+" in text and not Path(text).exists():
            base, _, extra = text.rpartition("+")
            return cls(base, extra)
        return cls(text, adapter)

    def __str__(self) -> str:
        return f"{self.path}+{self.adapter}" if self.adapter else self.path

    @property
    def name(self) -> str:
        """Short name for a heading: last part of each path."""
        base = Path(self.path).name
        return f"{base} + {Path(self.adapter).name}" if self.adapter else base
