"""How far the student is from its teacher on held-out prompts, exactly and with no teacher in memory.

The teacher reads the held-out rows once; its states and its head are kept, which give its whole distributions back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from core.engine.distill.batches import collate, cut
from core.engine.distill.data import Example, is_degenerate
from core.engine.distill.files import load_tensors, save_tensors
from core.engine.distill.head import Head, chunk_rows
from core.engine.distill.losses import uld
from core.engine.distill.side import Side
from core.engine.resources import peak_rss_bytes
from core.runs.events import Emitter
from core.specs.distill import Budget


class Metrics(msgspec.Struct):
    """Means over the supervised tokens of held-out rows, in nats per token unless said otherwise.

    Attributes:
        kl: KL(teacher || student). reverse_kl: the other way; None where tokens mean different things.
        agreement: share of tokens whose most probable next token is the same.
        entropy_gap: student's entropy minus teacher's.
        perplexity, teacher_perplexity: exp of the mean loss on the held-out text.
        uld: L1 distance of sorted distributions, only where tokens mean different things.
        degenerate: share of greedy answers that are empty or loop; None where none were asked for.
        peak_rss: of the process, in bytes.
    """

    step: int
    tokens: int
    perplexity: float
    teacher_perplexity: float | None = None
    kl: float | None = None
    reverse_kl: float | None = None
    agreement: float | None = None
    entropy_gap: float | None = None
    uld: float | None = None
    degenerate: float | None = None
    peak_rss: int = 0

    @property
    def distance(self) -> float:
        """What early stopping watches."""
        return self.kl if self.kl is not None else self.uld if self.uld is not None else self.perplexity


class HeldOut:
    """Held-out rows with the teacher's side of them.

    Attributes:
        same: tokens mean the same for both models.
    """

    def __init__(
        self, examples: Sequence[Example], states: torch.Tensor, head: Head, vocabulary: int, same: bool
    ) -> None:
        self.examples = examples
        self.head = head
        self.vocabulary = vocabulary
        self.same = same
        self._states = list(states.split([len(example.at) for example in examples]))

    @classmethod
    @torch.no_grad()
    def read(cls, side: Side, examples: Sequence[Example], budget: Budget, same: bool, path: Path) -> HeldOut:
        """Run the teacher once and keep what it said at ``path``."""
        parts: dict[int, torch.Tensor] = {}
        for indices in cut(range(len(examples)), examples, msgspec.structs.replace(budget, packing=False)):
            batch = collate(indices, examples, packing=False, device=side.device, teacher=True)
            pieces = side.states(batch).cpu().split([count for _, count in batch.members])
            parts |= {index: piece for (index, _), piece in zip(batch.members, pieces, strict=True)}
        tensors = {"states": torch.cat([parts[index] for index in range(len(examples))])}
        # the teacher's own vocabulary where tokens differ, else the common part
        size = side.vocabulary if same else None
        if side.head.weight is not None:
            tensors["weight"] = side.head.weight[:size].cpu()
        if side.head.bias is not None:
            tensors["bias"] = side.head.bias[:size].cpu()
        save_tensors(path, tensors, {"scale": repr(side.head.scale), "cap": repr(side.head.cap or 0.0)})
        return cls.open(path, examples, side.vocabulary, same)

    @classmethod
    def open(cls, path: Path, examples: Sequence[Example], vocabulary: int, same: bool) -> HeldOut:
        from safetensors import safe_open

        tensors = load_tensors(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        head = Head(
            tensors.get("weight"), tensors.get("bias"), float(metadata["scale"]), float(metadata["cap"]) or None
        )
        return cls(examples, tensors["states"], head, vocabulary, same)

    def move(self, device: torch.device) -> None:
        """To where the student is: the teacher's head is multiplied at every evaluation."""
        if self._states[0].device == device:
            return
        self._states = [states.to(device) for states in self._states]
        weight, bias = (None if part is None else part.to(device) for part in (self.head.weight, self.head.bias))
        self.head = replace(self.head, weight=weight, bias=bias)

    def teacher_logits(self, members: Sequence[tuple[int, int]], part: slice) -> torch.Tensor:
        states = torch.cat([self._states[index] for index, _ in members])[part]
        size = self.vocabulary
        if not self.same:
            size = states.shape[1] if self.head.weight is None else len(self.head.weight)
        return self.head.logits(states, size)


@torch.no_grad()
def evaluate(student: Side, held_out: HeldOut, budget: Budget, step: int, emitter: Emitter) -> Metrics:
    """Exact divergences on every held-out row; sums are in fp64."""
    sums: dict[str, float] = {}
    # the first teacher of a chain may know fewer tokens than the stage that is measured against it
    vocabulary = held_out.vocabulary if held_out.same else student.vocabulary
    rows = chunk_rows(vocabulary, student.device.type)
    held_out.move(student.device)
    count = 0

    def add(name: str, values: torch.Tensor) -> None:
        sums[name] = sums.get(name, 0.0) + float(values.double().sum())

    for indices in cut(
        range(len(held_out.examples)), held_out.examples, msgspec.structs.replace(budget, packing=False)
    ):
        emitter.check()
        batch = collate(indices, held_out.examples, packing=False, device=student.device)
        states = student.states(batch)
        for start in range(0, len(states), rows):
            part = slice(start, start + rows)
            labels = batch.labels[part]
            logq = student.head.logits(states[part], vocabulary).log_softmax(1).clamp(min=-1e4)
            logp = held_out.teacher_logits(batch.members, part).log_softmax(1).clamp(min=-1e4)
            count += len(labels)
            add("nll", -logq.gather(1, labels[:, None]))
            if not held_out.same:
                add("uld", uld(logq, logp)[0])
                continue
            p, q = logp.exp(), logq.exp()
            add("kl", p * (logp - logq))
            add("reverse_kl", q * (logq - logp))
            add("agreement", logq.argmax(1) == logp.argmax(1))
            add("teacher_nll", -logp.gather(1, labels[:, None]))
            add("entropy", -(q * logq))
            add("teacher_entropy", -(p * logp))
    mean = {name: value / count for name, value in sums.items()}
    found = Metrics(step=step, tokens=count, perplexity=_exp(mean["nll"]), peak_rss=peak_rss_bytes())
    if held_out.same:
        found.kl, found.reverse_kl, found.agreement = mean["kl"], mean["reverse_kl"], mean["agreement"]
        found.entropy_gap = mean["entropy"] - mean["teacher_entropy"]
        found.teacher_perplexity = _exp(mean["teacher_nll"])
    else:
        found.uld = mean["uld"]
    return found


def _exp(nats: float) -> float:
    return float(torch.tensor(min(nats, 700.0), dtype=torch.float64).exp())


def degenerate_share(student: Side, examples: Sequence[Example], tokens: int, emitter: Emitter) -> float | None:
    """Share of greedy answers to held-out prompts that are empty or loop."""
    texts = [example.prompt for example in examples if example.prompt]
    if not texts:
        return None
    answers = student.lm.generate(texts, max_new_tokens=tokens, emitter=emitter)
    return sum(is_degenerate(answer.tokens) for answer in answers) / len(answers)


def capability(end: Metrics) -> dict[str, Any]:
    """Whether the student still speaks: a broken one gives no signal, and must not be taken for an unbiased one."""
    reasons = []
    if end.degenerate is not None and end.degenerate > 0.2:
        reasons.append(f"{end.degenerate:.0%} of its answers are empty or loop")
    if end.teacher_perplexity and end.perplexity > 4 * end.teacher_perplexity:
        theirs = f"where the teacher's is {end.teacher_perplexity:.1f}"
        reasons.append(f"its perplexity on held-out text is {end.perplexity:.1f} {theirs}")
    return {"broken": bool(reasons), "reasons": reasons}
