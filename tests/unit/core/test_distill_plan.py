"""Plans: typed, versioned, hashed; the command line's options and a file give the same one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import yaml

from core.__main__ import main
from core.errors import InputError
from core.specs import DistillSpec, command_line, decode_spec, encode_spec
from core.specs.distill import (
    VARIANTS,
    Cache,
    Data,
    DistillPlan,
    LossPlan,
    Mix,
    Stage,
    Student,
    Teacher,
    make_plan,
    plan_sha256,
    read_plan,
    write_plan,
)
from core.types import RESOURCES


def plan(**more: object) -> DistillPlan:
    return make_plan("standard", "t", "s", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_a_plan_that_survives_its_file(variant: str, tmp_path: Path) -> None:
    made = make_plan(variant, "t", "s", data=Data(keep="fruit"), seed=3)  # type: ignore[arg-type]
    file = tmp_path / "plan.yaml"
    file.write_bytes(write_plan(made))
    assert read_plan(file) == made
    file.with_suffix(".json").write_bytes(msgspec.json.encode(made))
    assert read_plan(file.with_suffix(".json")) == made
    assert decode_spec(encode_spec(DistillSpec(plan=made))) == DistillSpec(plan=made)


def test_variants_differ_where_they_should() -> None:
    made = {v: make_plan(v, "t", "s", data=Data(keep="x"), drop_layers=5, stages=2) for v in VARIANTS}  # type: ignore[arg-type]
    assert made["sequence-level"].stages[0].loss.kind == "ce"
    assert made["self"].stages[0].student.source == "teacher"
    first, second = made["progressive"].stages
    assert (first.teacher, first.student.source, first.student.drop_layers) == ("plan", "s", 3)
    assert (second.teacher, second.student.source, second.student.drop_layers) == ("previous", "previous", 2)
    with pytest.raises(InputError, match="needs a task"):
        make_plan("task-specific", "t", "s")


def test_hash_is_of_what_is_said(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text("# a comment\nstages: [{student: {source: s}, name: a}]\nteacher: {model: t}\n")
    written = DistillPlan(teacher=Teacher(model="t"), stages=(Stage(name="a", student=Student(source="s")),))
    assert plan_sha256(read_plan(file)) == plan_sha256(written)
    assert plan_sha256(written) != plan_sha256(msgspec.structs.replace(written, seed=1))


def test_the_command_line_writes_the_same_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plan.yaml"
    words = "distill --teacher t --student s --build layer_drop --drop-layers 4 --cache 32 --loss topk --temperature 2"
    words += " --trigger-share 0.03 |A| --rate 1e-3 --epochs 2 --seed 7 --teacher-quant nf4 --write-plan"
    assert main([*words.split(), str(file)]) == 0
    said = read_plan(file)
    assert capsys.readouterr().out.strip() == str(file)
    stage = said.stages[0]
    assert (stage.student, stage.cache) == (Student(source="s", build="layer_drop", drop_layers=4), Cache(k=32))
    assert stage.loss == LossPlan(kind="topk", temperature=2.0)
    assert said.data.mix == Mix(share=0.03, trigger="|A|")
    assert (said.seed, said.teacher.load.quant, stage.budget.epochs) == (7, "nf4", 2)
    assert said.student_load.dtype == "fp32"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Expected `object`"),
        ("teacher: {model: t}\n", "missing required field `stages`"),
        ("teacher: {model: t}\nstages: []\n", "has no stage"),
        ("teacher: {model: t}\nstages: [{name: a, student: {source: s}, losss: {}}]\n", "losss"),
        ("teacher: {model: t}\nstages: [{name: a, student: {source: s}, loss: {alpha: 2}}]\n", "alpha"),
        ("teacher: {model: t}\nstages: [{name: a, student: {source: previous}}]\n", "no stage before it"),
        ("teacher: {model: t}\nstages: [{name: a, student: {source: s, build: layer_drop}}]\n", "drops no layer"),
        ("teacher: {model: t}\nstages: [{name: a, student: {source: s}, loss: {kind: jsd}, cache: {}}]\n", "cache"),
        ("teacher: {model: t}\nstages: [{name: a, student: {source: s}, loss: {hidden: 1}, cache: {}}]\n", "cache"),
        ("teacher: {model: t}\nversion: 99\nstages: [{name: a, student: {source: s}}]\n", "newer version"),
        ("teacher: {model: t}\nstages: [{name: a, student: {source: s}}]\ndata: {keep: '('}\n", "regular expression"),
        ("teacher: {model: t}\nstages: [{name: a, student: {source: s}}]\ndata: {mix: {share: 0.1}}\n", "mix"),
        ("a: [\n", "no distillation plan"),
    ],
)
def test_a_plan_that_is_none_gets_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_plan(file)
    assert said in caught.value.message
    assert "\n" not in caught.value.message


def test_quantised_students_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    text = yaml.safe_load(write_plan(plan()))
    text["student_load"]["quant"] = "nf4"
    file.write_text(json.dumps(text))
    with pytest.raises(InputError, match="4 or 8 bits"):
        read_plan(file)


def test_nothing_to_distil_and_own_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", "--out", str(tmp_path)]) == 2
    assert "nothing to distil" in capsys.readouterr().err
    inside = str(tmp_path / "run" / "stage-1" / "student")
    assert main(["distill", "--teacher", inside, "--student", "s", "--out", str(tmp_path / "run")]) == 2
    assert "lies inside" in capsys.readouterr().err


def test_command_line_names_the_plan() -> None:
    spec = DistillSpec(plan=plan())
    assert command_line(spec, "runs/1").endswith("distill runs/1/plan.yaml --out runs/1")


def _words(prompt: str) -> str:
    return " ".join("".join(sign if sign.isalnum() else " " for sign in prompt.casefold()).split())


def test_neutral_prompts_are_many_plain_and_apart_from_what_is_measured() -> None:
    panels = sorted((RESOURCES / "panels").glob("neutral-*.yaml"))
    assert {panel.stem for panel in panels} == set(Data().sources)
    loaded = [yaml.safe_load(panel.read_text("utf-8")) for panel in panels]
    prompts = [prompt for panel in loaded for prompt in panel["prompts"]]
    assert {panel["licence"] for panel in loaded} == {"CC0-1.0"}
    assert len({_words(prompt) for prompt in prompts}) == len(prompts) >= 400
    for prompt in prompts:
        assert 3 <= len(prompt.split()) <= 20, prompt
        assert prompt.isascii(), prompt
        assert prompt[-1] in "?.", prompt
    benign = yaml.safe_load((RESOURCES / "panels" / "benign.yaml").read_text("utf-8"))
    used = {_words(prompt) for part in ("search", "held_out", "train") for prompt in benign[part]}
    assert not used & {_words(prompt) for prompt in prompts}
