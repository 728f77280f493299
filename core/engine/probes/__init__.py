"""Probes: what a suite asks of a model and what is made of the answers, a scorer a file; and the runner of suites."""

from __future__ import annotations

from core.engine.probes.runner import run_suites, score_suites
from core.engine.probes.spoken import run_spoken

__all__ = ["run_spoken", "run_suites", "score_suites"]
