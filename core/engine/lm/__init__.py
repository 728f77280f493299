"""A model in memory: load, place triggers, score, read many branches of a prompt, generate."""

from __future__ import annotations

from core.engine.lm.cache import ScoreCache
from core.engine.lm.load import check_loadable, describe, load_model, load_prompts, open_scores
from core.engine.lm.model import Generation, LanguageModel, TokenProbability
from core.engine.lm.packed import Extensions, Pairs, Prefix, Reads
from core.engine.lm.prompts import Prompts
from core.engine.lm.scoring import Request, Score
from core.engine.lm.slots import Placed, insert

__all__ = [
    "Extensions",
    "Generation",
    "LanguageModel",
    "Pairs",
    "Placed",
    "Prefix",
    "Prompts",
    "Reads",
    "Request",
    "Score",
    "ScoreCache",
    "TokenProbability",
    "check_loadable",
    "describe",
    "insert",
    "load_model",
    "load_prompts",
    "open_scores",
]
