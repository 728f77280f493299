"""Two processes train the student that one would have trained."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.runs.folder import RunFolder
from core.specs.distill import OnPolicy, write_plan
from tests.engine.distill.conftest import Maker, Planner, run

pytestmark = pytest.mark.engine


def launch(plan: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """``accelerate launch`` with two processes on the CPU, one thread each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", str(port), "--module", "core", "distill", str(plan), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *more], env=environment, capture_output=True, text=True, timeout=250, check=False)


@pytest.mark.parametrize("case", ["progressive", "on-policy"])
def test_two_processes_give_the_numbers_of_one(case: str, planned: Planner, tiny: Maker, tmp_path: Path) -> None:
    parts: dict[str, Any] = (
        {"variant": "progressive", "student": str(tiny("four", 2, 4))}
        if case == "progressive"
        else {"on_policy": OnPolicy(tokens=8)}
    )
    plan = planned(**parts)
    file = tmp_path / "plan.yaml"
    file.write_bytes(write_plan(plan))
    done = launch(file, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-3000:]
    alone = run(plan, tmp_path / "one")
    together = json.loads((tmp_path / "two" / "report.json").read_bytes())
    curves = [{item["key"]: item for item in RunFolder.open(tmp_path / name).items()} for name in ("one", "two")]
    assert curves[0].keys() == curves[1].keys()
    # on-policy, what each process says is a draw of its own; everywhere else the numbers are those of one
    same = [key for key in curves[0] if not key.startswith("on-policy")]
    assert len(same) >= 10
    for key in same:
        assert curves[1][key]["loss"] == pytest.approx(curves[0][key]["loss"], rel=1e-5, abs=1e-6)
        assert curves[1][key]["norm"] == pytest.approx(curves[0][key]["norm"], rel=1e-3, abs=1e-4)
        assert curves[1][key]["tokens"] == curves[0][key]["tokens"]
    stages = 2 if case == "progressive" else 1
    for number in range(1, stages + 1):
        one, two = (
            load_file(tmp_path / name / f"stage-{number}" / "student" / "model.safetensors") for name in ("one", "two")
        )
        assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
        assert together["stages"][number - 1]["after"]["kl"] == pytest.approx(
            alone["stages"][number - 1]["after"]["kl"], rel=1e-4
        )
    assert together["stages"][-1]["after"]["kl"] < together["stages"][-1]["before"]["kl"]


def test_bad_input_ends_all_processes_with_its_sentence(planned: Planner, tmp_path: Path) -> None:
    plan = planned(data={"held_out": 1000})
    file = tmp_path / "plan.yaml"
    file.write_bytes(write_plan(plan))
    done = launch(file, tmp_path / "two")
    assert done.returncode != 0
    assert "Nothing is left to train on" in done.stderr
    assert "a fault in Foreshot" not in done.stderr
