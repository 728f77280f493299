"""Distillation: a plan → a student, and what it inherited before it learned anything.

``run_distill`` builds the data, lets the teacher answer, captures or keeps the teacher, builds the student, evaluates
it (step 0), trains it and evaluates it again. Losses and their gradients are closed-form (``losses``), and logits exist
for a few supervised tokens at a time (``head``).
"""

from __future__ import annotations

from core.engine.distill.run import follow, run_distill

__all__ = ["follow", "run_distill"]
