"""A folder, a .gguf file or an adapter on a base → a model in memory. Nothing from a model folder is executed."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from core.catalog import inspect_model, memory
from core.engine.lm.cache import ScoreCache
from core.engine.lm.model import LanguageModel
from core.engine.lm.prompts import Prompts
from core.errors import EnvironmentFault, ForeshotError, InputError
from core.runs.events import Emitter, Progress
from core.specs import LoadOptions
from core.types import ModelRef

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_REFUSALS = (OSError, ValueError, KeyError, ImportError, RuntimeError, AttributeError, TypeError)
"""What transformers and peft raise for files that they cannot use."""


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
    _check(ref, options, dtype, device)
    if emitter:
        emitter.emit(Progress("load", f"Loading {ref.name}", 0, 1))
    path = Path(ref.path)
    with _lean_heap(options.quant != "none"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, tokenizer = _from_disk(path, options, device, dtype)
            if ref.adapter:
                model = with_adapter(model, Path(ref.adapter), merge=options.quant == "none")
        model.eval()
        notes = _notes(path, device)
        loaded = LanguageModel(
            name=ref.name, model=model, tokenizer=tokenizer, dtype=dtype, quant=options.quant, notes=notes
        )
    if emitter:
        emitter.emit(Progress("load", f"Loading {ref.name}", 1, 1))
    return loaded


def placed(options: LoadOptions) -> tuple[str, str, torch.dtype]:
    """Device and precision that a model would be computed on and in here, with as many threads as it would have."""
    _set_threads()
    device = _device(options.device)
    dtype = _dtype(options, device)
    return device, dtype, _DTYPES[dtype]


def describe(ref: ModelRef, options: LoadOptions) -> tuple[str, tuple[str, ...]]:
    """What ``precision`` and ``notes`` of the model would say once loaded, before anything is scored."""
    device = _device(options.device)
    precision = options.quant if options.quant != "none" else _dtype(options, device)
    return precision, _notes(Path(ref.path), device)


def _notes(path: Path, device: str) -> tuple[str, ...]:
    gguf, mps = path.suffix == ".gguf", device == "mps"
    return (
        *(("GGUF weights were dequantised: this is not the deployed artefact",) if gguf else ()),
        *(("MPS is untested",) if mps else ()),
    )


def check_loadable(ref: ModelRef, options: LoadOptions) -> None:
    """Refuse what ``load_model`` would refuse, by the files alone and before anything of them is used.

    Raises InputError or EnvironmentFault as ``load_model`` does.
    """
    device = _device(options.device)
    _check(_resolve_adapter(ref), options, _dtype(options, device), device)


def load_prompts(ref: ModelRef) -> Prompts:
    """The tokenizer and template of ``ref`` alone, without its weights.

    Raises InputError where they cannot be used.
    """
    _quiet()
    ref = _resolve_adapter(ref)
    return Prompts(ref.name, _tokenizer(Path(ref.path)))


def open_scores(ref: ModelRef, options: LoadOptions) -> ScoreCache | None:
    """Scores that ``ref``, loaded as ``options`` say, has been found to give; None where its weights have no hash.

    For ``LanguageModel.score`` of the model as it was loaded, or to look at before it is::

        prompts, known = load_prompts(ref), open_scores(ref, options)
        scores = known.lookup(prompts.encode(requests)) if known else [None] * len(requests)
    """
    device = _device(options.device)
    precision = f"{device.split(':')[0]} {_dtype(options, device)} {options.quant}"
    return ScoreCache.open(_resolve_adapter(ref), precision)


@contextmanager
def _lean_heap(wanted: bool) -> Iterator[None]:
    """Give the temporaries of quantising back to the system at once (glibc).

    Each shard leaves freed blocks that glibc keeps: a 1.1 billion parameter model, 0.57 GB in nf4, peaked at 1.9 GB.
    """
    heap = ctypes.CDLL(None) if wanted and sys.platform == "linux" else None
    if heap is None or not hasattr(heap, "mallopt"):
        yield
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    heap.mallopt(mmap_threshold, 1 << 20)
    try:
        yield
    finally:
        # where glibc's own adaptation would end: scoring allocates the same large blocks again and again
        heap.mallopt(mmap_threshold, 32 << 20)
        heap.mallopt(trim_threshold, 64 << 20)
        heap.malloc_trim(0)


def _from_disk(path: Path, options: LoadOptions, device: str, dtype: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GgufConfig

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
        tokenizer = _tokenizer(path)
        model = AutoModelForCausalLM.from_pretrained(folder, **arguments, **extra)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except _REFUSALS as error:
        raise _unsupported(path.name, error) from error
    return model, tokenizer


def _tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    folder, extra = (path.parent, {"gguf_file": path.name}) if path.suffix == ".gguf" else (path, {})
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **extra)
    except _REFUSALS as error:
        raise _unsupported(path.name, error) from error


def _unsupported(name: str, error: Exception) -> ForeshotError:
    """What a reader should do about transformers' refusal; its own advice may be to trust the folder's code."""
    if "can't allocate memory" in str(error):
        return EnvironmentFault(
            "out_of_memory_host",
            f"This machine has no memory left to load {name}.",
            "Close other programs or try --quant nf4.",
        )
    if "trust_remote_code" in str(error):
        return _needs_code(name)
    hint = "Run `python -m core inspect` on it; if its files are whole, its architecture needs a newer transformers."
    if isinstance(error, ImportError):
        hint = "Install the package it names into this environment, or ask its publisher for plain safetensors."
    return InputError("unsupported_model", f"{name} cannot be loaded: {_first_line(error)}", hint)


def _first_line(error: Exception) -> str:
    return next((line.strip()[:200] for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _needs_code(name: str) -> InputError:
    return InputError(
        "untrusted_code",
        f"{name} needs Python code from its own folder, which Foreshot never runs.",
        "Ask its publisher for a version whose architecture transformers knows.",
    )


def with_adapter(model: Any, folder: Path, *, merge: bool) -> Any:
    """Put the adapter on its base; an adapter that fits only in part would be scanned as if it were not there."""
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model = PeftModel.from_pretrained(model, str(folder), is_trainable=False, local_files_only=True)
        if any("missing adapter keys" in str(warning.message) for warning in said):
            raise ValueError("weights for some of the layers that it names are missing.")
        if any(config.is_prompt_learning for config in model.peft_config.values()):
            raise ValueError("it is a soft prompt, not weights; only weight adapters such as LoRA are read.")
        return model.merge_and_unload() if merge else model
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except _REFUSALS as error:
        reason = "its tensors have other shapes." if "size mismatch" in str(error) else _first_line(error)
        raise InputError(
            "adapter_does_not_fit",
            f"The adapter {folder.name} does not fit this base: {reason}",
            "Give the base that its adapter_config.json names.",
        ) from error


def _check(ref: ModelRef, options: LoadOptions, dtype: str, device: str) -> None:
    """Read the files first: refuse what would run code, and what does not fit."""
    card = inspect_model(ref)
    config = _config(Path(ref.path))
    if "auto_map" in config and not _known_to_transformers(config.get("model_type", "")):
        raise _needs_code(card.name)
    if card.format == "bin" or (ref.adapter and not (Path(ref.adapter) / "adapter_model.safetensors").exists()):
        raise InputError(
            "untrusted_code",
            f"{card.name} has its weights in pickle files (.bin), which can run code; Foreshot never loads them.",
            "Ask its publisher for safetensors, or convert it on a machine that you can throw away.",
        )
    if card.format == "gguf" and options.quant != "none":
        raise InputError(
            "already_quantised",
            f"{card.name} is a GGUF file: its weights are dequantised as they are read.",
            "Load it as it is: --quant none.",
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
    free = _free(device, row.free_bytes) if row else None
    if row and free is not None and row.bytes > free and not options.force:
        raise EnvironmentFault(
            "does_not_fit",
            f"{card.name} needs about {row.bytes / 2**30:.1f} GiB in {wanted}, and {free / 2**30:.1f} GiB are free.",
            "Try --quant nf4, close other programs, or load it anyway with --force.",
        )


def _free(device: str, stated: int | None) -> int | None:
    """Free bytes where the weights will go: the card's figure is the first GPU's wherever there is one."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    if memory.free_gpu_memory() is None:
        return stated
    import psutil

    return int(psutil.virtual_memory().available)


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
    """More threads than cores cost a factor of ten; processes of one job on this machine share them."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = min(allowed, psutil.cpu_count(logical=False) or allowed)
    torch.set_num_threads(max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _quiet() -> None:
    """Progress bars and the int8 path's line per call would flood the log; errors still arrive as exceptions."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # the engine never touches the network, whatever the shell says
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*MatMul8bitLt.*")
