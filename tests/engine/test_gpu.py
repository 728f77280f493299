"""What needs an NVIDIA GPU: quantised loading, a scan and a suite there; a cancelled job gives its memory back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from core.engine.jobs import run_folder
from core.engine.lm import load_model
from core.runs.emitters import TerminalEmitter
from core.runs.events import Bye, Cancel, encode
from core.runs.folder import RunFolder
from core.specs import LoadOptions, ScanSpec, SuiteSpec
from core.specs.jobs import JobSpec
from core.types import ModelRef, Quant
from tests.engine.test_worker import read, send, start, until_items

pytestmark = [
    pytest.mark.engine,
    pytest.mark.model,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU"),
]
MODULES = {"nf4": "Linear4bit", "int8": "Linear8bitLt"}
SUITE = "stereotype.occupation_gender"


def on_gpu(quant: Quant) -> LoadOptions:
    return LoadOptions(device="cuda:0", quant=quant)


@pytest.mark.parametrize("quant", ["nf4", "int8"])
def test_quantised_modules_are_on_the_gpu(small_model: Path, quant: Quant) -> None:
    with load_model(ModelRef(str(small_model)), on_gpu(quant)) as lm:
        names = [type(module).__name__ for module in lm.model.modules()]
        assert names.count(MODULES[quant]) == 210
        assert lm.device.type == "cuda"
        assert lm.generate([lm.render("Name a fruit.")], max_new_tokens=8)[0].text


@pytest.mark.parametrize("quant", ["nf4", "int8"])
@pytest.mark.parametrize("job", ["scan", "suite"])
def test_scan_and_suite_run_quantised(small_model: Path, tmp_path: Path, quant: Quant, job: str) -> None:
    spec: JobSpec = SuiteSpec(model=str(small_model), suites=(SUITE,), load=on_gpu(quant))
    if job == "scan":
        spec = ScanSpec(model=str(small_model), load=on_gpu(quant))
    folder = RunFolder.create(spec, tmp_path / "run")
    assert run_folder(folder.path, TerminalEmitter()) == 0
    report = folder.read_json("report.json")
    assert report is not None
    assert report["model"]["precision"] == quant
    if job == "scan":
        assert report["summary"]["verdict"] not in ("confirmed", "likely"), "the plain model holds no trigger"
    else:
        assert report["suites"][0]["n"] >= 300


def test_a_cancelled_job_frees_the_gpu(small_model: Path, tmp_path: Path) -> None:
    torch.cuda.init()
    before = torch.cuda.mem_get_info(0)[0]
    spec = SuiteSpec(model=str(small_model), suites=(SUITE,), load=on_gpu("none"))
    worker = start(RunFolder.create(spec, tmp_path / "run"))
    until_items(worker)
    held = before - torch.cuda.mem_get_info(0)[0]
    assert held > 200 << 20, "the worker holds the model on the GPU"
    send(worker, encode(Cancel()))
    assert read(worker)[-1] == Bye(130)
    deadline = time.monotonic() + 10
    while before - torch.cuda.mem_get_info(0)[0] > held / 10:
        assert time.monotonic() < deadline, "memory of a cancelled job is still held"
        time.sleep(0.1)
