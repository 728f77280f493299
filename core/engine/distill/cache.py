"""The teacher's side on disk, so that a student is trained with no teacher in memory.

For each supervised token: the k most probable tokens with their log probabilities, and for each temperature T the log
normaliser ``shift`` = lse(z/T) - lse(z)/T and the log mass of all other tokens. Then log p_T(j) = log p(j)/T - shift is
exact at any of these temperatures, which top-k values alone cannot give. A cache states whose it is, and is refused for
another teacher, other data or another tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from core.engine.distill.batches import Batch, collate, cut
from core.engine.distill.data import Example
from core.engine.distill.files import load_tensors, save_tensors, sha256
from core.engine.distill.head import TeacherSide, chunk_rows
from core.engine.distill.losses import Sampled, Sparse, Teacher, top_k
from core.engine.distill.side import Side
from core.errors import InputError
from core.runs.events import Emitter, Progress
from core.runs.folder import write_atomic
from core.specs.distill import Budget

SHARD_EXAMPLES = 256
SAMPLE = 1024
"""Tokens on which the loss of information is measured."""
_DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


class Identity(msgspec.Struct, frozen=True):
    """Whose cache this is: everything on which its numbers depend."""

    teacher: str
    tokenizer: str
    data: str
    vocabulary: int
    mode: str
    k: int
    precision: str
    temperatures: tuple[float, ...]
    seed: int


class Checks(msgspec.Struct):
    """What the cache lost, over all tokens (mass) or the first ``sampled`` of them (divergences, nats per token).

    Attributes:
        mass, mass_least: probability within the k tokens, mean and least.
        dense_kl: KL of the whole distribution to k tokens and an even tail: what top-k cannot say.
        stored_kl: KL of the exact buckets to those read back: what the precision costs.
    """

    mass: float = 0.0
    mass_least: float = 1.0
    dense_kl: float = 0.0
    stored_kl: float = 0.0
    tokens: int = 0
    sampled: int = 0


class Manifest(msgspec.Struct):
    identity: Identity
    checks: Checks
    shards: list[dict[str, Any]]
    examples: int
    schema: int = 1


def capture(
    folder: Path,
    side: Side,
    examples: Sequence[Example],
    identity: Identity,
    budget: Budget,
    emitter: Emitter,
    stage: str,
) -> TeacherCache:
    """Write what is missing of the cache in ``folder`` and open it.

    Raises InputError where it is another teacher's, other data's or damaged.
    """
    manifest = _read_manifest(folder) or Manifest(identity, Checks(), [], len(examples))
    _check(manifest, identity, folder)
    for first in range(len(manifest.shards) * SHARD_EXAMPLES, len(examples), SHARD_EXAMPLES):
        emitter.check()
        emitter.emit(Progress(f"{stage}/cache", "Teacher cache", first, len(examples), "rows"))
        chosen = range(first, min(first + SHARD_EXAMPLES, len(examples)))
        tensors = _shard(side, examples, chosen, identity, budget, manifest.checks, emitter)
        file = folder / f"shard-{len(manifest.shards):05}.safetensors"
        save_tensors(file, tensors)
        manifest.shards.append({"file": file.name, "sha256": sha256(file), "bytes": file.stat().st_size})
        write_atomic(folder / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    emitter.emit(Progress(f"{stage}/cache", "Teacher cache", 1, 1))
    return TeacherCache(folder, identity)


def is_complete(folder: Path) -> bool:
    manifest = _read_manifest(folder)
    return manifest is not None and len(manifest.shards) * SHARD_EXAMPLES >= manifest.examples


def _read_manifest(folder: Path) -> Manifest | None:
    try:
        return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError("damaged_cache", f"The cache {folder} cannot be read.", "Capture it anew.") from error


def _check(manifest: Manifest, wanted: Identity, folder: Path) -> None:
    """Refuse a cache that says something else than asked."""
    have = manifest.identity
    reasons = {
        "teacher": "is of another teacher",
        "tokenizer": "is of another tokenizer",
        "data": "is of other data",
        "vocabulary": "is of another vocabulary",
        "mode": f"is {have.mode}, not {wanted.mode}",
        "precision": f"is in {have.precision}",
        "k": f"keeps {have.k} tokens, not {wanted.k}",
        "temperatures": f"is of the temperatures {have.temperatures}",
        "seed": "is of another seed",
    }
    for name, reason in reasons.items():
        if getattr(have, name) != getattr(wanted, name):
            raise InputError(
                "foreign_cache",
                f"The teacher cache {folder} {reason}.",
                "Leave cache.path out to capture a new one, or use the plan that it was made with.",
            )


@torch.no_grad()
def _shard(
    side: Side,
    examples: Sequence[Example],
    chosen: range,
    identity: Identity,
    budget: Budget,
    checks: Checks,
    emitter: Emitter,
) -> dict[str, torch.Tensor]:
    """Tensors of these examples, in their order; the teacher's forward runs in batches of like length."""
    parts: dict[int, dict[str, torch.Tensor]] = {}
    rows = chunk_rows(side.vocabulary, side.device.type)
    plain = msgspec.structs.replace(budget, packing=False)
    for indices in cut(chosen, examples, plain):
        emitter.check()
        batch = collate(indices, examples, packing=False, device=side.device, teacher=True)
        states = side.states(batch)
        pieces = [
            _rows(side.head.logits(part, side.vocabulary), identity, checks, indices) for part in states.split(rows)
        ]
        columns = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        at = 0
        for index, count in batch.members:
            parts[index] = {name: column[at : at + count] for name, column in columns.items()}
            at += count
    joined = {name: torch.cat([parts[index][name] for index in chosen]) for name in parts[chosen[0]]}
    return joined | {"lengths": torch.tensor([len(examples[index].at) for index in chosen])}


def _rows(logits: torch.Tensor, identity: Identity, checks: Checks, indices: Sequence[int]) -> dict[str, torch.Tensor]:
    """What is kept of some tokens' logits (n, V)."""
    precision = _DTYPES[identity.precision]
    logp = logits.log_softmax(1)
    wide = torch.int32 if identity.vocabulary > 1 << 16 else torch.uint16
    if identity.mode == "sampled":
        # draws depend on the tokens alone, not on how a run was interrupted
        generator = torch.Generator().manual_seed(identity.seed * 1_000_003 + checks.tokens + indices[0])
        ids = torch.multinomial(logp.exp().cpu(), identity.k, replacement=True, generator=generator)
        checks.tokens += len(logits)
        return {"ids": ids.to(wide), "logp": logp.cpu().gather(1, ids).to(precision)}
    kept = top_k(logp, identity.k)
    shifts, tails = [], []
    for temperature in identity.temperatures:
        scaled = logits / temperature
        shifts.append(scaled.logsumexp(1) - logits.logsumexp(1) / temperature)
        hot = scaled.log_softmax(1)
        tails.append(_tail(hot, kept.ids))
    stored = {
        "ids": kept.ids.cpu().to(wide),
        "logp": kept.logp.cpu().to(precision),
        "shift": torch.stack(shifts, 1).cpu().to(precision),
        "tail": torch.stack(tails, 1).cpu().clamp(min=-6e4).to(precision),
    }
    _measure(logp.cpu(), kept, stored, identity, checks)
    return stored


def _tail(logp: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    if ids.shape[1] == logp.shape[1]:
        return logp.new_full(logp.shape[:1], -1e4)
    return logp.scatter(1, ids, -torch.inf).logsumexp(1).clamp(min=-1e4)


def _measure(
    logp: torch.Tensor, kept: Sparse, stored: dict[str, torch.Tensor], identity: Identity, checks: Checks
) -> None:
    """Running means of what is lost."""
    n, vocabulary = logp.shape
    mass = kept.logp.exp().sum(1).double()
    checks.mass = (checks.mass * checks.tokens + float(mass.sum())) / (checks.tokens + n)
    checks.mass_least = min(checks.mass_least, float(mass.min()))
    checks.tokens += n
    if checks.sampled >= SAMPLE:
        return
    rest = vocabulary - kept.ids.shape[1]
    even = (kept.log_tail.cpu() - torch.tensor(float(max(rest, 1))).log())[:, None].expand_as(logp)
    approximate = even.scatter(1, kept.ids.cpu(), kept.logp.cpu())
    dense = (logp.exp() * (logp - approximate)).sum(1).double()
    exact = torch.cat([kept.logp.cpu(), kept.log_tail.cpu()[:, None]], 1).double()
    at_one = Sparse(*(part.cpu() for part in kept))
    if 1.0 in identity.temperatures:
        at_one = _at(stored, identity, 1.0)
    back = torch.cat([at_one.logp, at_one.log_tail[:, None]], 1).double()
    lost = (exact.exp() * (exact - back)).sum(1)
    m = checks.sampled
    checks.dense_kl = (checks.dense_kl * m + float(dense.sum())) / (m + n)
    checks.stored_kl = (checks.stored_kl * m + float(lost.sum())) / (m + n)
    checks.sampled += n


def _at(columns: dict[str, torch.Tensor], identity: Identity, temperature: float) -> Sparse:
    """The stored distribution at one of its temperatures, in fp32. Rounding took its sum off 1: it is put back."""
    place = identity.temperatures.index(temperature)
    logp = columns["logp"].float() / temperature - columns["shift"][:, place, None].float()
    tail = columns["tail"][:, place].float()
    whole = torch.cat([logp, tail[:, None]], 1).log_softmax(1)
    return Sparse(columns["ids"].long(), whole[:, :-1], whole[:, -1])


class TeacherCache:
    """A finished cache, read by batches. Raises InputError where it is damaged or not as ``identity`` says."""

    def __init__(self, folder: Path, identity: Identity) -> None:
        manifest = _read_manifest(folder)
        if manifest is None:
            raise InputError("no_cache", f"{folder} is no teacher cache.", "Leave cache.path out to capture one.")
        _check(manifest, identity, folder)
        self.identity = manifest.identity
        self.checks = manifest.checks
        self.bytes = sum(int(shard["bytes"]) for shard in manifest.shards)
        self._shards = []
        for shard in manifest.shards:
            path = folder / str(shard["file"])
            if not path.exists() or sha256(path) != shard["sha256"]:
                raise InputError("damaged_cache", f"{path} is damaged.", "Delete the cache and capture it anew.")
            columns = load_tensors(path)
            ends = columns.pop("lengths").cumsum(0).tolist()
            self._shards.append((columns, [0, *ends]))

    def side(self, batch: Batch, temperature: float) -> TeacherSide:
        """The teacher's side of a batch."""
        pieces = []
        for index, count in batch.members:
            columns, ends = self._shards[index // SHARD_EXAMPLES]
            place = index % SHARD_EXAMPLES
            assert ends[place + 1] - ends[place] == count, "the data hash should have refused this cache"
            pieces.append({name: column[ends[place] : ends[place + 1]] for name, column in columns.items()})
        joined = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        device = batch.labels.device
        whole: Teacher
        if self.identity.mode == "sampled":
            whole = Sampled(joined["ids"].long().to(device), joined["logp"].float().to(device))
        else:
            whole = Sparse(*(part.to(device) for part in _at(joined, self.identity, temperature)))
        return lambda part: type(whole)(*(column[part] for column in whole))


def data_sha256(examples: Sequence[Example]) -> str:
    import hashlib

    said = json.dumps([[e.ids, e.at, e.teacher_ids, e.teacher_at] for e in examples])
    return hashlib.sha256(said.encode()).hexdigest()
