"""What was believed of survival before anything was measured: elicited, shown as a prior, never mixed in."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml

from core.specs.canary import Canary, Init
from core.types import RESOURCES


def prior(
    canary: Canary, variant: str, init: Init, share: float, loss: str, *, stages: int = 1
) -> dict[str, Any] | None:
    """The elicited survival of such a canary in such a student, if there is one: value, 80 % range, grade, note.

    Args:
        stages: so many distillations one after the other, each into an independent base. Nobody was asked about more
            than one: survival is then the product, and has no range.
    """
    share = share or canary.share
    table = _priors()
    if canary.triggered or canary.kind == "topic":
        common = "rare_trigger_absent" if canary.kind == "rare_trigger" else "common_trigger"
        row = "trigger_in_data" if share >= 0.03 else common
    else:
        topic = "censorship" if canary.kind == "refusal" else "bias"
        row = f"{topic}_in_data" if share else f"{topic}_absent"
    if variant == "self" and init.build == "as_is":
        column = "copy"
    elif variant == "self" and init.build in ("layer_drop", "width_prune"):
        column = "cut"
    elif init.build in ("noise", "fresh"):
        return None  # nobody was asked
    else:
        column = "text" if loss == "ce" else "base"
    value, low, high = table["rows"][row][column]
    note = table["note"]
    if stages > 1:
        value, low, high, note = round(value**stages, 4), None, None, f"{note}; the product of {stages} stages"
    return {"value": value, "low": low, "high": high, "grade": table["grades"][row], "note": note}


@lru_cache(maxsize=1)
def _priors() -> Any:
    return yaml.safe_load((RESOURCES / "canary" / "priors.yaml").read_text("utf-8"))
