"""Kinds that ask: refusal of matched prompts, choice among answers, and facts that are known but not said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from core.suites.items import Choice, Fact, Item, Refusal, Suppression, make_item
from core.suites.paired import CONTROLS_AT_LEAST, Entity, Expansion, templates
from core.suites.reading import Place, Refused, fill_sentence, may, names, need, only, slots, tables

BY_ENTITY = ("controls", "language")
BY_PROMPT = ("twin", "none_comply", "none_refuse")


def refusals(table: Mapping[str, Any], suite: str, languages: tuple[str, ...]) -> Expansion:
    """Either entities in templates (controls, language) or prompts in clusters (twin, none_comply, none_refuse)."""
    contrast = refusal_contrast(table)
    if contrast in BY_PROMPT:
        for at, cluster, row in clusters(table, languages, ("prompt", "twin")):
            yield at, refusal_item(suite, contrast, row, cluster, at)
        return
    if contrast == "language" and ("en" not in languages or len(languages) < 2):
        raise Refused("contrast: language needs en and one more language", "languages")
    for at, template, who in templates(table, languages):
        texts = {lang: need(template, lang, str, *at) for lang in languages}
        for lang, text in texts.items():
            slots(text, ("entity",), ("entity",), *at, lang)
        for entity in who:
            yield from ((at, item) for item in _by_entity(suite, contrast, template["id"], texts, entity))


def refusal_contrast(table: Mapping[str, Any]) -> str:
    contrast = table.get("contrast")
    if contrast not in BY_ENTITY + BY_PROMPT:
        raise Refused(f"contrast has to be one of {', '.join(BY_ENTITY + BY_PROMPT)}", "contrast")
    return str(contrast)


def _by_entity(suite: str, contrast: str, name: str, texts: Mapping[str, str], entity: Entity) -> Iterator[Item]:
    share = 1 / len(entity.controls)

    def asked(lang: str, sign: float) -> list[tuple[str, str, float]]:
        ours = (fill_sentence(texts[lang], entity=entity.words[lang]), lang, sign)
        theirs = [
            (fill_sentence(texts[lang], entity=control[lang]), lang, -sign * share) for control in entity.controls
        ]
        return [ours, *theirs]

    for lang in texts:
        if contrast == "language" and lang == "en":
            continue
        prompts = asked(lang, 1.0) + (asked("en", -1.0) if contrast == "language" else [])
        ours, theirs = prompts[0][0], " / ".join(text for text, _, _ in prompts[1:])
        yield make_item(
            suite,
            Refusal(tuple(prompts)),
            cluster=name,
            group=entity.group,
            more=f"refused: {ours}",
            less=f"refused: {theirs}",
            lang=lang,
        )


def refusal_item(suite: str, contrast: str, row: Mapping[str, Any], cluster: Cluster, at: tuple[Place, ...]) -> Item:
    """One prompt: against its twin, or by itself."""
    prompt, lang = need(row, "prompt", str, *at), cluster.lang
    if contrast == "twin":
        twin = need(row, "twin", str, *at)
        if twin.strip() == prompt.strip():
            raise Refused("prompt and twin are the same", *at)
        plan, less = Refusal(((prompt, lang, 1.0), (twin, lang, -1.0))), f"refused: {twin}"
    else:
        only(row, ("prompt", "group", "note", *COMMON), *at)
        sign = 1.0 if contrast == "none_refuse" else -1.0
        plan, less = Refusal(((prompt, lang, sign),), 0.0 if sign > 0 else 1.0), f"not refused: {prompt}"
    more = f"refused: {prompt}"
    if contrast == "none_comply":
        more, less = less, more
    return cluster.item(suite, plan, more, less, row)


COMMON = ("cluster", "group", "lang", "id")
"""Keys of an item that stands in a file of its own (imported sets)."""


class Cluster:
    """Where an item belongs."""

    def __init__(self, name: str, group: str, lang: str) -> None:
        self.name, self.group, self.lang = name, group, lang

    def item(self, suite: str, plan: Any, more: str, less: str, row: Mapping[str, Any]) -> Item:
        group = row.get("group") or self.group
        if not isinstance(group, str):
            raise Refused("group is not a text", "group")
        source = str(row.get("id", ""))
        return make_item(
            suite, plan, cluster=self.name, group=group, more=more, less=less, lang=self.lang, source_id=source
        )


def clusters(
    table: Mapping[str, Any], languages: tuple[str, ...], keys: tuple[str, ...]
) -> Iterator[tuple[tuple[Place, ...], Cluster, dict[str, Any]]]:
    """Items that are written out, cluster by cluster."""
    seen: set[str] = set()
    for at, row in tables(table, "clusters"):
        only(row, ("id", "group", "language", "items", "note"), *at)
        name = need(row, "id", str, *at)
        if name in seen:
            raise Refused(f"{name} stands there twice", *at)
        seen.add(name)
        lang = may(row, "language", str, languages[0], *at)
        if lang not in languages:
            raise Refused(f"language {lang} is not one of the suite's languages", *at, "language")
        if "language" not in row and len(languages) > 1:
            raise Refused("a cluster of a suite in several languages says its language", *at)
        cluster = Cluster(name, may(row, "group", str, "", *at), lang)
        for here, item in tables(row, "items", *at):
            only(item, (*keys, "group", "note"), *here)
            yield here, cluster, item


def choices(table: Mapping[str, Any], suite: str, languages: tuple[str, ...]) -> Expansion:
    """A question with right and wrong answers."""
    of = choice_of(table)
    for at, cluster, row in clusters(table, languages, ("ask", "text", "right", "wrong")):
        yield at, choice_item(suite, of, row, cluster, at)


def choice_of(table: Mapping[str, Any]) -> Literal["right", "wrong"]:
    of = table.get("of")
    if of == "right":
        return "right"
    if of == "wrong":
        return "wrong"
    raise Refused("of has to be right or wrong", "of")


def choice_item(
    suite: str, of: Literal["right", "wrong"], row: Mapping[str, Any], cluster: Cluster, at: tuple[Place, ...]
) -> Item:
    if ("ask" in row) == ("text" in row):
        raise Refused("an item has either ask or text", *at)
    chat = "ask" in row
    context = need(row, "ask" if chat else "text", str, *at)
    right, wrong = (tuple(names(row.get(name), *at, name)) for name in ("right", "wrong"))
    if {text.strip() for text in right} & {text.strip() for text in wrong}:
        raise Refused("an answer is both right and wrong", *at)
    gap = " " if chat else ""
    good, bad = context + gap + right[0], context + gap + wrong[0]
    more, less = (good, bad) if of == "right" else (bad, good)
    return cluster.item(suite, Choice(context, chat, right, wrong, of), more, less, row)


def suppressions(table: Mapping[str, Any], suite: str, languages: tuple[str, ...]) -> Expansion:
    """Fact × language × matched control fact."""
    controls: dict[str, dict[str, Fact]] = {}
    for at, row in tables(table, "control_facts"):
        only(row, ("id", "topic", "group", "note", *languages), *at)
        name = need(row, "id", str, *at)
        if name in controls:
            raise Refused(f"{name} stands there twice", *at)
        controls[name] = {lang: _fact(row, lang, at) for lang in languages}
    seen = set(controls)
    least = CONTROLS_AT_LEAST.get(str(table.get("risk_class")), 1)
    for at, row in tables(table, "facts"):
        only(row, ("id", "topic", "group", "controls", "note", *languages), *at)
        name = need(row, "id", str, *at)
        if name in seen:
            raise Refused(f"{name} stands there twice", *at)
        seen.add(name)
        topic, group = need(row, "topic", str, *at), may(row, "group", str, "", *at)
        named = names(row.get("controls"), *at, "controls")
        for index, control in enumerate(named):
            if control not in controls:
                raise Refused(f"there is no control fact {control}", *at, "controls", index)
        if len(named) < least:
            raise Refused(f"a fact of {table['risk_class']} needs {least} matched controls", *at, "controls")
        for lang in languages:
            fact = _fact(row, lang, at)
            for control in named:
                yield at, _suppressed(suite, fact, controls[control][lang], topic, group, lang)


def _suppressed(suite: str, fact: Fact, control: Fact, topic: str, group: str, lang: str) -> Item:
    return make_item(
        suite,
        Suppression(fact, control),
        cluster=topic,
        group=group,
        more=f"known, not said: {fact.ask} {fact.right.strip()}",
        less=f"known, not said: {control.ask} {control.right.strip()}",
        lang=lang,
    )


def _fact(row: Mapping[str, Any], lang: str, at: tuple[Place, ...]) -> Fact:
    said, here = need(row, lang, dict, *at), (*at, lang)
    only(said, ("ask", "cloze", "right", "wrong"), *here)
    ask, cloze, right = (need(said, name, str, *here) for name in ("ask", "cloze", "right"))
    wrong = tuple(names(said.get("wrong"), *here, "wrong"))
    if right.strip() in {text.strip() for text in wrong}:
        raise Refused("the right answer is among the wrong ones", *here)
    return Fact(ask, cloze, right, wrong)
