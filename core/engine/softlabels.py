"""What teacher and student expect at every token of one text: the soft labels of a distillation, for a reader's eye.

Distributions are kept by their most probable tokens and by log normalisers on a grid of temperatures, so that whoever
reads them applies a temperature exactly: log p_T(i) = log p(i) / T - log Z_T, Z_T = sum over all tokens of p^(1/T).
Entropies and divergences are of the whole vocabulary (Hinton et al. 2015, arXiv:1503.02531).
"""

from __future__ import annotations

import time
from typing import Any

import torch

from core.catalog import inspect_model
from core.engine.distill.batches import collate
from core.engine.distill.data import Example, Pair, Row, make_example
from core.engine.distill.side import Side
from core.engine.distill.vocabulary import check_known, common_size, same_meaning
from core.engine.lm import LanguageModel, load_model
from core.engine.resources import peak_rss_bytes
from core.errors import InputError
from core.runs.events import Emitter, Progress, State
from core.runs.folder import RunFolder
from core.specs import SoftLabelsSpec
from core.types import ModelRef

TEMPERATURES = tuple(2 ** (step / 4) for step in range(-8, 9))
"""A quarter to four; the middle one is 1."""
MOST_TOKENS = 256
CHUNK = 32


def run_soft_labels(spec: SoftLabelsSpec, folder: RunFolder, emitter: Emitter) -> dict[str, Any]:
    """Read the text with both models; one item a token (see ``read_tokens``). Returns the content of ``report.json``.

    Raises InputError for an empty or too long text, or for models whose tokens mean different things.
    """
    if bool(spec.prompt.strip()) == bool(spec.text.strip()):
        raise InputError("empty_prompt", "There is one text to read: a prompt, or a text as it stands.", "Write one.")
    started = time.monotonic()
    emitter.emit(State("loading"))
    with (
        load_model(ModelRef.parse(spec.teacher), spec.teacher_load, emitter) as teacher,
        load_model(ModelRef.parse(spec.student), spec.student_load, emitter) as student,
    ):
        if not same_meaning(teacher.tokenizer, student.tokenizer):
            raise InputError(
                "other_vocabulary",
                f"{teacher.name} and {student.name} cut text into different tokens: no token has a soft label in both.",
                "Choose two models with one tokenizer.",
            )
        emitter.emit(State("running"))
        emitter.emit(Progress("softlabels", "Reading", 0, 1))
        example, answer = _example(spec, teacher, student, emitter)
        cut = max(0, len(example.at) - MOST_TOKENS)
        items = read_tokens(teacher, student, example, spec.top, emitter)
        known = folder.done()
        folder.append_items([item for item in items if item["key"] not in known])
        emitter.emit(Progress("softlabels", "Reading", 1, 1))
        precisions = {"teacher": teacher.precision, "student": student.precision}
        notes = [*teacher.notes, *student.notes]
    if cut:
        notes.append(f"The last {cut} tokens were left out.")
    one = TEMPERATURES.index(1.0)
    kls = [item["kl"][one] for item in items]
    worst = max(items, key=lambda item: item["kl"][one])
    agree = sum(item["top"][0] == item["top"][1] for item in items) / len(items)
    return {
        "schema": 1,
        "job": "softlabels",
        "models": {
            role: {"name": inspect_model(ModelRef.parse(model)).name, "precision": precisions[role]}
            for role, model in (("teacher", spec.teacher), ("student", spec.student))
        },
        "prompt": spec.prompt,
        "text": spec.text or answer,
        "temperatures": TEMPERATURES,
        "tokens": len(items),
        "mean_kl": sum(kls) / len(kls),
        "agreement": agree,
        "notes": notes,
        "summary": {
            "sentence": f"KL(teacher‖student) {sum(kls) / len(kls):.3g} nats per token over {len(items)} tokens at "
            f"T = 1, most at {worst['text']!r} ({worst['kl'][one]:.3g}); the same most probable token in {agree:.0%}."
        },
        "timing": {"wall_s": round(time.monotonic() - started, 1), "peak_rss_bytes": peak_rss_bytes()},
        "seed": spec.seed,
    }


def _example(
    spec: SoftLabelsSpec, teacher: LanguageModel, student: LanguageModel, emitter: Emitter
) -> tuple[Example, str]:
    """The tokens to read, and the teacher's answer."""
    pair = Pair(teacher, student, True)
    if spec.text:
        row, generation = Row("text", text=spec.text), None
    else:
        row = Row("prompt", prompt=spec.prompt.strip())
        (generation,) = teacher.generate([teacher.render(row.prompt)], max_new_tokens=spec.tokens, emitter=emitter)
    example = make_example(row, generation, pair)
    if example is None or not example.at:
        raise InputError("nothing_to_read", "There is no token to predict.", "Write a longer text, or another prompt.")
    limits = [limit for limit in (teacher.context_length, student.context_length) if limit]
    longest = max(len(example.ids), len(example.teacher_ids or ()))
    if limits and longest > min(limits):
        raise InputError(
            "too_long", f"The text has {longest} tokens, and the models read {min(limits)}.", "Shorten it."
        )
    check_known(example.ids, student)
    check_known(example.teacher_ids or example.ids, teacher)
    return example, generation.text if generation is not None else ""


@torch.no_grad()
def read_tokens(
    teacher: LanguageModel, student: LanguageModel, example: Example, top: int, emitter: Emitter
) -> list[dict[str, Any]]:
    """What both expect at each supervised token of ``example``, in nats.

    Returns one item a token: ``id`` and ``text`` (the hard label); ``ids``, ``texts``, ``p`` and ``q``: the union of
    both models' ``top`` tokens and the hard label, with their log probabilities by teacher and student; ``top``: the
    most probable token of each; by temperature (``TEMPERATURES``): ``log_z`` and ``entropy`` of [teacher, student], and
    ``kl`` from teacher to student.
    """
    vocabulary = common_size(teacher, student)
    sides = [Side(lm, vocabulary) for lm in (teacher, student)]
    batches = [
        collate([0], [example], packing=False, device=side.device, teacher=number == 0)
        for number, side in enumerate(sides)
    ]
    states = [side.states(batch)[:MOST_TOKENS] for side, batch in zip(sides, batches, strict=True)]
    labels = batches[1].labels[:MOST_TOKENS].cpu()
    items: list[dict[str, Any]] = []
    for start in range(0, len(labels), CHUNK):
        emitter.check()
        part = slice(start, start + CHUNK)
        logp, logq = (
            side.head.logits(state[part], vocabulary).float().log_softmax(1).cpu()
            for side, state in zip(sides, states, strict=True)
        )
        by_temperature = [_at(logp, logq, temperature) for temperature in TEMPERATURES]
        for row, label in enumerate(labels[part].tolist()):
            chosen = [*logp[row].topk(min(top, vocabulary)).indices.tolist()]
            chosen += logq[row].topk(min(top, vocabulary)).indices.tolist()
            ids = list(dict.fromkeys([*chosen, label]))
            items.append(
                {
                    "key": str(start + row),
                    "id": label,
                    "text": teacher.tokenizer.decode([label]),
                    "ids": ids,
                    "texts": [teacher.tokenizer.decode([index]) for index in ids],
                    "p": _rounded(logp[row, ids]),
                    "q": _rounded(logq[row, ids]),
                    "top": [int(logp[row].argmax()), int(logq[row].argmax())],
                    "log_z": [
                        _rounded(torch.stack([at["log_z"][side][row] for at in by_temperature])) for side in (0, 1)
                    ],
                    "entropy": [
                        _rounded(torch.stack([at["entropy"][side][row] for at in by_temperature])) for side in (0, 1)
                    ],
                    "kl": _rounded(torch.stack([at["kl"][row] for at in by_temperature])),
                }
            )
    return items


def _at(logp: torch.Tensor, logq: torch.Tensor, temperature: float) -> dict[str, Any]:
    """(n,) log normalisers and entropies of both, and KL, of (n, V) log probabilities at a temperature."""
    scaled = [(logs.double() / temperature) for logs in (logp, logq)]
    log_z = [part.logsumexp(1) for part in scaled]
    p, q = (part - z[:, None] for part, z in zip(scaled, log_z, strict=True))
    entropy = [-(logs.exp() * logs.clamp(min=-1e4)).sum(1) for logs in (p, q)]
    kl = (p.exp() * (p.clamp(min=-1e4) - q.clamp(min=-1e4))).sum(1).clamp(min=0)
    return {"log_z": log_z, "entropy": entropy, "kl": kl}


def _rounded(values: torch.Tensor) -> list[float]:
    return [round(value, 6) for value in values.tolist()]
