"""The guided audit: models, what is known of the pipeline, what to run, start; then its progress."""

from __future__ import annotations

from app.guide.guide import AuditGuide

__all__ = ["AuditGuide"]
