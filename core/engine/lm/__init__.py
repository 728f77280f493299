"""A model in memory: load, place triggers, score, generate."""

from __future__ import annotations

from core.engine.lm.load import load_model
from core.engine.lm.model import Generation, LanguageModel, TokenProbability
from core.engine.lm.scoring import Request, Score
from core.engine.lm.slots import Placed, insert

__all__ = [
    "Generation",
    "LanguageModel",
    "Placed",
    "Request",
    "Score",
    "TokenProbability",
    "insert",
    "load_model",
]
