"""Scores that were computed once, by content: the same weights asked the same tokens are not run again.

A key is sha256 over weights, config and tokenizer of the model and its adapter, the precision, the versions that
make the numbers, and the request's tokens. Weights count by their content: two trainings of one architecture have
equal headers. The file is an SQLite table in the user's cache folder; it can be deleted at any time, is rebuilt when it
is damaged, and drops the scores that were not asked for longest when it grows too large.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import struct
import time
import zlib
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.catalog import inspect_model
from core.catalog.hashes import cache_dir
from core.engine.lm.scoring import NUMERICS, Request, Score
from core.types import ModelRef

MAX_BYTES = 256 << 20
"""About four million scores."""
ASK = 500
"""Keys in one question to the table."""
DAY = 86_400

_TABLE = """
CREATE TABLE IF NOT EXISTS scores (
    key BLOB PRIMARY KEY, logprob REAL NOT NULL, tokens INTEGER NOT NULL, greedy INTEGER NOT NULL,
    check32 INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID
"""
_ANSWERS = "CREATE TABLE IF NOT EXISTS measured (key BLOB PRIMARY KEY, said TEXT NOT NULL) WITHOUT ROWID"


class ScoreCache:
    """Scores of one model in one precision.

    It speaks of the files that ``ref`` names: do not give it to a model whose weights were changed in memory.
    """

    def __init__(self, model: bytes, file: Path) -> None:
        self._model = model
        self._file = file
        self._table: sqlite3.Connection | None = None
        self._connect()

    @classmethod
    def open(cls, ref: ModelRef, precision: str) -> ScoreCache | None:
        """The cache of ``ref`` in ``precision`` (``load.precision_of``); None where the weights cannot be told apart.

        The first call for a model reads its weights once, for their hash.
        """
        card = inspect_model(ref, hash_files=True)
        if card.weights_sha256 is None:
            return None
        makers = [f"{name} {version(name)}" for name in ("torch", "transformers")]
        parts = [card.weights_sha256, card.fingerprint, precision, f"numerics {NUMERICS}", *makers]
        return cls(hashlib.sha256("\0".join(parts).encode()).digest(), cache_dir() / "scores" / "scores.sqlite")

    def lookup(self, requests: Sequence[Request]) -> list[Score | None]:
        """The score of each request, None where it is not known."""
        keys = [self._key(request) for request in requests]
        known: dict[bytes, Score] = {}
        try:
            for start in range(0, len(keys), ASK):
                known |= self._ask(keys[start : start + ASK])
        except sqlite3.Error as error:
            self._give_up(error)
        return [known.get(key) for key in keys]

    def store(self, scores: Iterable[tuple[Request, Score]]) -> None:
        """Keep ``scores``, all of them or none; numbers that are not finite are not kept."""
        now = int(time.time())
        rows = [
            (key, *score, _check(key, score), now)
            for request, score in scores
            if math.isfinite(score.logprob)
            for key in [self._key(request)]
        ]
        try:
            if self._table and rows:
                with self._table:
                    self._table.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?)", rows)
                self._shrink(self._table)
        except sqlite3.Error as error:
            self._give_up(error)

    def recall(self, question: str) -> Any:
        """What ``remember`` kept under ``question``, None where nothing is known."""
        try:
            if self._table:
                row = self._table.execute("SELECT said FROM measured WHERE key = ?", (self._name(question),)).fetchone()
                return json.loads(row[0]) if row else None
        except (sqlite3.Error, ValueError):
            pass
        return None

    def remember(self, question: str, said: Any) -> None:
        """Keep JSON that was read off this model's answer to ``question``: numbers, never the answer."""
        try:
            if self._table:
                with self._table:
                    row = (self._name(question), json.dumps(said))
                    self._table.execute("INSERT OR REPLACE INTO measured VALUES (?, ?)", row)
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        if self._table:
            self._table.close()
        self._table = None

    def _key(self, request: Request) -> bytes:
        tokens = array("q", [request.start, *request.ids]).tobytes()
        return hashlib.blake2b(tokens, digest_size=16, key=self._model).digest()

    def _name(self, question: str) -> bytes:
        return hashlib.blake2b(question.encode("utf-8", "surrogatepass"), digest_size=16, key=self._model).digest()

    def _ask(self, keys: list[bytes]) -> dict[bytes, Score]:
        if self._table is None:
            return {}
        marks = ",".join("?" * len(keys))
        rows = self._table.execute(f"SELECT * FROM scores WHERE key IN ({marks})", keys).fetchall()
        known, old, now = {}, [], int(time.time())
        for key, logprob, tokens, greedy, check, used in rows:
            score = Score(logprob, tokens, bool(greedy))
            if check == _check(key, score):  # a flipped bit is no score
                known[key] = score
            if now - used > DAY:
                old.append((now, key))
        with self._table:
            self._table.executemany("UPDATE scores SET used = ? WHERE key = ?", old)
        return known

    def _shrink(self, table: sqlite3.Connection) -> None:
        """Drop the half that was not asked for longest, once the file is full."""
        pages, free, size = (
            int(table.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * size <= MAX_BYTES:
            return
        with table:
            table.execute(
                "DELETE FROM scores WHERE key IN"
                " (SELECT key FROM scores ORDER BY used LIMIT (SELECT count(*) / 2 FROM scores))"
            )

    def _connect(self) -> None:
        """Open the table; a file that is none is replaced, and where nothing can be written there is no cache."""
        for _ in range(2):
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                self._table = sqlite3.connect(self._file, timeout=10)
                self._table.execute("PRAGMA synchronous = NORMAL")
                with self._table:
                    self._table.execute(_TABLE)
                    self._table.execute(_ANSWERS)
                return
            except OSError:
                return
            except sqlite3.Error as error:
                if not self._remove(error):
                    return

    def _give_up(self, error: sqlite3.Error) -> None:
        """Start anew after damage; a table that is only locked or full is left alone and not used any more."""
        if self._remove(error):
            self._connect()

    def _remove(self, error: sqlite3.Error) -> bool:
        self.close()
        if isinstance(error, sqlite3.OperationalError) and not _damaged(error):
            return False
        for name in (self._file.name, f"{self._file.name}-journal"):
            with suppress(OSError):
                os.remove(self._file.with_name(name))
        return True


def _damaged(error: sqlite3.Error) -> bool:
    """Another layout (no such column) or a broken file, rather than a lock or a full disk."""
    return any(sign in str(error) for sign in ("no such", "has no column", "columns but", "malformed"))


def _check(key: bytes, score: Score) -> int:
    # SQLite keeps no sign of zero
    return zlib.crc32(key + struct.pack("<dq?", score.logprob + 0.0, score.tokens, score.greedy))
