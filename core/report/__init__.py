"""Scorecard → JSON, PDF and pictures of its pages."""

from __future__ import annotations

from core.report.pdf import render_pages_png, render_pdf
from core.report.scorecard import Scorecard, decode_scorecard, encode_scorecard, scorecard_schema

__all__ = ["Scorecard", "decode_scorecard", "encode_scorecard", "render_pages_png", "render_pdf", "scorecard_schema"]
