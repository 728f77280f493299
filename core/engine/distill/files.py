"""Tensors on disk without pickle, whole or not at all; a full disk is one sentence."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from core.errors import EnvironmentFault, InputError
from core.runs.folder import disk_fault


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write beside, flush to disk, rename. Raises EnvironmentFault where the disk does not take it."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise as_disk_fault(error, path) from error


def as_disk_fault(error: Exception, path: Path) -> EnvironmentFault:
    """safetensors says a full disk in words only."""
    if isinstance(error, OSError) and error.errno is not None:
        return disk_fault(error, path)
    full = "os error 28" in str(error) or "No space" in str(error)
    return disk_fault(OSError(errno.ENOSPC if full else errno.EIO, str(error)), path)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Raises InputError for a file that is damaged or absent."""
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError("damaged_file", f"{path} cannot be read.", "Start the run anew.") from error
    return tensors


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def replace_folder(new: Path, old: Path) -> None:
    """Put the finished folder ``new`` in the place of ``old``."""
    shutil.rmtree(old, ignore_errors=True)
    new.rename(old)
