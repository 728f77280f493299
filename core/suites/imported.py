"""Kinds whose items lie in a JSONL file beside the header: imported sets, one JSON object a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from core.suites.asked import COMMON, Cluster, choice_item, choice_of, refusal_contrast, refusal_item
from core.suites.items import BBQ, Decision, Item, Pair, Prompt, Stereo, Winogender
from core.suites.paired import Expansion
from core.suites.reading import Place, Refused, flag, may, names, need, only

MAX_BYTES = 64 << 20
Row = Mapping[str, Any]
Maker = Callable[[str, Row, Cluster, tuple[Place, ...], Row], Item]
"""(suite id, item, cluster, place, header) → item."""


class RefusedLine(Refused):
    """A line of the items' file is refused."""

    def __init__(self, why: str, number: int) -> None:
        super().__init__(why, "items")
        self.number = number


def imported(table: Row, suite: str, languages: tuple[str, ...], folder: Path) -> Expansion:
    """Items of the file that the header names. Raises RefusedLine, or Refused for the header."""
    make = MAKERS[str(table["kind"])]
    for number, row in _lines(table, folder):
        try:
            lang = may(row, "lang", str, languages[0])
            if lang not in languages:
                raise Refused(f"language {lang} is not one of the suite's languages")
            cluster = Cluster(need(row, "cluster", str), str(row.get("group") or ""), lang)
            yield ("items",), make(suite, row, cluster, (), table)
        except RefusedLine:
            raise
        except Refused as refusal:
            raise RefusedLine(str(refusal), number) from None


def _lines(table: Row, folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    name, stated = need(table, "items", str), need(table, "items_sha256", str)
    if Path(name).name != name or name in (".", ".."):
        raise Refused("items is the name of a file beside this one, without a folder", "items")
    try:
        if (folder / name).stat().st_size > MAX_BYTES:
            raise Refused("the items' file has at most 64 MiB", "items")
        data = (folder / name).read_bytes()
    except OSError as error:
        raise Refused(f"{name} cannot be read ({error.strerror})", "items") from None
    if hashlib.sha256(data).hexdigest() != stated.lower():
        raise Refused(f"{name} is not the file that items_sha256 names; it was changed", "items_sha256")
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise RefusedLine("it is not JSON", number) from None
        if not isinstance(row, dict):
            raise RefusedLine("an item has to be an object", number)
        yield number, row


def _option(table: Row, name: str, allowed: tuple[str, ...], default: str) -> Any:
    options = may(table, "options", dict, {})
    value = options.get(name, default)
    if value not in allowed:
        raise Refused(f"options.{name} has to be one of {', '.join(allowed)}")
    return value


def _pair(suite: str, row: Row, cluster: Cluster, at: tuple[Place, ...], table: Row) -> Item:
    only(row, ("context", "more", "less", "direction", *COMMON), *at)
    kind = str(table["kind"])
    score = _option(table, "score", ("shared", "full", "mean"), "shared" if kind == "crows_pairs" else "full")
    context, more, less = may(row, "context", str, "", *at), need(row, "more", str, *at), need(row, "less", str, *at)
    if more == less:
        raise Refused("more and less are the same", *at)
    return cluster.item(suite, Pair(context, more, less, score, kind), context + more, context + less, row)


def _winobias(suite: str, row: Row, cluster: Cluster, at: tuple[Place, ...], table: Row) -> Item:
    only(row, ("pro", "anti", "type", *COMMON), *at)
    pro, anti = need(row, "pro", str, *at), need(row, "anti", str, *at)
    if pro == anti:
        raise Refused("pro and anti are the same", *at)
    plan = Pair("", pro, anti, "full", "winobias", f"type {row.get('type', 1)}")
    return cluster.item(suite, plan, pro, anti, row)


def _stereoset(suite: str, row: Row, cluster: Cluster, at: tuple[Place, ...], table: Row) -> Item:
    only(row, ("task", "context", "stereotype", "anti", "unrelated", "target", "bias_type", *COMMON), *at)
    task = need(row, "task", str, *at)
    if task not in ("intrasentence", "intersentence"):
        raise Refused("task has to be intrasentence or intersentence", *at)
    context = may(row, "context", str, "", *at) if row.get("context") else ""
    said = [need(row, name, str, *at) for name in ("stereotype", "anti", "unrelated", "target")]
    plan = Stereo(task, context, *said)
    gap = " " if context else ""
    return cluster.item(suite, plan, context + gap + said[0], context + gap + said[1], row)


def _bbq(suite: str, row: Row, cluster: Cluster, at: tuple[Place, ...], table: Row) -> Item:
    only(
        row,
        ("context", "question", "answers", "label", "unknown", "biased", "polarity", "condition", "category", *COMMON),
        *at,
    )
    mode = _option(table, "mode", ("three", "lm_eval"), "three")
    context, question = need(row, "context", str, *at), need(row, "question", str, *at)
    answers = names(row.get("answers"), *at, "answers")
    if len(answers) != 3:
        raise Refused("answers has to hold three texts", *at)
    label, unknown, biased = row.get("label"), row.get("unknown"), row.get("biased")
    if label not in (0, 1, 2) or unknown not in (0, 1, 2):
        raise Refused("label and unknown have to be 0, 1 or 2", *at)
    if not isinstance(biased, list) or not set(map(repr, biased)) <= {"0", "1", "2"} or unknown in biased:
        raise Refused("biased has to be a list of answers' numbers, without the unknown one", *at)
    if row.get("condition") not in ("ambig", "disambig"):
        raise Refused("condition has to be ambig or disambig", *at)
    plan = BBQ(
        context,
        question,
        (answers[0], answers[1], answers[2]),
        label,
        unknown,
        tuple(sorted(biased)),
        row["condition"] == "ambig",
        mode,
    )
    known = [index for index in range(3) if index != unknown]
    more = biased[0] if biased else known[0]
    less = next((index for index in known if index != more), known[-1])
    asked = f"{context} {question} "
    return cluster.item(suite, plan, asked + answers[more], asked + answers[less], row)


def _winogender(suite: str, row: Row, cluster: Cluster, at: tuple[Place, ...], table: Row) -> Item:
    genders = ("male", "female", "neutral")
    only(row, (*genders, "pronouns", "occupation", "participant", "answer", "pct_female", *COMMON), *at)
    pronouns = need(row, "pronouns", dict, *at)
    sentences = tuple(
        (gender, need(row, gender, str, *at), need(pronouns, gender, str, *at)) for gender in genders if gender in row
    )
    if len(sentences) < 2 or sentences[1][0] != "female":
        raise Refused("male and female are needed", *at)
    answer, share = row.get("answer"), row.get("pct_female")
    if answer not in ("occupation", "participant"):
        raise Refused("answer has to be occupation or participant", *at)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
        raise Refused("pct_female has to be a number from 0 to 100", *at)
    occupation, participant = need(row, "occupation", str, *at), need(row, "participant", str, *at)
    plan = Winogender(sentences, occupation, participant, answer, float(share))
    one, two = (sentences[1], sentences[0]) if share > 50 else (sentences[0], sentences[1])
    said = f"refers to the {occupation}"
    return cluster.item(suite, plan, f"{one[1]} “{one[2]}” {said}", f"{two[1]} “{two[2]}” {said}", row)


def _decision(suite: str, row: Row, cluster: Cluster, at: tuple[Place, ...], table: Row) -> Item:
    only(row, ("ask", "reference", "favourable", "unfavourable", "chat", *COMMON), *at)
    ask, reference = need(row, "ask", str, *at), need(row, "reference", str, *at)
    good, bad = (tuple(names(row.get(name), *at, name)) for name in ("favourable", "unfavourable"))
    nats = need(table, "effect", dict).get("unit") == "nats"
    plan = Decision(ask, reference, good, bad, flag(row, "chat", True, *at), nats)
    return cluster.item(suite, plan, f"{ask} {bad[0]}", f"{ask} {good[0]}", row)


def _prompt(suite: str, row: Row, cluster: Cluster, at: tuple[Place, ...], table: Row) -> Item:
    only(row, ("prompt", "chat", "control", "facts", *COMMON), *at)
    measure = _option(table, "measure", ("refusal_text", "length", "sentiment", "key_facts"), "refusal_text")
    facts = tuple(names(row.get("facts"), *at, "facts")) if measure == "key_facts" or "facts" in row else ()
    tokens = may(table, "options", dict, {}).get("max_new_tokens", 48)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or not 1 <= tokens <= 1024:
        raise Refused("options.max_new_tokens has to be a number from 1 to 1024", *at)
    text, control = need(row, "prompt", str, *at), flag(row, "control", False, *at)
    plan = Prompt(text, flag(row, "chat", True, *at), control, measure, tokens, facts)
    return cluster.item(suite, plan, f"{'control: ' if control else ''}{text}", "", row)


def _refusal(suite: str, row: Row, cluster: Cluster, at: tuple[Place, ...], table: Row) -> Item:
    contrast = refusal_contrast(table)
    only(row, ("prompt", "twin", *COMMON), *at)
    return refusal_item(suite, contrast, row, cluster, at)


def _choice(suite: str, row: Row, cluster: Cluster, at: tuple[Place, ...], table: Row) -> Item:
    only(row, ("ask", "text", "right", "wrong", *COMMON), *at)
    return choice_item(suite, choice_of(table), row, cluster, at)


MAKERS: dict[str, Maker] = {
    "pairs": _pair,
    "crows_pairs": _pair,
    "winobias": _winobias,
    "stereoset": _stereoset,
    "bbq": _bbq,
    "winogender": _winogender,
    "decision": _decision,
    "prompts": _prompt,
    "refusal": _refusal,
    "choice": _choice,
}
IMPORT_ONLY = frozenset(MAKERS) - {"refusal", "choice"}
