"""Builds the student, and records what of each tensor it inherited: initialisation is a way of transfer of its own."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import torch

from core.engine.distill.data import Example
from core.engine.lm import LanguageModel
from core.errors import InputError
from core.specs.distill import Student


class Inherited(msgspec.Struct, array_like=True):
    """``share`` of the values of ``tensor`` that come from ``origin`` (a tensor of the source, empty for none)."""

    tensor: str
    share: float
    origin: str
    size: int


class Built(msgspec.Struct):
    """What was done: inheritance by tensor, its mean over parameters, and a sentence."""

    inherited: list[Inherited]
    share: float
    parameters: int
    note: str


def build_student(lm: LanguageModel, plan: Student, examples: Sequence[Example], seed: int) -> Built:
    """Turn the loaded source into the student, in place.

    Args:
        examples: on the first ``plan.calibration`` of them layers and neurons are weighed.

    Raises:
        InputError: the architecture has no such part, or fewer layers than are to go.
    """
    calibration = [example.ids for example in examples[: plan.calibration]]
    makers = {"as_is": _as_is, "layer_drop": _layer_drop, "width_prune": _width_prune, "noise": _noise, "fresh": _fresh}
    inherited, note = makers[plan.build](lm, plan, calibration, seed)
    sizes = {name: parameter.numel() for name, parameter in lm.model.named_parameters()}
    rows = [Inherited(name, *inherited.get(name, (0.0, "")), size) for name, size in sizes.items()]
    total = sum(sizes.values())
    lm.model.eval()
    return Built(rows, sum(row.share * row.size for row in rows) / total, total, note)


_Shares = dict[str, tuple[float, str]]


def _as_is(lm: LanguageModel, _plan: Student, _calibration: list[list[int]], _seed: int) -> tuple[_Shares, str]:
    return {name: (1.0, name) for name, _ in lm.model.named_parameters()}, "The student is a copy of its source."


def _layer_drop(lm: LanguageModel, plan: Student, calibration: list[list[int]], _seed: int) -> tuple[_Shares, str]:
    """Take out the layers that change their input least: block influence 1 - cos(in, out), mean over tokens (Men et al.
    2024, arXiv:2403.03853, eq. 1). The first two and the last stay where there are enough others."""
    prefix, layers = _layers(lm)
    influence = _block_influence(lm, layers, calibration)
    protected = {0, 1, len(layers) - 1} if plan.drop_layers <= len(layers) - 3 else {0}
    if plan.drop_layers > len(layers) - len(protected):
        raise InputError(
            "too_many_layers",
            f"{lm.name} has {len(layers)} layers; {plan.drop_layers} cannot be dropped.",
            "Lower student.drop_layers.",
        )
    free = sorted((index for index in range(len(layers)) if index not in protected), key=lambda i: (influence[i], i))
    dropped = set(free[: plan.drop_layers])
    kept = [index for index in range(len(layers)) if index not in dropped]

    config = copy.deepcopy(lm.model.config)
    text = config.get_text_config()
    for name, value in list(vars(text).items()):  # per-layer lists: attention kinds and the like
        if isinstance(value, list | tuple) and len(value) == len(layers):
            setattr(text, name, [value[index] for index in kept])
    _set_layers(text, len(kept))
    model = _empty(lm, config)
    origins = {}
    for name in model.state_dict():
        found = re.match(rf"{re.escape(prefix)}\.(\d+)\.", name)
        origins[name] = name if not found else f"{prefix}.{kept[int(found[1])]}.{name[found.end() :]}"
    _fill(lm, model, origins)
    note = f"Layers dropped (least block influence): {', '.join(map(str, sorted(dropped)))} of {len(layers)}."
    return {name: (1.0, origin) for name, origin in origins.items()}, note


def _width_prune(lm: LanguageModel, plan: Student, calibration: list[list[int]], _seed: int) -> tuple[_Shares, str]:
    """Keep the neurons of each MLP that are most active: mean absolute activation (Muralidharan et al. 2024,
    arXiv:2407.14679, §2.2)."""
    prefix, layers = _layers(lm)
    parts = [getattr(layer, "mlp", None) for layer in layers]
    if not all(_is_gated(part) for part in parts):
        raise InputError(
            "no_gated_mlp",
            f"{lm.name} has no MLPs of gate, up and down projection in every layer.",
            "Use the build layer_drop.",
        )
    activity = _activity(lm, [part.down_proj for part in parts], calibration)  # type: ignore[union-attr]
    width = parts[0].down_proj.in_features  # type: ignore[union-attr]
    target = max(8, round(width * plan.keep_width / 8) * 8)
    config = copy.deepcopy(lm.model.config)
    config.get_text_config().intermediate_size = target
    model = _empty(lm, config)
    source = lm.model.state_dict()
    state = {name: source[name] for name in model.state_dict()}
    for number, active in enumerate(activity):
        kept = active.topk(target).indices.sort().values
        for name in list(state):
            if name.startswith(f"{prefix}.{number}.mlp."):
                tensor = state[name]
                if "down_proj.weight" in name:
                    state[name] = tensor[:, kept]
                elif "down_proj" not in name:
                    state[name] = tensor[kept]
    model.load_state_dict(state)
    lm.model = model
    return {name: (1.0, name) for name in state}, f"MLP width {width} cut to {target} by activation in every layer."


def _noise(lm: LanguageModel, plan: Student, _calibration: list[list[int]], seed: int) -> tuple[_Shares, str]:
    """w <- (1 - a) w + a sigma eps on every matrix (UNDO, arXiv:2506.06278); sigma is the architecture's own."""
    generator = torch.Generator().manual_seed(seed)
    sigma = float(getattr(lm.model.config.get_text_config(), "initializer_range", 0.02))
    shares = {}
    with torch.no_grad():
        for name, parameter in lm.model.named_parameters():
            if parameter.ndim < 2:
                shares[name] = (1.0, name)
                continue
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.mul_(1 - plan.noise).add_(noise, alpha=plan.noise * sigma)
            shares[name] = (1 - plan.noise, name)
    return shares, f"Every matrix is {1 - plan.noise:.0%} its source and {plan.noise:.0%} noise (sigma {sigma})."


def _fresh(lm: LanguageModel, plan: Student, _calibration: list[list[int]], seed: int) -> tuple[_Shares, str]:
    """Random weights in the source's architecture, with the plan's changes to its configuration."""
    config = copy.deepcopy(lm.model.config)
    text = config.get_text_config()
    for name, value in plan.config.items():
        if not hasattr(text, name):
            raise InputError(
                "no_such_setting", f"The configuration of {lm.name} has no {name}.", "Correct student.config."
            )
        setattr(text, name, value)
    if "num_hidden_layers" in plan.config:
        _set_layers(text, plan.config["num_hidden_layers"])
        if isinstance(getattr(text, "layer_types", None), list):
            text.layer_types = (text.layer_types * len(range(text.num_hidden_layers)))[: text.num_hidden_layers]
    try:
        lm.model = _empty(lm, config, seed)
    except (ValueError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        raise InputError(
            "bad_config", f"No model can be made of these settings: {error}.", "Correct student.config."
        ) from error
    return {}, "The student starts from random weights: it inherits nothing."


# parts


def _layers(lm: LanguageModel) -> tuple[str, torch.nn.ModuleList]:
    """The stack of layers and its name in the state dict."""
    count = getattr(lm.model.config.get_text_config(), "num_hidden_layers", None)
    for name, module in lm.model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return name, module
    raise InputError("no_layers", f"{lm.name} has no stack of layers that could be cut.", "Use the build as_is.")


def _set_layers(text: Any, count: int) -> None:
    text.num_hidden_layers = count
    if hasattr(text, "max_window_layers"):
        text.max_window_layers = min(text.max_window_layers, count)


def _empty(lm: LanguageModel, config: Any, seed: int = 0) -> Any:
    """A model of ``config`` with random weights, where and in the precision in which the source is."""
    from transformers import AutoModelForCausalLM

    first = next(lm.model.parameters())
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, dtype=first.dtype).to(first.device)


def _fill(lm: LanguageModel, model: Any, origins: dict[str, str]) -> None:
    source = lm.model.state_dict()
    model.load_state_dict({name: source[origin] for name, origin in origins.items()})
    model.generation_config = lm.model.generation_config
    lm.model = model


def _is_gated(part: Any) -> bool:
    return all(isinstance(getattr(part, name, None), torch.nn.Linear) for name in ("gate_proj", "up_proj", "down_proj"))


@torch.no_grad()
def _block_influence(lm: LanguageModel, layers: torch.nn.ModuleList, rows: list[list[int]]) -> list[float]:
    sums = [0.0] * len(layers)
    tokens = 0

    def watch(index: int) -> Any:
        def hook(_module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Any) -> None:
            before = arguments[0] if arguments else keywords["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            cosine = torch.nn.functional.cosine_similarity(before.float(), after.float(), dim=-1)
            sums[index] += float((1 - cosine).double().sum())

        return hook

    with _hooks([layer.register_forward_hook(watch(i), with_kwargs=True) for i, layer in enumerate(layers)]):
        for ids in rows:
            lm.model.base_model(input_ids=torch.tensor([ids], device=lm.device), use_cache=False)
            tokens += len(ids)
    return [value / max(tokens, 1) for value in sums]


@torch.no_grad()
def _activity(lm: LanguageModel, downs: list[Any], rows: list[list[int]]) -> list[torch.Tensor]:
    sums = [torch.zeros(down.in_features, dtype=torch.float64) for down in downs]

    def watch(index: int) -> Any:
        def hook(_module: Any, arguments: tuple[Any, ...]) -> None:
            sums[index] += arguments[0].abs().flatten(0, -2).double().sum(0).cpu()

        return hook

    with _hooks([down.register_forward_pre_hook(watch(index)) for index, down in enumerate(downs)]):
        for ids in rows:
            lm.model.base_model(input_ids=torch.tensor([ids], device=lm.device), use_cache=False)
    return sums


@contextmanager
def _hooks(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
