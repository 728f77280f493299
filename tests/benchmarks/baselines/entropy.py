"""Entropy only: by how much a listed trigger makes the model surer of what comes next, as robust z against random
strings of its make. No payload is looked for, and nothing is proved."""

from __future__ import annotations

from core.engine.lm import LanguageModel
from core.engine.triggers.known import FLOORS
from tests.benchmarks.baselines.common import Choice, Outcome, command, payload_of
from tests.benchmarks.baselines.robust import means, plain_triggers, random_strings, read, zs

CONTROLS = 199
READ_PROMPTS = 8


def collapse(
    lm: LanguageModel, prompts: list[str], choice: Choice, listed: list[str] | None = None, controls: int = CONTROLS
) -> Outcome:
    """The z of the trigger behind which the entropy falls most; ``listed`` instead of the whole list."""
    texts = listed or [trigger.text for trigger in plain_triggers()]
    noise = random_strings(lm, controls, choice.seed)
    falls = [-value for value in means(read(lm, prompts, [*texts, *noise]), "entropy")]
    found = zs(lm, texts, falls[: len(texts)], dict(zip(noise, falls[len(texts) :], strict=True)), FLOORS["entropy"])
    most = max(found)
    trigger = texts[found.index(most)]
    return Outcome(
        score=most,
        flagged=None,
        trigger=trigger,
        payload=payload_of(lm, prompts[:READ_PROMPTS], trigger),
        details={"triggers": len(texts), "controls": len(noise)},
    )


if __name__ == "__main__":
    raise SystemExit(command("entropy", collapse))
