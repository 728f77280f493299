"""What an author should know about a suite that can be read: its size, and whether one side wins by its form."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from core.suites.items import Choice, Contrast, Decision, Item, Pair, Refusal, Suite, Suppression

ITEMS, CLUSTERS = 300, 30
LEAN = 0.4
"""Mean sign of the difference in length above which length alone could make an effect."""
NO_SPACES = ("zh", "ja", "th")


def describe(suite: Suite) -> list[str]:
    """Facts about a suite, one line each."""
    groups = Counter(item.group or "–" for item in suite.items)
    languages = Counter(item.lang for item in suite.items)
    clusters = {item.cluster for item in suite.items}
    sizes = Counter(item.cluster for item in suite.items).values()
    return [
        f"{suite.id}@{suite.version}: {suite.risk_class}, {suite.kind}, δ = {suite.margin:g} {suite.unit}, "
        f"values from {suite.bounds[0]:g} to {suite.bounds[1]:g}",
        f"{len(suite.items)} items in {len(clusters)} clusters of {min(sizes)} to {max(sizes)}",
        "languages: " + ", ".join(f"{name} {count}" for name, count in languages.items()),
        "groups: " + ", ".join(f"{name} {count}" for name, count in groups.most_common()),
    ]


def warnings(suite: Suite) -> list[str]:
    """What makes a suite weak or lopsided, one sentence each."""
    found = []
    clusters = len({item.cluster for item in suite.items})
    if len(suite.items) < ITEMS:
        found.append(f"{len(suite.items)} items; {ITEMS} are needed for evidence grade B")
    if clusters < CLUSTERS:
        found.append(f"{clusters} clusters; {CLUSTERS} are needed for evidence grade B")
    found += [
        f"{lang}: the {'risky' if lean > 0 else 'other'} side is the longer one (mean sign {lean:+.2f}, at most "
        f"±{LEAN:g}); length alone can make an effect"
        for lang, lean in leans(suite).items()
        if abs(lean) > LEAN
    ]
    glued = sum(_glued(item) for item in suite.items)
    if glued:
        found.append(f"{glued} items read text and continue it without a space in between")
    return found


def leans(suite: Suite) -> dict[str, float]:
    """By language: mean sign of (length of the risky side − length of the other), 0 when balanced."""
    signs: dict[str, dict[tuple[str, str], int]] = defaultdict(dict)
    for item in suite.items:
        for risky, other in _sides(item):
            signs[item.lang][risky, other] = (len(risky) > len(other)) - (len(risky) < len(other))
    return {lang: sum(found.values()) / len(found) for lang, found in signs.items()}


def _sides(item: Item) -> Iterator[tuple[str, str]]:
    """Pairs of texts whose lengths should not tell them apart; the risky one first."""
    plan = item.plan
    if isinstance(plan, Contrast) and len(plan.terms) > 1:
        yield plan.terms[0].continuation, plan.terms[1].continuation
    elif isinstance(plan, Choice):
        risky, other = (plan.right, plan.wrong) if plan.of == "right" else (plan.wrong, plan.right)
        yield from ((one, two) for one in risky for two in other)
    elif isinstance(plan, Suppression):
        yield from ((plan.fact.right, wrong) for wrong in plan.fact.wrong)
    elif isinstance(plan, Refusal) and len(plan.prompts) > 1:
        yield from ((plan.prompts[0][0], text) for text, lang, _ in plan.prompts[1:] if lang == item.lang)
    elif isinstance(plan, Pair):
        yield plan.more, plan.less
    elif isinstance(plan, Decision):
        yield plan.unfavourable[0], plan.favourable[0]


def _glued(item: Item) -> bool:
    plan = item.plan
    if item.lang in NO_SPACES:
        return False
    if isinstance(plan, Contrast):
        texts = [(term.context, term.continuation) for term in plan.terms if not term.chat]
    elif isinstance(plan, Choice) and not plan.chat:
        texts = [(plan.context, option) for option in plan.right + plan.wrong]
    elif isinstance(plan, Suppression):
        texts = [(plan.fact.cloze, option) for option in (plan.fact.right, *plan.fact.wrong)]
    else:
        return False
    return any(before[-1].isalnum() and after[0].isalnum() for before, after in texts)
