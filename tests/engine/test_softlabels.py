"""Soft labels: exact at every temperature, and of the whole vocabulary."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from core.__main__ import main
from core.engine.lm import load_model
from core.engine.softlabels import TEMPERATURES, run_soft_labels
from core.errors import InputError
from core.runs.emitters import TerminalEmitter
from core.runs.folder import RunFolder
from core.specs import LoadOptions, SoftLabelsSpec, command_line, decode_spec, encode_spec
from core.types import ModelRef
from tests.engine.distill.conftest import FP32, Maker, tiny  # noqa: F401

pytestmark = pytest.mark.engine


def spec_of(teacher: Path, student: Path, **more: object) -> SoftLabelsSpec:
    loads = {"teacher_load": FP32, "student_load": FP32}
    return SoftLabelsSpec(teacher=str(teacher), student=str(student), **(loads | more))  # type: ignore[arg-type]


def test_the_values_are_those_of_plain_softmaxes(tiny: Maker, tmp_path: Path) -> None:  # noqa: F811
    teacher, student = tiny("t", 1, 4), tiny("s", 2)
    spec = spec_of(teacher, student, text="the quick brown fox jumps over the lazy dog", top=5)
    folder = RunFolder.create(spec, tmp_path / "run")
    report = run_soft_labels(spec, folder, TerminalEmitter())
    items = list(folder.items())
    assert len(items) == report["tokens"] > 4
    with load_model(ModelRef(str(teacher)), FP32) as one, load_model(ModelRef(str(student)), FP32) as other:
        ids = [one.tokenizer.bos_token_id, *(item["id"] for item in items)]
        logits = [lm.model(torch.tensor([ids])).logits[0, :-1].double().detach() for lm in (one, other)]
    for at, item in enumerate(items):
        for number, temperature in enumerate(TEMPERATURES):
            p, q = ((part[at] / temperature).log_softmax(0) for part in logits)
            assert item["kl"][number] == pytest.approx(float((p.exp() * (p - q)).sum()), abs=1e-4)
            assert item["entropy"][0][number] == pytest.approx(float(-(p.exp() * p).sum()), abs=1e-4)
            # what a reader computes from the kept tokens is the probability at that temperature
            for index, logp, logq in zip(item["ids"], item["p"], item["q"], strict=True):
                read = (logp / temperature - item["log_z"][0][number], logq / temperature - item["log_z"][1][number])
                assert read[0] == pytest.approx(float(p[index]), abs=1e-4)
                assert read[1] == pytest.approx(float(q[index]), abs=1e-4)
        assert item["id"] in item["ids"]
        assert int(logits[0][at].argmax()) == item["top"][0]
    one_at = TEMPERATURES.index(1.0)
    assert all(abs(item["log_z"][side][one_at]) < 1e-5 for item in items for side in (0, 1))
    assert report["mean_kl"] == pytest.approx(sum(item["kl"][one_at] for item in items) / len(items))
    assert 0 <= report["agreement"] <= 1


def test_a_model_against_itself_says_nothing(tiny: Maker, tmp_path: Path) -> None:  # noqa: F811
    teacher = tiny("t")
    spec = spec_of(teacher, teacher, prompt="name a fruit", tokens=8)
    folder = RunFolder.create(spec, tmp_path / "run")
    report = run_soft_labels(spec, folder, TerminalEmitter())
    assert report["mean_kl"] < 1e-9
    assert report["agreement"] == 1
    assert report["text"]
    # greedy: the hard label is the teacher's most probable token
    assert all(item["id"] == item["top"][0] for item in folder.items())


def test_what_cannot_be_read_is_refused(tiny: Maker, tmp_path: Path) -> None:  # noqa: F811
    teacher = tiny("t")
    for more in ({}, {"prompt": "a", "text": "b"}, {"prompt": "  "}):
        spec = spec_of(teacher, teacher, **more)
        with pytest.raises(InputError, match="one text to read"):
            run_soft_labels(spec, RunFolder.create(spec, tmp_path / "run"), TerminalEmitter())
    long = spec_of(teacher, teacher, text="fox " * 400)
    with pytest.raises(InputError, match="and the models read 256"):
        run_soft_labels(long, RunFolder.create(long, tmp_path / "run"), TerminalEmitter())
    other = tiny("other")
    settings = json.loads((other / "tokenizer.json").read_text())
    vocabulary = settings["model"]["vocab"]
    words = [word for word in vocabulary if word.isalpha()][:2]
    vocabulary[words[0]], vocabulary[words[1]] = vocabulary[words[1]], vocabulary[words[0]]
    (other / "tokenizer.json").write_text(json.dumps(settings))
    mixed = spec_of(teacher, other, text="the fox")
    with pytest.raises(InputError, match="different tokens"):
        run_soft_labels(mixed, RunFolder.create(mixed, tmp_path / "run"), TerminalEmitter())


def test_the_command_line_runs_it(tiny: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    teacher, student = tiny("t", 1), tiny("s", 2)
    out = tmp_path / "run"
    words = ["softlabels", "--teacher", str(teacher), "--student", str(student), "--text", "the fox and the dog"]
    assert main([*words, "--device", "cpu", "--dtype", "fp32", "--out", str(out)]) == 0
    assert "nats per token" in capsys.readouterr().out
    spec = RunFolder.open(out).spec
    assert decode_spec(encode_spec(spec)) == spec
    assert f"softlabels --teacher {teacher} --student {student} --top 20 --text 'the fox" in command_line(spec)


@pytest.mark.model
def test_the_small_real_model_expects_paris(small_model: Path, tmp_path: Path) -> None:
    load = LoadOptions(dtype="bf16")
    spec = SoftLabelsSpec(
        teacher=str(small_model), student=str(small_model), teacher_load=load, student_load=load,
        prompt="What is the capital of France?", tokens=16,
    )  # fmt: skip
    folder = RunFolder.create(spec, tmp_path / "run")
    report = run_soft_labels(spec, folder, TerminalEmitter())
    assert "Paris" in report["text"]
    (paris,) = [item for item in folder.items() if "Paris" in item["text"]][:1]
    assert math.exp(paris["p"][paris["ids"].index(paris["id"])]) > 0.5
    assert report["mean_kl"] < 1e-6
