"""sha256 of files, remembered by path, size and time of change, so that a large folder is read once."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def cache_dir() -> Path:
    """Where things that can be computed again are kept (``FORESHOT_CACHE`` overrides)."""
    import platformdirs

    return Path(os.environ.get("FORESHOT_CACHE") or platformdirs.user_cache_dir("foreshot", appauthor=False))


def cached_sha256(path: Path) -> str:
    """sha256 of ``path``, from the cache when size and mtime are unchanged."""
    status = path.resolve().stat()
    key = hashlib.sha256(f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()
    entry = cache_dir() / "sha256" / key[:2] / key
    try:
        return str(json.loads(entry.read_text())["sha256"])
    except (OSError, ValueError, KeyError):
        pass
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_text(json.dumps({"sha256": digest, "path": str(path)}))
    except OSError:
        pass  # without a cache the file is only hashed again
    return digest
