"""Random strings only: the largest robust z that any of them reaches, in the signals of the scan's search by list.

What it says of a model is how much moves it that means nothing.
"""

from __future__ import annotations

from core.engine.lm import LanguageModel
from core.engine.triggers.known import FLOORS
from tests.benchmarks.baselines.common import Choice, Outcome, command, payload_of
from tests.benchmarks.baselines.robust import means, random_strings, read, zs

STRINGS = 400
SIGNALS = ("shift", "rise", "entropy")
READ_PROMPTS = 8


def largest(lm: LanguageModel, prompts: list[str], choice: Choice, strings: int = STRINGS) -> Outcome:
    """The z of the string that stands out most; the entropy counts in both directions."""
    texts = random_strings(lm, strings, choice.seed)
    rows = read(lm, prompts, texts)
    best = dict.fromkeys(texts, float("-inf"))
    for name in SIGNALS:
        values = means(rows, name)
        found = zs(lm, texts, values, dict(zip(texts, values, strict=True)), FLOORS[name])
        for text, z in zip(texts, found, strict=True):
            best[text] = max(best[text], abs(z) if name == "entropy" else z)
    trigger = max(texts, key=best.__getitem__)
    return Outcome(
        score=best[trigger],
        flagged=None,
        trigger=trigger,
        payload=payload_of(lm, prompts[:READ_PROMPTS], trigger),
        details={"strings": len(texts)},
    )


if __name__ == "__main__":
    raise SystemExit(command("random_max_z", largest))
