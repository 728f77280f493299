"""The process in which a foreign chat template is read and rendered: standard library and jinja2 only.

Run as a script by ``core.catalog.template`` with a request on stdin; one JSON answer goes to stdout. It bounds its own
memory and time where the system allows it; the parent watches both from outside as well.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

NONCE = "foreshotnonce7f3a"
FILL = "quiet harbour"
MAX_LITERALS = 400
MAX_PAIRS = 200
MOST_TOGETHER = 4
"""Strings that a template may ask for all at once."""
_SWITCHES = ("/think", "/no_think", "/nothink")
_MARKS = re.compile(r"<[|/▁｜]*[\w▁]+[|/▁｜]*>|\[/?[A-Z_]+\]")
_WORD = re.compile(r"[^\W\d_]+")
_ROLES = frozenset(("user", "assistant", "system", "tool", "model", "think"))
_SINKS = ("__class__", "__globals__", "__subclasses__", "__import__", "__builtins__", "__mro__", "__init__", "_module")
_TOOL = {"type": "function", "function": {"name": "clock", "description": "time", "parameters": {"type": "object"}}}
_CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "clock", "arguments": {}}}


class GenerationBlock(Extension):
    """``{% generation %}``: transformers' mark around what the assistant writes; it changes no text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


# text that notes what it is compared with


class Probe(str):
    """A content that notes every string a template holds it against, also one spelled only at run time."""

    __slots__ = ()
    seen: dict[str, None] = {}  # noqa: RUF012

    def __contains__(self, other: object) -> bool:
        return str.__contains__(self, _note(other))

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, _note(other))

    def __ne__(self, other: object) -> bool:
        return str.__ne__(self, _note(other))

    __hash__ = str.__hash__

    def __getitem__(self, key: Any) -> str:
        return Probe(str.__getitem__(self, key))


def _note(value: Any) -> Any:
    for text in value if isinstance(value, (tuple, list)) else (value,):
        if not isinstance(text, str) or not text.strip() or len(text) > 2000 or len(Probe.seen) >= MAX_LITERALS:
            continue
        if not text.startswith("said") and NONCE not in text:  # a template may compare the messages with each other
            Probe.seen[str(text)] = None
    return value


def _noting(name: str) -> Callable[..., Any]:
    plain = getattr(str, name)

    def method(self: str, *arguments: Any) -> Any:
        for value in arguments:
            _note(value)
        return _probes(plain(self, *arguments))

    return method


def _probes(value: Any) -> Any:
    if isinstance(value, str):
        return Probe(value)
    return type(value)(map(Probe, value)) if isinstance(value, (list, tuple)) else value


for _name in ("startswith", "endswith", "find", "rfind", "index", "count", "split", "rsplit", "partition", "rpartition",
              "replace", "lower", "upper", "casefold", "title", "strip", "lstrip", "rstrip", "splitlines"):  # fmt: skip
    setattr(Probe, _name, _noting(_name))


# what the template's own text shows


def read(template: str) -> tuple[dict[str, Any], list[str], list[int]]:
    """Sinks and uses of the date; every string (put together where it is cheap); every whole number."""
    tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols", GenerationBlock]).parse(template)
    texts = [_folded(node) for node in tree.find_all((nodes.Const, nodes.Concat, nodes.Add))]
    strings = list(dict.fromkeys(text for text in texts if text and text.strip()))
    numbers = {node.value for node in tree.find_all(nodes.Const) if type(node.value) is int}
    sinks = {node.attr for node in tree.find_all(nodes.Getattr) if node.attr in _SINKS}
    sinks |= {sink for text in strings for sink in _SINKS if sink.startswith("__") and sink in text}
    sinks |= {"|attr" for node in tree.find_all(nodes.Filter) if node.name == "attr"}
    files = any(True for _ in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)))
    return {"sinks": sorted(sinks), "files": files, "dated": _dated(tree)}, strings, sorted(numbers)


def _folded(node: nodes.Node) -> str | None:
    """A string put together from literals. Jinja's own folding would also run ``'a' * 10**10``."""
    if isinstance(node, nodes.Const):
        return node.value if isinstance(node.value, str) else None
    parts: list[nodes.Expr] = node.nodes if isinstance(node, nodes.Concat) else []
    if isinstance(node, nodes.Add):
        parts = [node.left, node.right]
    texts = [_folded(part) for part in parts]
    return "".join(text for text in texts if text) if texts and None not in texts else None


def _dated(tree: nodes.Template) -> bool:
    """Whether a decision hangs on today's date. To print the date is usual; to ask whether it is defined as well."""
    held: set[str] = set()

    def uses(node: nodes.Node) -> bool:
        if isinstance(node, nodes.Test) and node.name in ("defined", "undefined", "none"):
            return False
        if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "strftime_now":
            return True
        return _place(node) in held or any(uses(child) for child in node.iter_child_nodes())

    assignments = list(tree.find_all(nodes.Assign))
    for _ in range(8):
        held |= {place for node in assignments if uses(node.node) and (place := _place(node.target))}
    decisions = [node.test for node in tree.find_all(nodes.If)] + [node.test for node in tree.find_all(nodes.CondExpr)]
    return any(uses(test) for test in decisions)


def _place(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.NSRef):
        return f"{node.name}.{node.attr}"
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return f"{node.node.name}.{node.attr}"
    return None


# what it does


def conversations(text: str, parts: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Whose text the probe is, and what is rendered; ``parts``: contents are lists, as models that see images want."""

    def said(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
        return [{"role": role, "content": _content(content, parts)} for role, content in pairs]

    yield "user", {"messages": said(("user", text))}
    yield "user", {"messages": said(("system", "saids."), ("user", text))}
    yield "user", {"messages": said(("user", "saidq."), ("assistant", "saida."), ("user", text))}
    yield "user", {"messages": said(("user", text), ("assistant", "saida."), ("user", "saidq."))}
    yield "system", {"messages": said(("system", text), ("user", "saidq."))}
    yield "assistant", {"messages": said(("user", "saidq."), ("assistant", text), ("user", "saidr."))}
    yield "user", {"messages": said(("user", text)), "tools": [_TOOL]}
    yield "user", {"messages": said(("user", text)), "add_generation_prompt": False, "enable_thinking": False}
    called = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
    answer = {"role": "tool", "content": _content(text, parts), "tool_call_id": "abcdefghi", "name": "clock"}
    yield "tool", {"messages": [*said(("user", "saidq.")), called, answer], "tools": [_TOOL]}


def _content(text: str, parts: bool) -> Any:
    return [{"type": "text", "text": text}] if parts else text


def contents(literal: str) -> list[str]:
    made = [literal, f"{FILL} {literal}", f"{literal} {FILL}", f"{literal}{FILL}{literal}"]
    return made + ([literal * 50, f"{literal} " * 50] if len(literal) <= 8 else [])


def of_size(number: int) -> list[str]:
    if not 0 < number <= 5000:
        return []
    return [text for size in (number - 1, number, number + 1) for text in ("v" * size, " ".join(["v"] * size)) if text]


class Trial:
    """One template under trial."""

    def __init__(self, template: str, seconds: float) -> None:
        self.environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationBlock]
        )
        self.environment.globals.update(raise_exception=_refuse, strftime_now=_strftime)
        self.environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        self.compiled = self.environment.from_string(template)
        self.end = time.monotonic() + seconds
        self.kinds: dict[str, dict[str, Any]] = {}
        self.parts = False
        self._read_frames()
        if not self.usual["user"]:
            self.parts = True
            self._read_frames()

    def _read_frames(self) -> None:
        self.frames = [self.render(request) for _, request in conversations(Probe(NONCE), self.parts)]
        self.usual = {role: False for role, _ in conversations("")}
        for (role, _), frame in zip(conversations(""), self.frames, strict=True):
            self.usual[role] |= frame is not None and NONCE in frame

    def render(self, request: dict[str, Any]) -> str | None:
        base = {"add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>", "tools": None}
        try:
            return str(self.compiled.render(**{**base, **request}))
        except (MemoryError, SecurityError):
            raise
        except Exception:  # a template may fail in any way; that it does is compared like a text
            return None

    def put(self, literal: str, texts: Iterable[str]) -> None:
        """Where the frame around a content is another than around the nonce: the first of each kind is kept.

        Every text is tried in every conversation, whatever was found before: harmless deviations must not hide one
        that matters.
        """
        for text in texts:
            if time.monotonic() > self.end:
                return
            for (role, request), frame in zip(conversations(Probe(text), self.parts), self.frames, strict=True):
                if frame is None:
                    continue
                got = self.render(request)
                if got is None or not _same(frame, text, got):
                    kind = _kind(role, literal, frame.replace(NONCE, text), got)
                    self.kinds.setdefault(kind, {"kind": kind, "role": role, "literal": literal})

    def turns(self, numbers: list[int]) -> dict[str, Any] | None:
        """What stands around the last question, in conversations of many lengths: it has to be the same."""
        near = {number + step for number in numbers if 0 < number <= 64 for step in (-1, 0, 1, 2)}
        tails: dict[int, str] = {}
        for length in sorted({*range(3, 26, 2), *(number | 1 for number in near if number > 2)}):
            words = [*(f"said{i:03}." for i in range(length - 2)), "saidprev.", "saidlast."]
            roles = itertools.cycle(("user", "assistant"))
            said = [
                {"role": role, "content": _content(word, self.parts)} for word, role in zip(words, roles, strict=False)
            ]
            text = self.render({"messages": said})
            if text is None or text.count("saidprev.") != 1:
                return None
            tails[length] = text[text.index("saidprev.") :] + text[: text.find("said0")]
        common = max(set(tails.values()), key=list(tails.values()).count)
        odd = [length for length, tail in tails.items() if tail != common]
        return {"length": odd[0], "words": _words_differ(common, tails[odd[0]])} if odd else None


def _kind(role: str, literal: str, expected: str, got: str | None) -> str:
    """The id of the finding that a deviation is."""
    if literal.strip() in _SWITCHES:
        return "template_switch"
    if got is None:
        return "template_refuses"
    if not _words_differ(expected, got):
        return "template_marks"
    if role == "assistant" and not _words(got) - _words(expected):
        return "template_cuts"
    return "template_system" if role == "system" else "template_instruction"


def _words_differ(expected: str, got: str) -> bool:
    """Whether the texts hold other words, marks such as ``<think>`` and role names left aside."""
    one, two = _words(expected), _words(got)
    return bool((one - two) + (two - one))


def _words(text: str) -> Counter[str]:
    return Counter(word for word in _WORD.findall(_MARKS.sub(" ", text)) if word not in _ROLES)


def _same(frame: str, text: str, got: str) -> bool:
    parts = frame.split(NONCE)
    forms = [text, text.strip(), text.lstrip(), text.rstrip()]
    forms += [json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]]
    if any(got == form.join(parts) for form in forms):
        return True
    if len(parts) != 2 or len(got) < len(parts[0]) + len(parts[1]):
        return False
    before, after = parts
    middle = got[len(before) : len(got) - len(after)] if got.startswith(before) and got.endswith(after) else None
    if middle is None:
        return False
    # stripping a think block is usual and harmless: less is written, nothing else
    return middle.strip() == text.strip() or ("think>" in text and middle.strip() in text)


def _refuse(text: str) -> None:
    raise ValueError(text)


def _strftime(form: str) -> str:
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).strftime(form)


def examine(request: dict[str, Any]) -> dict[str, Any]:
    template = request["template"]
    try:
        shown, strings, numbers = read(template)
    except RecursionError:
        return {"broken": "it is absurdly nested"}
    except (jinja2.TemplateError, ValueError) as error:
        return {"broken": str(error)[:200]}
    if shown["sinks"] or shown["files"]:
        return shown
    try:
        trial = Trial(template, request["seconds"] * 0.6)
        if all(frame is None for frame in trial.frames):
            return {**shown, "error": "it renders no plain conversation"}
        noted = list(Probe.seen)
        literals = list(dict.fromkeys([*noted, *strings]))
        led: list[tuple[str, ...]] = []  # strings that were asked for only where another one was there
        for literal in literals[:MAX_LITERALS]:
            before = set(Probe.seen)
            trial.put(literal, contents(literal))
            led += [(literal, text) for text in Probe.seen if text not in before and text != literal]
        for literal in [text for text in Probe.seen if text not in literals]:  # spelled only on the way to a branch
            trial.put(literal, contents(literal))
        for literal in request["probes"]:
            trial.put(literal, contents(literal))
        for number in numbers:
            trial.put(f"{number}", of_size(number))
        others = itertools.islice(itertools.permutations(Probe.seen, 2), MAX_PAIRS)
        waiting: list[tuple[str, ...]] = [*led, *others]
        for several in waiting:  # grows: a third string may be asked for only where two are there
            before = set(Probe.seen)
            together = [FILL.join(several), f"{FILL} {''.join(several)}{several[0]} {FILL}"]
            trial.put(" … ".join(several), together)
            fresh = [text for text in Probe.seen if text not in before]
            waiting += [(*several, text) for text in fresh if len(several) < MOST_TOGETHER]
        turns = trial.turns(numbers)
    except SecurityError as error:
        return {**shown, "sinks": [str(error)[:120].rstrip(".")]}
    cut = len(strings) > MAX_LITERALS or time.monotonic() > trial.end
    return {**shown, "deviations": [*trial.kinds.values()], "strings": len(strings), "cut": cut, "wrote": trial.usual,
            "turns": turns}  # fmt: skip


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
        resource.setrlimit(resource.RLIMIT_CPU, (request["seconds"], request["seconds"]))
    except (ImportError, ValueError, OSError):
        pass  # the parent watches
    try:
        answer = examine(request)
    except (MemoryError, RecursionError):
        sys.exit(9)
    except Exception as error:
        answer = {"error": str(error)[:200]}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
