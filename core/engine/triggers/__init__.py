"""The scan cascade, one file a stage: known → proof."""

from __future__ import annotations

from core.engine.triggers.scan import PRESETS, follow_scan, run_scan

__all__ = ["PRESETS", "follow_scan", "run_scan"]
