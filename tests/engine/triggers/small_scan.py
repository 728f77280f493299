"""A scan with a real (tiny) model that goes through every stage in seconds; also as a process of several.

    python -m tests.engine.triggers.small_scan CHECKS scan MODEL …

is ``python -m core scan MODEL …`` cut down. After ``CHECKS`` batches (0: never) the first process is cancelled; any
other one ends without a word.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from core.engine import ranks
from core.engine.lm import packed
from core.engine.triggers import answers, cascade, inversion, known, reconstruct, scan
from core.engine.triggers.answers import Answers
from core.engine.triggers.library import known_triggers
from core.engine.triggers.proof import Claim
from core.runs import emitters


def shrink(patch: pytest.MonkeyPatch) -> None:
    """A few triggers, prompts and controls; packs so small that there are many; payloads and claims need no merit."""
    prove = scan.prove

    def prove_few(answers: Answers, claims: list[Claim], prompts: list[str], **more: Any) -> list[dict[str, Any]]:
        """On few prompts; one claim more, whose payload is what the model says anyway: it is tried against controls."""
        usual = answers.get([answers.lm.render(prompts[0])], 16, "proof", "Usual answer")[0]
        return prove(answers, [*claims, Claim("cf", "user_start", usual, "given", "BD-R")], prompts[:20], **more)

    patch.setattr(scan, "prove", prove_few)
    patch.setattr(scan, "known_triggers", lambda extra=(): known_triggers(extra)[::80])
    patch.setattr(scan, "PROOF_CONTROLS", 9)
    patch.setitem(scan.PRESETS, "quick", scan.Preset(8, controls=5, keep=2, proofs=2, control_prompts=2, targets=2))
    patch.setattr(known, "SECOND_CONTROLS", 5)
    patch.setattr(known, "SECOND", known.What(4, known.OPENINGS[:2]))
    patch.setitem(inversion.WIDTHS, "quick", inversion.Width(50, (8, 4), (8, 4), 30, 12, 8))
    patch.setattr(inversion, "CERTAIN", 0.0)
    patch.setattr(inversion, "MEND_FROM", 0.0)
    patch.setattr(inversion, "MENDED", 2)
    patch.setattr(inversion, "MEND_TOKENS", 12)
    patch.setattr(cascade, "WORTH", 0.0)
    patch.setattr(cascade, "WORKS", 2.0)
    patch.setattr(cascade, "BRINGS", 0.0)
    few = {"screened": 12, "words": 12, "second": 6, "prompts": 2, "beam": 2, "rounds": 1, "children": 6, "pairs": 3}
    patch.setitem(
        reconstruct.EFFORTS, "quick", reconstruct.Effort(2, **few, disguised=6, dictionary=40, together=4, reads=4000)
    )
    patch.setattr(packed, "ROW_NODES", 64)
    patch.setattr(packed, "PACK_NODES", 512)
    patch.setattr(packed, "GROW_BRANCHES", 8)
    patch.setattr(answers, "CHUNK", 16)


def stop(patch: pytest.MonkeyPatch, checks: int) -> None:
    """Cancel the first process, end any other, after so many batches."""
    left = iter(range(checks))

    class Stopped(emitters.TerminalEmitter):
        def check(self) -> None:
            if next(left, None) is None:
                self.cancel()
            super().check()

    class Ended(ranks.Silent):
        def check(self) -> None:
            if next(left, None) is None:
                os._exit(9)

    patch.setattr(emitters, "TerminalEmitter", Stopped)
    patch.setattr(scan, "Silent", Ended)


if __name__ == "__main__":
    from core.__main__ import end

    forever = pytest.MonkeyPatch()
    shrink(forever)
    if int(sys.argv[1]):
        stop(forever, int(sys.argv[1]))
    end(sys.argv[2:])
