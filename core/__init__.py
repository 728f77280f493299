"""Everything in Foreshot that is true without a screen. Never imports Qt."""

__version__ = "0.1.0"
