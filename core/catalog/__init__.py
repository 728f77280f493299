"""A folder on disk → ModelCard, without loading or running anything of it."""

from __future__ import annotations

from core.catalog.card import FileEntry, FileFinding, FitRow, ModelCard
from core.catalog.diff import diff_cards
from core.catalog.inspect import inspect_model
from core.catalog.template import check_template

__all__ = ["FileEntry", "FileFinding", "FitRow", "ModelCard", "check_template", "diff_cards", "inspect_model"]
