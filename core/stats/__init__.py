"""Intervals, tests and multiplicity for paired, clustered observations. numpy and scipy only.

Formulas and where they come from stand with each function; bias notes §2 "Paired statistics" are the protocol.
"""

from __future__ import annotations

from core.stats.clusters import (
    Interval,
    Paired,
    Precision,
    cluster_bootstrap,
    cluster_metric,
    cluster_p,
    equivalent,
    paired_effects,
    precision,
    sign_flip_p,
)
from core.stats.rates import (
    benjamini_hochberg,
    clopper_pearson,
    holm,
    items_needed,
    mcnemar_exact_p,
    mcnemar_mid_p,
    mcnemar_one_sided,
    minimum_detectable_effect,
    newcombe_paired,
)
from core.stats.survival import Lift, Survival, run_mean, survival

__all__ = [
    "Interval",
    "Lift",
    "Paired",
    "Precision",
    "Survival",
    "benjamini_hochberg",
    "clopper_pearson",
    "cluster_bootstrap",
    "cluster_metric",
    "cluster_p",
    "equivalent",
    "holm",
    "items_needed",
    "mcnemar_exact_p",
    "mcnemar_mid_p",
    "mcnemar_one_sided",
    "minimum_detectable_effect",
    "newcombe_paired",
    "paired_effects",
    "precision",
    "run_mean",
    "sign_flip_p",
    "survival",
]
