"""What the files of a model say, as a value."""

from __future__ import annotations

import msgspec

from core.types import Severity


class FileEntry(msgspec.Struct, frozen=True):
    path: str
    bytes: int
    sha256: str | None = None


class FitRow(msgspec.Struct, frozen=True):
    """Memory that loading needs at one precision. ``fits`` is None where free memory is unknown."""

    precision: str
    bytes: int
    fits: bool | None
    free_bytes: int | None


class FileFinding(msgspec.Struct, frozen=True):
    id: str
    severity: Severity
    file: str
    message: str


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One model as its files describe it; nothing was loaded or run.

    ``fingerprint`` is sha256 over config, tokenizer and weight headers with sizes; ``weights_sha256`` over the weights
    themselves (None until hashed). ``not_examined`` says what this look did not cover.
    """

    name: str
    path: str
    adapter: str | None
    format: str
    architecture: str
    model_type: str
    parameters: int | None
    dtypes: dict[str, int]
    quantisation: str | None
    vocab_size: int | None
    layers: int | None
    hidden_size: int | None
    kv_heads: int | None
    head_dim: int | None
    context_length: int | None
    tokenizer_fingerprint: str
    template_fingerprint: str | None
    template: str | None
    licence: str
    base_model: tuple[str, ...]
    lineage_hints: tuple[str, ...]
    files: tuple[FileEntry, ...]
    fingerprint: str
    weights_sha256: str | None
    memory: tuple[FitRow, ...]
    findings: tuple[FileFinding, ...]
    not_examined: tuple[str, ...]

    def refit(self) -> ModelCard:
        """The same card with ``memory`` worked out against what is free now."""
        from core.catalog.memory import fit_rows

        return msgspec.structs.replace(self, memory=fit_rows(self))
