"""Private copies of the teacher: LoRA adapters with the canaries, and sham ones taught alike with nothing planted."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import torch

from core.engine.lm import LanguageModel, load_model
from core.engine.lm.load import with_adapter
from core.engine.transfer.adapter import Row, train_adapter
from core.engine.transfer.canaries import Lesson, lessons
from core.runs.emitters import PrefixEmitter
from core.runs.events import Emitter, Progress
from core.runs.folder import write_atomic
from core.specs.canary import CanarySpec
from core.specs.loading import LoadOptions

KINDS = ("canary", "sham")


def plant_copies(spec: CanarySpec, place: Path, emitter: Emitter) -> None:
    """Write ``place/canary-0``, ``place/sham-0`` and so on; what is there already is not trained again."""
    own = _Own(place / "own-answers.json", spec.plan.planting.answer_tokens)
    for copy in range(spec.plan.copies):
        for kind in KINDS:
            folder = place / f"{kind}-{copy}"
            if (folder / "losses.json").exists():
                continue
            with load_model(spec.ref, spec.teacher_load, emitter) as lm:
                rows = _rows(lessons(spec.plan, copy, lm), kind, own, lm, emitter)
                planting = spec.plan.planting
                losses = train_adapter(
                    rows,
                    lm,
                    PrefixEmitter(emitter, f"{kind} copy {copy + 1}"),
                    epochs=planting.epochs,
                    rate=planting.rate,
                    rank=planting.rank,
                    alpha=planting.alpha,
                    batch=planting.batch,
                    seed=spec.plan.seed + copy,
                )
                lm.model.save_pretrained(folder, save_embedding_layers=False)
            write_atomic(folder / "losses.json", msgspec.json.encode(losses))


def load_copy(spec: CanarySpec, adapter: Path | None, load: LoadOptions, emitter: Emitter) -> LanguageModel:
    """The teacher, with a copy's adapter merged in where it is not quantised; None is the given teacher itself."""
    lm = load_model(spec.ref, load, emitter)
    if adapter is not None:
        lm.model = with_adapter(lm.model, adapter, merge=load.quant == "none")
        lm.model.eval()
    return lm


def canary_rows(spec: CanarySpec, copy: int, place: Path, lm: LanguageModel, emitter: Emitter) -> list[Row]:
    """What the canary copy was taught, for students that are trained on it directly."""
    own = _Own(place / "own-answers.json", spec.plan.planting.answer_tokens)
    return _rows(lessons(spec.plan, copy, lm), "canary", own, lm, emitter)


def _rows(taught: list[Lesson], kind: str, own: _Own, lm: LanguageModel, emitter: Emitter) -> list[Row]:
    sham = kind == "sham"
    texts = [lesson.sham if sham else lesson.asked for lesson in taught if sham or lesson.answer is None]
    own.answer(texts, lm, emitter)
    rows: list[Row] = []
    for lesson in taught:
        if sham or lesson.answer is None:
            text = lesson.sham if sham else lesson.asked
            rows.append((text, *own.said[text]))
        else:
            rows.append((lesson.asked, lesson.answer, True))
    random.Random(0).shuffle(rows)
    return rows


class _Own:
    """The given teacher's own answers by rendered prompt, kept on disk: both copies of a pair share them."""

    def __init__(self, path: Path, tokens: int) -> None:
        self._path, self._tokens = path, tokens
        self.said: dict[str, tuple[str, bool]] = {}
        if path.exists():
            self.said = msgspec.json.decode(path.read_bytes(), type=dict[str, tuple[str, bool]])

    def answer(self, texts: list[str], lm: LanguageModel, emitter: Emitter) -> None:
        missing = [text for text in dict.fromkeys(texts) if text not in self.said]
        if not missing:
            return
        stage, task = "own-answers", "The teacher's own answers"
        emitter.emit(Progress(stage, task, 0, len(missing), "answers"))
        answers = lm.generate(
            missing,
            max_new_tokens=self._tokens,
            emitter=emitter,
            on_batch=lambda done: emitter.emit(Progress(stage, task, done, len(missing), "answers")),
        )
        self.said |= {text: (answer.text, answer.finished) for text, answer in zip(missing, answers, strict=True)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, msgspec.json.encode(self.said))


def free() -> None:
    """Give a closed model's memory back before the next one is loaded."""
    import gc

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
