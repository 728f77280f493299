"""The training of one stage: steps that are known in advance, checkpoints in time, evaluation against step 0."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import nn

from core.engine.distill import checkpoint
from core.engine.distill.batches import Batch, Examples, Step, collate, cut, plan_steps, supervised_tokens
from core.engine.distill.cache import TeacherCache
from core.engine.distill.checkpoint import Engine
from core.engine.distill.data import Example
from core.engine.distill.evaluate import HeldOut, Metrics, evaluate
from core.engine.distill.fit import Fit, measure
from core.engine.distill.head import TeacherSide, fused_loss
from core.engine.distill.losses import Dense, Objective, hidden_distance
from core.engine.distill.own_answers import own_answers
from core.engine.distill.side import Side
from core.engine.ranks import Ranks
from core.errors import Cancelled, InputError
from core.runs.events import Emitter, Progress, Samples
from core.specs.distill import Evaluation, Optimiser, Stage, Trainable

SAMPLES_EVERY_S = 0.25
LOG_EVERY = 20
"""Steps between two writes of the curve, which is flushed to disk each time."""
GAIN = 0.01
"""An evaluation that lowers the best distance by less than this share is no progress."""
NOTHING = 1e-6
"""Nats per token below which teacher and student say the same."""


class Outcome(NamedTuple):
    """``why`` it ended: budget, early stop, or nothing to learn."""

    engine: Engine
    why: str


class Learner(nn.Module):
    """Student and loss as one module: what is called once a batch.

    ``projections`` map student states to the teacher's width where these differ; they are not exported.
    """

    def __init__(self, side: Side, stage: Stage, teacher: Side | None, cache: TeacherCache | None, seed: int) -> None:
        super().__init__()
        self.model = side.lm.model
        self.side, self.teacher, self.cache, self.loss = side, teacher, cache, stage.loss
        self.objective = Objective(stage.loss)
        self.projections = nn.ModuleList()
        if stage.loss.hidden and teacher is not None:
            own, theirs = (s.causal.config.get_text_config().hidden_size for s in (side, teacher))
            if own != theirs:
                torch.manual_seed(seed)
                made = [nn.Linear(own, theirs, bias=False) for _ in stage.loss.hidden_layers]
                self.projections.extend(part.to(side.device) for part in made)

    def forward(self, own: Batch, theirs: Batch, weight: float) -> torch.Tensor:
        """``weight`` times the summed loss of a batch; ``theirs`` is the same batch in the teacher's tokens."""
        extra: torch.Tensor | float = 0.0
        source: TeacherSide = _absent
        if self.loss.hidden and self.teacher is not None:
            states, layers = self.side.states_and_layers(own, self.loss.hidden_layers)
            with torch.no_grad():
                known, targets = self.teacher.states_and_layers(theirs, self.loss.hidden_layers)
            source = self._in_memory(known, states.device)
            extra = self.loss.hidden * weight * self._hidden(layers, targets)
        else:
            states = self.side.states(own)
            if self.objective.needs_teacher:
                source = self._source(own, theirs, states.device)
        head = self.side.head
        loss = fused_loss(states, head, own.labels, source, self.objective, self.side.vocabulary, weight=weight)
        return loss + extra

    def _source(self, own: Batch, theirs: Batch, device: torch.device) -> TeacherSide:
        if self.cache is not None:
            return self.cache.side(own, self.loss.temperature)
        assert self.teacher is not None
        with torch.no_grad():
            return self._in_memory(self.teacher.states(theirs), device)

    def _in_memory(self, states: torch.Tensor, device: torch.device) -> TeacherSide:
        teacher = self.teacher
        assert teacher is not None

        def side(part: slice) -> Dense:
            with torch.no_grad():
                return Dense(teacher.head.logits(states[part], teacher.vocabulary).to(device))

        return side

    def _hidden(self, layers: list[torch.Tensor], targets: list[torch.Tensor]) -> torch.Tensor:
        """Sum over layers and tokens of the distance of hidden states."""
        total = layers[0].new_zeros(())
        for number, (mine, theirs) in enumerate(zip(layers, targets, strict=True)):
            projected = self.projections[number](mine) if self.projections else mine
            total = total + hidden_distance(projected, theirs.to(mine.device), self.loss.hidden_kind).sum()
        return total


def _absent(_part: slice) -> None:
    return None


def make_trainable(side: Side, trainable: Trainable, seed: int, *, checkpointing: bool = False) -> None:
    """Mark what is trained; with LoRA, put the adapter on. ``checkpointing`` recomputes activations."""
    model = side.lm.model
    for parameter in model.parameters():
        parameter.requires_grad_(trainable.mode != "lora")
    if trainable.mode == "body":
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            for parameter in layer.parameters() if layer is not None else ():
                parameter.requires_grad_(False)
    if trainable.mode == "lora":
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(seed)
        config = LoraConfig(
            r=trainable.rank,
            lora_alpha=trainable.alpha,
            target_modules="all-linear",
            lora_dropout=0.0,
            task_type="CAUSAL_LM",
        )
        with warnings.catch_warnings():  # peft asks for names that transformers is about to drop
            warnings.simplefilter("ignore", FutureWarning)
            side.lm.model = get_peft_model(model, config)
    if checkpointing:
        side.causal.activation_checkpointing_enable({"use_reentrant": False})


def silence_dropout(model: nn.Module) -> None:
    """A dropped-out student never equals its teacher, and a resumed one would draw other units."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "attn_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


class Trainer:
    """One stage's training.

    Args:
        log: takes rows of the curve, each with a unique ``key``; called before a checkpoint is written.
        check_fit: told what one micro-step needed, before the first step; raises where that is too much.
        keep: called with the step of each evaluation in between.
        ranks: the processes of this training; only the first needs ``held_out``.
    """

    def __init__(
        self,
        learner: Learner,
        stage: Stage,
        evaluation: Evaluation,
        examples: Sequence[Example],
        held_out: HeldOut | None,
        folder: Path,
        seed: int,
        plan_hash: str,
        emitter: Emitter,
        log: Callable[[list[dict[str, Any]]], None],
        check_fit: Callable[[Fit], None] | None = None,
        keep: Callable[[int], None] | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        from accelerate import Accelerator

        self.stage, self.evaluation, self.examples, self.held_out = stage, evaluation, examples, held_out
        self.folder, self.plan_hash, self.emitter, self.log = folder, plan_hash, emitter, log
        self.check_fit, self.keep, self.seed = check_fit, keep, seed
        self.ranks = ranks or Ranks()
        self.side = learner.side
        self.steps: list[Step] = plan_steps(examples, stage.budget, seed, stage.budget.max_steps)
        self._ahead = [0]  # supervised tokens from each step to the end
        for step in reversed(self.steps):
            self._ahead.append(self._ahead[-1] + supervised_tokens(step, examples))
        self._ahead.reverse()
        silence_dropout(learner)
        self.weights = {name: p for name, p in learner.named_parameters() if p.requires_grad}
        optimiser = torch.optim.AdamW(
            self.weights.values(), lr=stage.optimiser.rate, weight_decay=stage.optimiser.weight_decay, fused=True
        )
        self.plain_optimiser = optimiser
        self.accelerator = Accelerator(cpu=learner.side.device.type == "cpu", mixed_precision="no")
        self.learner = learner
        self.optimiser = self.accelerator.prepare(optimiser)
        self._rows: list[dict[str, Any]] = []
        self._shown: list[dict[str, Any]] = []
        self._last_shown = 0.0

    def run(self, start: Metrics | None, *, copy: bool = False) -> Outcome:
        """Train from the newest checkpoint, or from the start. ``start`` are the metrics at step 0; a ``copy`` has the
        teacher's own weights.

        Raises:
            InputError: the loss or its gradient is not finite; the last good checkpoint is kept.
            EnvironmentFault: the disk is full.
            Cancelled: after a checkpoint was written.
        """
        engine = checkpoint.load(self.folder, self.plan_hash, self.weights, self.plain_optimiser)
        engine = engine or Engine(evaluations=[start] if start else [], plan=self.plan_hash)
        pure = self.stage.loss.kind != "ce" and self.stage.loss.alpha == 1
        nothing = copy or (start is not None and start.kl is not None and start.kl < NOTHING)
        if self.ranks.agree(pure and engine.step == 0 and nothing):
            return Outcome(engine, "nothing to learn")
        why = "budget"
        self.learner.train()
        if self.check_fit:
            self.check_fit(self.micro_step())
        saved = time.monotonic()
        try:
            while True:
                # in this order, so that a run that was interrupted between a step and its evaluation catches up
                self._check()
                if self.ranks.first and self._is_due(engine):
                    self._evaluate(engine)
                if engine.step >= len(self.steps):
                    break
                if self.ranks.agree(self._stalled(engine)):
                    why = "early stop"
                    break
                if engine.step and time.monotonic() - saved >= self.stage.budget.checkpoint_s:
                    self.save(engine)
                    saved = time.monotonic()
                self._step(engine)
                self._tell(engine, engine.tokens / max(engine.seconds, 1e-9))
        except Cancelled:
            self.save(engine)
            raise
        self.save(engine)
        self.learner.eval()
        return Outcome(engine, why)

    def micro_step(self, free: int | None = None) -> Fit:
        """Forward and backward of the largest batch, which leaves nothing behind: memory and time of a step."""
        indices = max((batch for step in self.steps for batch in step), key=self._size)

        def step() -> None:
            own, theirs = self._batch(indices, self.examples)
            self.accelerator.backward(self.learner(own, theirs, 1.0 / max(1, len(own.labels))))

        return measure(step, list(self.weights.values()), self._size(indices), free)

    def _size(self, indices: list[int]) -> int:
        """Tokens of a batch, padding included."""
        lengths = [len(self.examples[index].ids) for index in indices]
        return sum(lengths) if self.stage.budget.packing else len(lengths) * max(lengths)

    def _check(self) -> None:
        """Raise Cancelled, in all processes, where the first was asked to stop."""
        stop = False
        try:
            self.emitter.check()
        except Cancelled:
            stop = True
        if self.ranks.agree(stop):
            raise Cancelled

    def _step(self, engine: Engine) -> None:
        """One optimiser step; every supervised token of it has the same weight, however it is cut into batches."""
        step, examples = self._drawn(engine)
        tokens = self._total(supervised_tokens(step, examples))
        rate = schedule(self.stage.optimiser, engine.step, len(self.steps))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = torch.zeros((), dtype=torch.float64, device=self.side.device)
        for indices in step:
            if self.ranks.world == 1:
                self.emitter.check()  # may wait: what is paused is not counted
            begun = time.monotonic()
            own, theirs = self._batch(indices, examples)
            value = self.learner(own, theirs, 1 / tokens)
            if self.ranks.world == 1 and not torch.isfinite(value):
                raise self._diverged(engine)
            self.accelerator.backward(value)
            loss += value.detach()
            engine.seconds += time.monotonic() - begun
        begun = time.monotonic()
        if self.ranks.world > 1:
            self._add_up(loss)
        norm = float(self.accelerator.clip_grad_norm_(list(self.weights.values()), self.stage.optimiser.clip))
        if not math.isfinite(norm) or not torch.isfinite(loss):
            raise self._diverged(engine)
        self.optimiser.step()
        self.optimiser.zero_grad()
        engine.seconds += time.monotonic() - begun
        engine.step += 1
        engine.tokens += tokens
        row = {"step": engine.step, "loss": float(loss), "rate": rate, "norm": norm, "tokens": engine.tokens}
        self._rows.append({"key": f"{self.stage.name}/{engine.step}", "stage": self.stage.name, **row})
        self._shown.append({"stage": self.stage.name, **row})

    def _drawn(self, engine: Engine) -> tuple[Step, Examples]:
        """This process's batches of the step and the examples in them; on-policy, some with answers of its own."""
        step, plan = self.steps[engine.step], self.stage.on_policy
        if plan is None and self.ranks.world == 1:
            return step, self.examples
        indices = self.ranks.share([index for batch in step for index in batch])
        if plan is None:
            return cut(indices, self.examples, self.stage.budget), self.examples
        begun = time.monotonic()
        self.learner.eval()
        fresh = own_answers(indices, self.examples, self.side.lm, plan, self._draw(engine))
        self.learner.train()
        examples = {index: fresh.get(index, self.examples[index]) for index in indices}
        engine.seconds += time.monotonic() - begun
        return cut(indices, examples, self.stage.budget), examples

    def _draw(self, engine: Engine) -> str:
        """Seed of a step's own answers; each process draws by itself."""
        seed = f"{self.seed}/{self.stage.name}/{engine.step}"
        return f"{seed}/{self.ranks.rank}" if self.ranks.rank else seed

    def _total(self, count: int) -> int:
        """Over all processes."""
        number = torch.tensor(count, device=self.side.device)
        self.ranks.add([number])
        return int(number)

    def _add_up(self, loss: torch.Tensor) -> None:
        """Loss and gradients over all processes; one that had nothing to do brings zeros."""
        for parameter in self.weights.values():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.ranks.add([loss, *(parameter.grad for parameter in self.weights.values() if parameter.grad is not None)])

    def _batch(self, indices: list[int], examples: Examples) -> tuple[Batch, Batch]:
        packing = self.stage.budget.packing
        own = collate(indices, examples, packing=packing, device=self.side.device)
        teacher = self.learner.teacher
        if teacher is None:
            return own, own
        other = any(examples[index].teacher_ids is not None for index in indices)
        if not other and teacher.device == own.ids.device:
            return own, own
        return own, collate(indices, examples, packing=packing, device=teacher.device, teacher=True)

    def _diverged(self, engine: Engine) -> InputError:
        self._flush()
        return InputError(
            "diverged",
            f"The loss of stage {self.stage.name} is no number any more at step {engine.step + 1}.",
            "Lower optimiser.rate; the last good checkpoint is kept.",
        )

    def _tell(self, engine: Engine, speed: float) -> None:
        now = time.monotonic()
        if now - self._last_shown >= SAMPLES_EVERY_S or engine.step == len(self.steps):
            self.emitter.emit(Samples("training", self._shown))
            self._shown, self._last_shown = [], now
        left = self._ahead[engine.step]
        self.emitter.emit(
            Progress(
                f"{self.stage.name}/train",
                "Distilling",
                engine.step,
                len(self.steps),
                "tokens",
                rate=speed,
                eta_s=left / speed if speed else None,
                note=f"loss {self._rows[-1]['loss']:.4f}" if self._rows else "",
            )
        )
        if len(self._rows) >= LOG_EVERY:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self.log(self._rows)
            self._rows = []

    def _is_due(self, engine: Engine) -> bool:
        due = engine.step % self.evaluation.every == 0 or engine.step == len(self.steps)
        return due and engine.evaluations[-1].step != engine.step

    def _evaluate(self, engine: Engine) -> None:
        assert self.held_out is not None
        self.learner.eval()
        found = evaluate(self.side, self.held_out, self.stage.budget, engine.step, self.emitter)
        if self.keep and engine.step < len(self.steps):
            self.keep(engine.step)
        self.learner.train()
        engine.evaluations.append(found)
        self.emitter.emit(Samples("evaluations", [{"stage": self.stage.name, **msgspec.to_builtins(found)}]))

    def _stalled(self, engine: Engine) -> bool:
        patience = self.stage.budget.patience
        distances = [metrics.distance for metrics in engine.evaluations]
        if not patience or len(distances) <= patience:
            return False
        return min(distances[-patience:]) > (1 - GAIN) * min(distances[:-patience])

    def save(self, engine: Engine) -> None:
        if not self.ranks.first:
            return
        self._flush()
        checkpoint.save(self.folder, engine, self.weights, self.plain_optimiser)


def schedule(plan: Optimiser, step: int, steps: int) -> float:
    """Learning rate of a step (from 0): linear warm-up, then as the plan says, down to a tenth (cosine) or 0."""
    warm = max(1, round(plan.warmup * steps))
    if step < warm:
        return plan.rate * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    if plan.schedule == "linear":
        return plan.rate * (1 - share)
    if plan.schedule == "cosine":
        return plan.rate * (0.55 + 0.45 * math.cos(math.pi * share))
    return plan.rate
