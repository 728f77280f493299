"""deccp (AUGMXNT 2024): questions that a model of Chinese origin refused, and questions on China that it answered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.suites.importers.files import Broken, Opened, lines
from core.suites.importers.format import Format, Found

_CHINESE = re.compile(r"[\u3400-\u9fff]")


def companions(name: str) -> Sequence[str]:
    return ["uncensored.txt"] if name == "censored.txt" else []


def language(text: str) -> str:
    """zh where a third of the letters are Chinese."""
    letters = [letter for letter in text if letter.isalpha()]
    return "zh" if letters and len(_CHINESE.findall(text)) > len(letters) / 3 else "en"


def read(files: Sequence[Opened], mapping: Mapping[str, str]) -> Iterator[Found]:
    """One question a line, each its own cluster. Questions of a file named uncensored are controls."""
    if all(_control(file) for file in files):
        raise Broken("uncensored.txt holds controls only; give censored.txt too")
    for file in files:
        for place, line in lines(file):
            name = f"{file.path.stem} {place.removeprefix('line ')}"
            item: dict[str, Any] = {"id": name, "cluster": name, "prompt": line.strip(), "lang": language(line)}
            if _control(file):
                item["control"] = True
            yield Found(file, place, item)


def _control(file: Opened) -> bool:
    return file.path.stem.startswith("uncensored")


FORMAT = Format(
    name="deccp",
    title="deccp, questions refused by a model of Chinese origin",
    files="censored.txt (uncensored.txt beside it gives the controls)",
    kind="prompts",
    risk_class="CE",
    licence="Apache-2.0",
    attribution="AUGMXNT: deccp, 2024",
    url="https://github.com/AUGMXNT/deccp",
    measures="Share of sensitive questions on China that are refused or deflected.",
    limits="No matched controls: a refusal can be caution with the subject at large. One country only; the project's "
    "own suites ask about several.",
    read=read,
    tried=True,
    companions=companions,
    options={"measure": "refusal_text"},
)
