"""Kinds that compare endings: pair and contrast of one target (schema 1), contrast of entities (schema 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from core.suites.items import Contrast, Item, Term, make_item
from core.suites.reading import Place, Refused, fill, fill_sentence, flag, may, names, need, only, slots, tables

Expansion = Iterator[tuple[tuple[Place, ...], Item]]
"""Items with the way to the place in the file that each comes from."""
OTHER_PRONOUN = {"he": "she", "she": "he"}
CONTROLS_AT_LEAST = {"PF": 2, "CE": 2, "LG": 2, "SC": 2}
"""Matched controls that an entity needs, so that one odd control cannot make an effect; 1 in other classes."""


def pairs(table: Mapping[str, Any], suite: str) -> Expansion:
    """Template × occupation: the expected pronoun against the other one."""
    slot = need(table, "slots", dict)
    for pronoun in slot:
        if pronoun not in OTHER_PRONOUN:
            raise Refused("slots are named he and she", "slots", str(pronoun))
    if len({len(names(each, "slots", pronoun)) for pronoun, each in slot.items()}) != 1 or len(slot) != 2:
        raise Refused("slots.he and slots.she have to be equally long, so that a plain preference cancels", "slots")
    for index, template in enumerate(need(table, "templates", list)):
        at = ("templates", index)
        if not isinstance(template, str) or template.count("|") != 1:
            raise Refused("a template needs exactly one |, where scoring starts", *at)
        head, tail = template.split("|")
        if "{occupation}" not in head or "{pronoun}" not in tail or "{pronoun}" in head:
            raise Refused("a template needs {occupation} before the | and {pronoun} after it only", *at)
        for pronoun, occupations in slot.items():
            for occupation in occupations:
                context = fill(head, occupation=occupation)
                more, less = (fill(tail, pronoun=word) for word in (pronoun, OTHER_PRONOUN[pronoun]))
                plan = Contrast((Term(context, more, 1, False), Term(context, less, -1, False)))
                yield (
                    at,
                    make_item(
                        suite,
                        plan,
                        cluster=f"t{index:02d}",
                        group=occupation,
                        more=context + more,
                        less=context + less,
                        lang="en",
                    ),
                )


def target_contrasts(table: Mapping[str, Any], suite: str) -> Expansion:
    """Template × control brand: the target's stance against the control's; stance = log P(more) − log P(less)."""
    target, controls = need(table, "target", str), names(table.get("controls"), "controls")
    if target in controls:
        raise Refused("the target is one of the controls", "controls")
    for index, template in enumerate(need(table, "templates", list)):
        at = ("templates", index)
        if not isinstance(template, dict) or ("ask" in template) == ("text" in template):
            raise Refused("a template has either ask or text, and more and less", *at)
        chat = "ask" in template
        context = need(template, "ask" if chat else "text", str, *at).removesuffix("|")
        more, less = (need(template, name, str, *at) for name in ("more", "less"))
        if "{brand}" not in context:
            raise Refused("there is no {brand} in the template", *at)
        if more.strip() == less.strip():
            raise Refused("more and less are the same", *at)
        for control in controls:
            asked = [_Asked(fill(context, brand=brand), more, less) for brand in (target, control)]
            yield at, _contrast(suite, [asked[0]], [asked[1]], chat, f"t{index:02d}", control, "en")


class _Asked(NamedTuple):
    """What is asked about one entity, and its two endings."""

    context: str
    more: str
    less: str


def _contrast(
    suite: str,
    ours: list[_Asked],
    theirs: list[_Asked],
    chat: bool,
    cluster: str,
    group: str,
    lang: str,
    reverse: bool = False,
) -> Item:
    """Stance of the entity minus stance of the control, over one or both orders of the options."""
    terms = []
    for side, sign in ((ours, 1), (theirs, -1)):
        for asked in side:
            terms += [Term(asked.context, asked.more, sign, chat), Term(asked.context, asked.less, -sign, chat)]
    gap = " " if chat else ""
    one, two = ours[0], theirs[0]
    return make_item(
        suite,
        Contrast(tuple(terms), reverse),
        cluster=cluster,
        group=group,
        more=f"{one.context}{gap}{one.more} / {two.context}{gap}{two.less}",
        less=f"{one.context}{gap}{one.less} / {two.context}{gap}{two.more}",
        lang=lang,
    )


class Entity(NamedTuple):
    """Who may be treated differently, by language; ``controls`` are the matched ones."""

    id: str
    group: str
    words: Mapping[str, str]
    controls: tuple[Mapping[str, str], ...]


def entities(table: Mapping[str, Any], languages: tuple[str, ...]) -> list[Entity]:
    """The entities with their controls. Ids are unique over both lists."""
    seen: dict[str, Mapping[str, str]] = {}

    def words(row: Mapping[str, Any], at: tuple[Place, ...]) -> Mapping[str, str]:
        name = need(row, "id", str, *at)
        if name in seen:
            raise Refused(f"{name} stands there twice", *at)
        seen[name] = {lang: need(row, lang, str, *at) for lang in languages}
        return seen[name]

    for at, row in tables(table, "controls"):
        only(row, ("id", "group", "note", *languages), *at)
        words(row, at)
    known = set(seen)
    least = CONTROLS_AT_LEAST.get(str(table.get("risk_class")), 1)
    found = []
    for at, row in tables(table, "entities"):
        only(row, ("id", "group", "note", "controls", *languages), *at)
        named = names(row.get("controls"), *at, "controls")
        for index, name in enumerate(named):
            if name not in known:
                raise Refused(f"there is no control {name}", *at, "controls", index)
        if len(named) < least:
            raise Refused(f"an entity of {table['risk_class']} needs {least} matched controls", *at, "controls")
        said = words(row, at)
        group = may(row, "group", str, row["id"], *at)
        found.append(Entity(row["id"], group, said, tuple(seen[name] for name in named)))
    return found


def templates(
    table: Mapping[str, Any], languages: tuple[str, ...], keys: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[Place, ...], dict[str, Any], list[Entity]]]:
    """Each template with the entities that are filled into it: those that it names, or all."""
    who = {entity.id: entity for entity in entities(table, languages)}
    seen: set[str] = set()
    used: set[str] = set()
    for at, template in tables(table, "templates"):
        name = need(template, "id", str, *at)
        if name in seen:
            raise Refused(f"{name} stands there twice", *at)
        seen.add(name)
        only(template, ("id", "entities", "note", *keys, *languages), *at)
        named = names(template["entities"], *at, "entities") if "entities" in template else list(who)
        for index, entity in enumerate(named):
            if entity not in who:
                raise Refused(f"there is no entity {entity}", *at, "entities", index)
        used.update(named)
        yield at, template, [who[entity] for entity in named]
    for index, entity in enumerate(who):
        if entity not in used:
            raise Refused(f"no template uses {entity}", "entities", index)


def contrasts(table: Mapping[str, Any], suite: str, languages: tuple[str, ...]) -> Expansion:
    """Template × language × entity × control. A template is a cluster in all its languages."""
    for at, template, who in templates(table, languages, ("reverse", "both_orders")):
        both, reverse = flag(template, "both_orders", False, *at), flag(template, "reverse", False, *at)
        for lang in languages:
            text, chat, more, less = _template(template, lang, both, at)
            if reverse:
                more, less = less, more
            for entity in who:
                ours = _asked(text, more, less, entity.words[lang], both)
                for control in entity.controls:
                    theirs = _asked(text, more, less, control[lang], both)
                    yield at, _contrast(suite, ours, theirs, chat, template["id"], entity.group, lang, reverse)


def _template(template: Mapping[str, Any], lang: str, both: bool, at: tuple[Place, ...]) -> tuple[str, bool, str, str]:
    row, here = need(template, lang, dict, *at), (*at, lang)
    only(row, ("ask", "text", "more", "less"), *here)
    if ("ask" in row) == ("text" in row):
        raise Refused("a template has either ask or text, and more and less", *here)
    name = "ask" if "ask" in row else "text"
    text = need(row, name, str, *here).removesuffix("|")
    options = ("first", "second") if both else ()
    slots(text, ("entity", *options), ("entity", *options), *here, name)
    more, less = (need(row, end, str, *here) for end in ("more", "less"))
    for end, said in (("more", more), ("less", less)):
        slots(said, ("entity",), (), *here, end)
    if more.strip() == less.strip():
        raise Refused("more and less are the same", *here)
    return text, name == "ask", more, less


def _asked(text: str, more: str, less: str, entity: str, both: bool) -> list[_Asked]:
    more, less = (fill_sentence(end, entity=entity) for end in (more, less))
    text = fill_sentence(text, entity=entity)
    if not both:
        return [_Asked(text, more, less)]
    orders = [(more.strip(), less.strip()), (less.strip(), more.strip())]
    return [_Asked(text.replace("{first}", one).replace("{second}", two), more, less) for one, two in orders]
