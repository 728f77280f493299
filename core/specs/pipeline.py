"""What the user says of a distillation that was made elsewhere. Nothing of it is checked; not known is an answer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml

from core.errors import InputError
from core.types import RESOURCES

UNKNOWN = "unknown"
TEACHERS_WEIGHTS = "the teacher's weights"
LONGEST = 500


class Question(NamedTuple):
    """``matters``: why it is asked. ``closed``: the answer is one of ``choices``."""

    id: str
    text: str
    matters: str
    choices: tuple[str, ...]
    closed: bool


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer to each question of ``resources/pipeline.yaml``; "" where it is not known."""

    data: str = ""
    variant: str = ""
    init: str = ""
    precision: str = ""
    evaluation: str = ""
    quality: str = ""

    @property
    def inherited(self) -> bool:
        """Whether the student before distillation was made from the teacher's weights."""
        return self.init == TEACHERS_WEIGHTS


@cache
def questions() -> tuple[Question, ...]:
    """Every question, in the order of asking."""
    tables = yaml.safe_load((RESOURCES / "pipeline.yaml").read_text("utf-8"))
    return tuple(
        Question(name, table["question"], table["matters"], tuple(table["choices"]), table.get("closed", False))
        for name, table in tables.items()
    )


def read_pipeline(path: Path) -> Pipeline:
    """The answers of a YAML file: a text, or a list of texts, under each id. Raises InputError."""
    ids = ", ".join(question.id for question in questions())
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("no_pipeline", f"{path} cannot be read.", "Give a YAML file with the answers.") from error
    except yaml.YAMLError as error:
        raise InputError("bad_pipeline", f"{path.name} is not YAML.", f"Write `id: answer` lines: {ids}.") from error
    if not isinstance(found, dict):
        raise InputError("bad_pipeline", f"{path.name} holds no `id: answer` lines.", f"The ids are {ids}.")
    return answered({str(name): value for name, value in found.items()}, path.name)


def answered(found: dict[str, object], where: str = "The answers") -> Pipeline:
    """The struct of answers by id. Raises InputError for an id or a closed answer that there is not."""
    known = {question.id: question for question in questions()}
    for name in found:
        if name not in known:
            raise InputError("bad_pipeline", f"{where}: there is no question {name!r}.", f"Use {', '.join(known)}.")
    texts = {name: _text(value, f"{where}: {name}") for name, value in found.items()}
    for name, text in texts.items():
        if text and known[name].closed and text not in known[name].choices:
            choices = ", ".join([*known[name].choices, UNKNOWN])
            raise InputError("bad_pipeline", f"{where}: {text!r} is no answer to {name}.", f"Use one of: {choices}.")
    return Pipeline(**texts)


def told_by(student: Path) -> Pipeline:
    """What a student that was distilled here says of itself in its ``lineage.json``; nothing where there is none.

    The file lies in the model's folder, so it is a claim like any other answer.
    """
    try:
        said = json.loads((student / "lineage.json").read_text(encoding="utf-8"))
        data, same = said["data"], said["student"]["name"] == said["teacher"]["name"]
        sources = ", ".join(data["sources"])
        return answered(
            {
                "data": f"{data['rows']} rows from {sources}; {data['dose']}"[:LONGEST],
                "variant": said["variant"],
                "init": TEACHERS_WEIGHTS if same else "another pretrained model",
                "precision": f"trained and written in {said['precision']}",
            }
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError, InputError):
        return Pipeline()


def baseline_of(student: Path) -> Path | None:
    """The student before distillation, where it lies beside one that was distilled here."""
    stages = sorted(student.parent.glob("stage-*/baseline/config.json")) if student.name == "student" else []
    return stages[-1].parent if stages else None


def _text(value: object, where: str) -> str:
    parts = [str(part).strip() for part in (value if isinstance(value, list) else [value]) if part is not None]
    text = "; ".join(part for part in parts if part)
    if isinstance(value, dict) or len(text) > LONGEST:
        raise InputError("bad_pipeline", f"{where} is no short text.", f"Write at most {LONGEST} characters.")
    return "" if text.lower() == UNKNOWN else text
