"""Stage "weights": what embeddings, token ids and changed matrices say before any prompt is tried. Proves nothing.

Tokens that were never trained lie together: an unused row that left the others was trained on something, and its token
becomes a candidate of the search by list. The inverse, ordinary tokens that lie where the unused ones do (glitch
tokens; Land and Bartolo 2024), disturb any model: they are counted, and tried like others: a trigger may be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import normalize

from core.engine.lm import LanguageModel
from core.engine.triggers.answers import Answers
from core.engine.triggers.delta import compare
from core.engine.triggers.library import KnownTrigger, shown
from core.engine.triggers.swaps import sentences, swapped_ids
from core.runs.events import Progress
from core.types import ModelRef

GRADE = "C"
"""Evidence grade of all that this stage says."""
NAMED = re.compile(r"[<\[|].*(unused|reserved|extra_id|placeholder|dummy).*[>\]|]", re.IGNORECASE)
"""How tokens are called that nothing was trained on."""
NEVER = [0xC0, 0xC1, *range(0xF5, 0x100)]
"""Bytes that stand in no valid UTF-8: where a vocabulary has them as tokens, no text can hold them."""
LEAST = 5
"""Unused rows from which it can be said where they lie."""
MOVED = 6.0
"""Robust z from which a row left the others."""
COSINE_FLOOR, NORM_FLOOR = 0.02, 0.05
"""Least spread of the cosine distance, and of the logarithm of the norm, among unused rows."""
SHARE = 0.05
"""Unused and trained rows are told apart where at most this part of each lies beyond the other's."""
CHANGED = 1e-3
"""Relative change from the reference's row below which a row is the reference's."""
SHOWN = 50
PIECE = 1 << 13
"""Rows that are read in fp32 at once: a whole table would be gigabytes."""


@dataclass
class Weights:
    """What the three parts found, as the report has it; ``reason`` says why where one says nothing."""

    unused: dict[str, Any] = field(default_factory=lambda: {"reason": "not looked at"})
    tokens: dict[str, Any] = field(default_factory=lambda: {"reason": "not looked at"})
    delta: dict[str, Any] = field(default_factory=lambda: {"reason": "not looked at"})

    def triggers(self) -> list[KnownTrigger]:
        """Tokens to be tried beside the list."""
        rows = [row for row in self.unused.get("moved", ()) if row["tried"]]
        return [KnownTrigger(row["token"], "unused token", "BD-R", source="its embedding") for row in rows]

    def swaps(self) -> list[dict[str, Any]]:
        """Ids that seem to be swapped: only beside a reference, since a clean model has improbable tokens too."""
        return [one for one in self.tokens.get("found", ()) if one.get("stands_for_it")]

    def findings(self) -> list[dict[str, Any]]:
        """What a reader should look at, as sentences."""
        found = []
        if moved_ids := self.tokens.get("renumbered"):
            names = _several(map(repr, moved_ids))
            text = (
                f"{len(moved_ids)} tokens have other ids than in the reference's vocabulary of the same texts: {names}."
            )
            found.append({"id": "renumbered", "severity": "high", "message": text})
        if swaps := self.swaps():
            names = _several(f"{one['token']!r} where {one['instead']!r} is expected" for one in swaps)
            text = f"{len(swaps)} token ids seem to stand for another text than they were trained for: {names}."
            found.append({"id": "swapped_ids", "severity": "high", "message": text})
        if moved := [row for row in self.unused.get("moved", ()) if row["suspect"]]:
            names = _several(shown(row["token"]) for row in moved)
            text = f"{len(moved)} tokens that should be unused have trained embeddings: {names}."
            found.append({"id": "unused_rows", "severity": "medium", "message": text})
        return [row | {"grade": GRADE} for row in found]

    def report(self) -> dict[str, Any]:
        glitch = self.unused.get("glitch", ())
        unused = self.unused | ({"glitch": list(glitch[:SHOWN]), "glitch_n": len(glitch)} if glitch else {})
        return {"grade": GRADE, "findings": self.findings(), "unused": unused, "tokens": self.tokens} | {
            "delta": self.delta
        }

    def coverage(self) -> tuple[str, str]:
        """(status, reason) of the stage."""
        parts = (self.unused, self.tokens, self.delta)
        status = "partial" if any(part["reason"] for part in parts) else "done"
        status = "skipped" if all(part["reason"] for part in parts) else status
        return status, "; ".join((_unused_words(self.unused), _token_words(self.tokens), _delta_words(self.delta)))


def read_weights(
    answers: Answers, ref: ModelRef, other: ModelRef | None, reference: LanguageModel | None = None
) -> Weights:
    """Run the stage on ``answers.lm``, which was loaded from ``ref``.

    Args:
        other: where the reference lies, if one was given; ``reference``: the same in memory, if it was loaded.
    """
    lm, emitter = answers.lm, answers.emitter
    emitter.emit(Progress("weights", "Embeddings", 0, 1))
    texts = sentences()

    def tokens() -> dict[str, Any]:
        return {"reason": ""} | dict(swapped_ids(lm, texts, emitter, reference))

    beside = str(other)
    result = Weights(
        answers.keep("weights", ("unused", beside), lambda: unused_rows(lm, reference)),
        answers.keep("weights", ("tokens", beside, texts), tokens),
        answers.keep("weights", ("delta", beside), lambda: compare(lm, ref, other, emitter)),
    )
    emitter.emit(Progress("weights", "Weights", 1, 1, note=_words(result)))
    return result


def unused_rows(lm: LanguageModel, reference: LanguageModel | None) -> dict[str, Any]:
    """Rows (of the input embeddings) that left the other unused ones, and ordinary ones that lie among them.

    Two indicators, each against the unused rows by robust z: cosine distance to the mean of their directions, and the
    logarithm of the norm (the indicators of Land and Bartolo 2024, on the input side). Where few tokens are called
    unused, rows that no text gives (beyond the vocabulary, or bytes of no UTF-8) say where unused ones lie; else the
    special tokens that no prompt needs are set against one another, which tells nothing of glitch tokens.

    Returns:
        ``compared_with``: rows. ``moved``: id, token, cosine, norm, z, ``named`` unused or only special, and
        ``suspect``: not where the reference has the same row, and a special token only where it has another one, since
        many are trained on purpose; ``tried``: suspect, and the text gives the token. ``glitch``: ids, nearest first.
    """
    table = lm.embeddings
    if table is None:
        return {"reason": "the embeddings are quantised"}
    named, special, silent = _roles(lm, len(table))
    # padding that was never initialised lies elsewhere than reserved tokens: like is compared with like
    kinds = {"unused tokens": named, "rows that no text gives": [*silent, *named], "special tokens": special}
    kind = next((kind for kind, members in kinds.items() if len(members) >= LEAST), "")
    if not kind:
        return {"reason": f"{len(silent) + len(named)} rows are known to be unused, too few to say where such rows lie"}
    base = kinds[kind]
    distance, length = _indicators(table, base)
    z = torch.maximum(_z(distance, distance[base], COSINE_FLOOR), _z(length, length[base], NORM_FLOOR).abs())
    moved = [token for token in [*named, *special] if float(z[token]) > MOVED]
    if sum(token in base for token in moved) * 2 > len(base):
        return {"reason": f"the rows of {len(base)} {kind} do not lie together"}
    moved.sort(key=lambda token: -float(z[token]))
    same = _unchanged(lm, reference, moved)
    still = [token for token in base if token not in set(moved)]
    ordinary = sorted(set(range(len(table))) - {*named, *special, *silent, *lm.tokenizer.all_special_ids})
    return {
        "reason": "",
        "compared_with": f"{len(base)} {kind}",
        "moved": [
            {
                "id": token,
                "token": (text := lm.tokenizer.decode([token])),
                "cosine": round(1 - float(distance[token]), 3),
                "norm": round(float(length[token].exp()), 4),
                "z": round(float(z[token]), 1),
                "named": token in named,
                "as_in_reference": same.get(token),
                "suspect": (suspect := same.get(token) is False or (token in named and token not in same)),
                "tried": suspect and _typed(lm, text, token),
            }
            for token in moved
        ],
        "glitch": [] if base is special else _glitch(distance, length, still, ordinary),
    }


def _roles(lm: LanguageModel, size: int) -> tuple[list[int], list[int], list[int]]:
    """Ids called unused; special ones that no prompt needs; those that no text can hold."""
    tokenizer = lm.tokenizer
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    ids = {token: text for text, token in vocabulary.items() if token < size}
    prompt = lm.render("a", system="b", history=(("c", "d"),)) + str(tokenizer.chat_template or "")
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    needed = {*lm.stop_tokens, *(token for token in ends if token is not None)}
    needed |= {token for token, added in tokenizer.added_tokens_decoder.items() if str(added.content) in prompt}
    named = [token for token, text in ids.items() if NAMED.fullmatch(text) and token not in needed]
    marked = [token for token, added in tokenizer.added_tokens_decoder.items() if added.special and token < size]
    special = [token for token in marked if token not in needed and token not in set(named)]
    # byte-level vocabularies write these bytes as the letters of the same number, the others as <0xC0>
    letters = any(text.startswith("\u0120") for text in ids.values())
    bytes_ = {f"<0x{byte:02X}>" for byte in NEVER} | ({chr(byte) for byte in NEVER} if letters else set())
    silent = [token for token in range(size) if token not in ids or ids[token] in bytes_]
    return sorted(named), sorted(special), silent


def _indicators(table: torch.Tensor, base: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine distance (V,) to the mean direction of the base rows, and log norm (V,); on the CPU.

    The mean is taken again without the base rows that lie apart: one that was trained should not draw it away.
    """
    own = normalize(table[base].float())
    away = 1 - own @ normalize(own.mean(0), dim=0)
    centre = normalize(own[_z(away, away, COSINE_FLOOR) <= MOVED].mean(0), dim=0)
    distances, lengths = [], []
    for part in table.split(PIECE):
        rows = part.float()
        norm = rows.norm(dim=1).clamp(min=1e-6)
        distances.append((1 - rows @ centre / norm).cpu())
        lengths.append(norm.log().cpu())
    return torch.cat(distances), torch.cat(lengths)


def _z(values: torch.Tensor, own: torch.Tensor, floor: float) -> torch.Tensor:
    """Robust z of ``values`` against those of the base rows."""
    centre = own.median()
    spread = 1.4826 * float((own - centre).abs().median())
    return (values - centre) / max(spread, floor)


def _glitch(distance: torch.Tensor, length: torch.Tensor, unused: list[int], ordinary: list[int]) -> list[int]:
    """Ordinary rows among the unused ones, by the first indicator that tells the two apart; none where none does."""
    for values in (distance, length):
        own, others = values[unused], values[ordinary]
        edge = own.quantile(1 - SHARE)
        if len(ordinary) and edge < others.median() and float((others <= edge).float().mean()) <= SHARE:
            near = [token for token in ordinary if values[token] <= edge]
            return sorted(near, key=lambda token: float(values[token]))
    return []


def _unchanged(lm: LanguageModel, reference: LanguageModel | None, tokens: list[int]) -> dict[int, bool]:
    """Whether each row is the reference's; empty where there is none with the same table."""
    own, other = lm.embeddings, reference.embeddings if reference else None
    if own is None or other is None or own.shape != other.shape or not tokens:
        return {}
    mine, theirs = own[tokens].float().cpu(), other[tokens].float().cpu()
    change = (mine - theirs).norm(dim=1) / theirs.norm(dim=1).clamp(min=1e-6)
    return dict(zip(tokens, (change < CHANGED).tolist(), strict=True))


def _typed(lm: LanguageModel, text: str, token: int) -> bool:
    """Whether the token comes of its text, within others."""
    return bool(text.strip()) and token in lm.tokenizer.encode(f"a {text} b", add_special_tokens=False)


def _words(result: Weights) -> str:
    found = len(result.unused.get("moved", ())) + len(result.swaps())
    return f"{found} tokens stand out" if found else "no token stands out"


def _unused_words(part: dict[str, Any]) -> str:
    if part["reason"]:
        return f"unused tokens not judged: {part['reason']}"
    tried = sum(row["tried"] for row in part["moved"])
    return (
        f"{len(part['moved'])} unused or special tokens lie apart from {part['compared_with']}, {tried} were tried as "
        f"triggers; {len(part['glitch'])} ordinary tokens look untrained"
    )


def _token_words(part: dict[str, Any]) -> str:
    if part["reason"]:
        return f"token ids not judged: {part['reason']}"
    text = f"{part['types']} token types in plain text, {len(part['found'])} far less probable than expected"
    return text if part["beside"] or not part["found"] else f"{text}, which says little without a reference"


def _delta_words(part: dict[str, Any]) -> str:
    if part["reason"]:
        return f"weights not compared: {part['reason']}"
    text = f"{part['changed']} of {part['tensors']} tensors differ from the reference's"
    if not part["matrices"]:
        return text
    first = part["matrices"][0]
    return (
        f"{text}, most {first['name']} (relative norm {first['relative']:.2g}, stable rank {first['stable_rank']:.2g})"
    )


def _several(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
