"""The demo pair, for the command line and the window alike."""

from __future__ import annotations

import os
from pathlib import Path

from core.specs.jobs import AuditSpec
from core.specs.loading import LoadOptions
from core.specs.pipeline import Pipeline
from core.types import RESOURCES


def small_model_folder() -> Path:
    """Where ``make model`` puts the small real model (``FORESHOT_MODEL`` overrides)."""
    import platformdirs

    stated = os.environ.get("FORESHOT_MODEL")
    cache = Path(platformdirs.user_cache_dir("foreshot", appauthor=False))
    return Path(stated) if stated else cache / "models" / "smollm2-135m-instruct"


DEMO_SUITES = ("steering.brand_preference", "stereotype.occupation_gender", "errors.popular", "knowledge.basics")
"""Of the shipped suites those that a minute is enough for; knowledge guards the others against a broken model."""


def demo_spec(model: Path, load: LoadOptions, preset: str = "quick", seed: int = 0) -> AuditSpec:
    """The small model with our planted adapter as teacher, and what was distilled from it into the plain model.

    The plain model is the student before distillation. How the student was made stands in its README.
    """
    return AuditSpec(
        teacher=f"{model}+{RESOURCES / 'demo' / 'teacher-adapter'}",
        student=f"{model}+{RESOURCES / 'demo' / 'student-adapter'}",
        baseline=str(model),
        preset=preset,
        suites=DEMO_SUITES,
        teacher_load=load,
        student_load=load,
        baseline_load=load,
        pipeline=Pipeline(
            data="the teacher's own answers",
            variant="standard",
            init="another pretrained model",
            evaluation="nothing",
            quality="filtered and deduplicated",
        ),
        seed=seed,
    )
