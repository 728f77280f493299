"""The three ways a job can fail, each with one sentence for the reader and a next step.

A fault of the world (bad input, no memory) is shown as it is; a fault of the program asks for a report.
"""

from __future__ import annotations

from typing import ClassVar


class ForeshotError(Exception):
    """Base of every error that a user may read.

    Attributes:
        code: stable identifier, e.g. ``shard_missing``.
        message: one sentence that says what happened.
        hint: one sentence that says what to do next.
    """

    exit_code: ClassVar[int] = 70
    kind: ClassVar[str] = "engine_bug"

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.code = code
        self.message = message
        self.hint = hint


class InputError(ForeshotError):
    """The user's input cannot be used (exit code 2)."""

    exit_code = 2
    kind = "user"


class EnvironmentFault(ForeshotError):
    """Memory, disk or device does not allow it (exit code 3)."""

    exit_code = 3
    kind = "environment"


class BugError(ForeshotError):
    """A fault of the program (exit code 70)."""


class Cancelled(Exception):
    """The user asked the job to stop; what is finished stays."""
