"""Tiny random llamas as real folders."""

from __future__ import annotations

from tests.engine.distill.conftest import tiny

__all__ = ["tiny"]
