"""Pickles are scanned opcode by opcode with picklescan and are never loaded."""

from __future__ import annotations

import logging
import pickletools
import struct
import zipfile
from pathlib import Path

from core.types import Severity

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_USUAL = ("torch", "collections", "numpy")
"""Packages whose names stand in weights; what of them could run code, picklescan calls dangerous."""
_ADVICE = "Ask its publisher for safetensors, or convert it on a machine that you can throw away."


def scan_pickle(file: Path) -> tuple[str, Severity, str]:
    """Finding of a pickle: its id, severity and sentence."""
    from picklescan.scanner import SafetyLevel, ScanResult, scan_file_path

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)  # what it would log becomes a finding here
    try:
        result = scan_file_path(str(file))
    except Exception:  # another's parser on a hostile file may fail in any way
        result = ScanResult([], scan_err=True)
    dangerous = [found for found in result.globals if found.safety == SafetyLevel.Dangerous]
    if dangerous:
        names = ", ".join(sorted({f"{found.module}.{found.name}" for found in dangerous}))
        text = f"{file.name} would run code when it is loaded ({names}). It was not loaded. {_ADVICE}"
        return "pickle_runs_code", "high", text
    unknown = sorted(
        {f"{found.module}.{found.name}" for found in result.globals if found.safety == SafetyLevel.Suspicious}
    )
    if unknown and not result.scan_err:
        text = f"{file.name} names what no weights need ({', '.join(unknown[:5])}). It was not loaded. {_ADVICE}"
        return "pickle_suspicious", "high", text
    if result.scan_err or not _is_pickle(file):
        return "pickle_unreadable", "high", f"{file.name} cannot be scanned as a pickle. {_ADVICE}"
    return "pickle", "medium", f"{file.name} is a pickle, which can run code; it is never loaded. {_ADVICE}"


def _is_pickle(file: Path) -> bool:
    """Whether the first pickle of the file (or any in its archive) can be read to its end, opcode by opcode."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    try:
        with file.open("rb") as stream:
            return sum(1 for _ in pickletools.genops(stream)) > 0
    except (ValueError, OverflowError, MemoryError, struct.error):
        return False
