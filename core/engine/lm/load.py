"""A folder, a .gguf file or an adapter on a base → a model in memory. Nothing from a model folder is executed."""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from core.catalog import inspect_model
from core.engine.lm.model import LanguageModel
from core.errors import EnvironmentFault, InputError
from core.runs.events import Emitter, Progress
from core.specs import LoadOptions
from core.types import ModelRef

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_model(ref: ModelRef, options: LoadOptions, emitter: Emitter | None = None) -> LanguageModel:
    """Load ``ref`` as ``options`` say.

    Raises:
        InputError: the files cannot be used (exit 2): remote code, pickles, unknown architecture, no base.
        EnvironmentFault: it does not fit, or the device is absent (exit 3).
    """
    _quiet()
    _set_threads()
    ref = _resolve_adapter(ref)
    device = _device(options.device)
    dtype = _dtype(options, device)
    notes = _check(ref, options, dtype)
    if emitter:
        emitter.emit(Progress("load", f"Loading {ref.name}", 0, 1))
    path = Path(ref.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, tokenizer = _from_disk(path, options, device, dtype)
        if ref.adapter:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, ref.adapter, is_trainable=False, local_files_only=True)
            if options.quant == "none":
                model = model.merge_and_unload()
    if path.suffix == ".gguf":
        notes.append("GGUF weights were dequantised: this is not the deployed artefact")
    if device == "mps":
        notes.append("MPS is untested")
    model.eval()
    if emitter:
        emitter.emit(Progress("load", f"Loading {ref.name}", 1, 1))
    return LanguageModel(
        name=ref.name, model=model, tokenizer=tokenizer, dtype=dtype, quant=options.quant, notes=tuple(notes)
    )


def _from_disk(path: Path, options: LoadOptions, device: str, dtype: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GgufConfig

    folder, extra = path, {}
    arguments: dict[str, Any] = {
        "dtype": _DTYPES[dtype],
        "trust_remote_code": False,
        "local_files_only": True,
        "use_safetensors": True,
        "device_map": {"": device},
    }
    if path.suffix == ".gguf":
        folder, extra = path.parent, {"gguf_file": path.name}
        arguments["quantization_config"] = GgufConfig(dequantize=True)
        del arguments["use_safetensors"]
    if options.quant == "nf4":
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=_DTYPES[dtype]
        )
    elif options.quant == "int8":
        arguments["quantization_config"] = BitsAndBytesConfig(load_in_8bit=True)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **extra)
        model = AutoModelForCausalLM.from_pretrained(folder, **arguments, **extra)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, TypeError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        fault = InputError(
            "unsupported_model",
            f"{path.name} cannot be loaded: {first}",
            "Run `python -m core inspect` on it; if its files are whole, its architecture needs a newer transformers.",
        )
        raise fault from error
    return model, tokenizer


def _check(ref: ModelRef, options: LoadOptions, dtype: str) -> list[str]:
    """Read the files first: refuse what would run code, and what does not fit."""
    card = inspect_model(ref)
    config = _config(Path(ref.path))
    if "auto_map" in config and not _known_to_transformers(config.get("model_type", "")):
        raise InputError(
            "untrusted_code",
            f"{card.name} needs Python code from its own folder, which Foreshot never runs.",
            "Ask its publisher for a version whose architecture transformers knows.",
        )
    if card.format == "bin":
        raise InputError(
            "untrusted_code",
            f"{card.name} has its weights in pickle files (.bin), which can run code; Foreshot never loads them.",
            "Ask its publisher for safetensors, or convert it on a machine that you can throw away.",
        )
    if card.quantisation and options.quant != "none":
        raise InputError(
            "already_quantised",
            f"{card.name} is quantised already ({card.quantisation}).",
            "Load it as it is: --quant none.",
        )
    wanted = options.quant if options.quant != "none" else dtype
    rows = {row.precision: row for row in card.memory}
    row = rows.get("bf16" if wanted == "fp16" else wanted)
    if row and row.fits is False and not options.force:
        free = f"{row.free_bytes / 2**30:.1f}" if row.free_bytes else "an unknown number of"
        raise EnvironmentFault(
            "does_not_fit",
            f"{card.name} needs about {row.bytes / 2**30:.1f} GiB in {wanted}, and {free} GiB are free.",
            "Try --quant nf4, close other programs, or load it anyway with --force.",
        )
    return []


def _config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return config


def _known_to_transformers(model_type: str) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING


def _resolve_adapter(ref: ModelRef) -> ModelRef:
    """An adapter folder alone stands on the base that it names, if that lies on this disk."""
    stated = Path(ref.path) / "adapter_config.json"
    if ref.adapter or not stated.exists() or (Path(ref.path) / "config.json").exists():
        return ref
    try:
        base = str(json.loads(stated.read_text())["base_model_name_or_path"])
    except (OSError, ValueError, KeyError):
        base = ""
    if base and Path(base).is_dir():
        return ModelRef(base, ref.path)
    raise InputError(
        "adapter_without_base",
        f"{Path(ref.path).name} is an adapter, and its base ({base or 'not stated'}) is not on this disk.",
        "Give both: BASE+ADAPTER.",
    )


def _device(wanted: str) -> str:
    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda:0"
        return "cpu"
    kind = wanted.split(":", maxsplit=1)[0]
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in present:
        raise InputError("bad_device", f"{wanted} is no device.", "Use auto, cpu, cuda:N or mps.")
    if not present[kind]:
        raise EnvironmentFault("no_device", f"There is no {kind} device here.", "Use --device auto or cpu.")
    return "cuda:0" if wanted == "cuda" else wanted


def _dtype(options: LoadOptions, device: str) -> str:
    """bf16 where the hardware multiplies it, fp32 elsewhere."""
    if options.dtype != "auto":
        return options.dtype
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if device == "mps":
        return "fp16"
    flags = _cpu_flags()
    return "bf16" if {"amx_bf16", "avx512_bf16"} & flags else "fp32"


def _cpu_flags() -> set[str]:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


def _set_threads() -> None:
    """More threads than cores cost a factor of ten."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(allowed, psutil.cpu_count(logical=False) or allowed)))


def _quiet() -> None:
    """Progress bars and the int8 path's line per call would flood the log; errors still arrive as exceptions."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*MatMul8bitLt.*")
