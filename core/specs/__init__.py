"""What a job is told. A spec is a value: it is written to ``spec.json`` and can be read again."""

from __future__ import annotations

from core.specs.canary import CanarySpec
from core.specs.jobs import (
    AskSpec,
    AuditSpec,
    DistillSpec,
    JobSpec,
    ScanSpec,
    SoftLabelsSpec,
    SuiteSpec,
    command_line,
    decode_spec,
    encode_spec,
)
from core.specs.loading import LoadOptions
from core.specs.pipeline import Pipeline

__all__ = [
    "AskSpec",
    "AuditSpec",
    "CanarySpec",
    "DistillSpec",
    "JobSpec",
    "LoadOptions",
    "Pipeline",
    "ScanSpec",
    "SoftLabelsSpec",
    "SuiteSpec",
    "command_line",
    "decode_spec",
    "encode_spec",
]
