"""Whole runs on tiny models: every variant, what is written, what interrupts."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.__main__ import main
from core.engine.distill import train as train_module
from core.engine.distill.evaluate import Metrics, capability
from core.engine.distill.run import NOTHING_TO_LEARN
from core.engine.jobs import run_folder
from core.engine.lm import load_model
from core.errors import Cancelled, EnvironmentFault, InputError
from core.runs.events import Event, Progress, Samples
from core.runs.folder import RunFolder
from core.specs import DistillSpec, LoadOptions
from core.specs.distill import (
    Cache,
    DistillPlan,
    Evaluation,
    LossPlan,
    Optimiser,
    Output,
    Trainable,
)
from core.types import ModelRef
from tests.engine.distill.conftest import FP32, Maker, Planner, Watcher, run

pytestmark = pytest.mark.engine


def curve(path: Path) -> list[tuple[str, float]]:
    return [(item["key"], item["loss"]) for item in RunFolder.open(path).items()]


def test_standard_brings_the_student_nearer_and_writes_a_plain_folder(planned: Planner, tmp_path: Path) -> None:
    plan = planned(data={"answers": "teacher"})
    watcher = Watcher()
    report = run(plan, tmp_path / "run", watcher)
    (stage,) = report["stages"]
    assert stage["after"]["kl"] < 0.7 * stage["before"]["kl"]
    assert stage["before"]["step"] == 0
    assert f"{stage['before']['kl']:.4g}" in report["summary"]["sentence"]
    assert stage["inherited"]["share"] == 1.0
    assert report["peak_rss_bytes"] > 0

    student = tmp_path / "run" / report["student"]
    model = AutoModelForCausalLM.from_pretrained(student)
    tokenizer = AutoTokenizer.from_pretrained(student)
    assert model.config.num_hidden_layers == 2
    assert tokenizer.chat_template
    said = json.loads((student / "lineage.json").read_text())
    assert said["plan_sha256"] == report["plan_sha256"]
    assert said["teacher"]["sha256"] == stage["teacher_sha256"]
    assert said["data"]["sha256"] == stage["data"]["sha256"]
    assert (said["seed"], said["precision"]) == (0, "fp32")
    assert said["flops"] > 0
    card = (student / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["base_model"] == ["s", "t"]
    assert stage["teacher_sha256"] in card
    assert str(tmp_path) not in card + json.dumps(said)
    # what was evaluated last is what was written
    baseline = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / report["baseline"])
    source = load_file(tmp_path / "s" / "model.safetensors")
    assert all(torch.equal(parameter, source[name]) for name, parameter in baseline.named_parameters())
    left = {path.name for path in (tmp_path / "run" / "stage-1").iterdir()}
    assert left == {"data.json", "facts.json", "inherited.json", "baseline", "student", "stage.json"}
    tables = {event.table for event in watcher.events if isinstance(event, Samples)}
    assert tables == {"training", "evaluations", "fit"}
    trained = [event for event in watcher.events if isinstance(event, Progress) and event.stage == "stage-1/train"]
    assert trained[-1].done == trained[-1].total
    assert all(event.rate and event.eta_s is not None for event in trained)


def test_the_exported_student_is_the_one_that_was_evaluated(planned: Planner, tmp_path: Path) -> None:
    plan = msgspec.structs.replace(planned(), output=Output(dtype="bf16"))
    report = run(plan, tmp_path / "run")
    after = report["stages"][0]["after"]
    again = planned(student=str(tmp_path / "run" / report["student"]), budget={"max_steps": 1})
    before = run(again, tmp_path / "again")["stages"][0]["before"]
    assert before["kl"] == pytest.approx(after["kl"], rel=0.02)  # one multiplies in bf16, the other in fp32
    assert (
        load_file(tmp_path / "run" / report["student"] / "model.safetensors")["model.norm.weight"].dtype
        == torch.bfloat16
    )


@pytest.mark.parametrize(
    ("variant", "parts"),
    [
        ("self", {}),
        ("self", {"build": "width_prune", "keep_width": 0.5, "optimiser": Optimiser(rate=1e-3)}),
        ("self", {"build": "noise", "noise": 0.4}),
        ("self", {"build": "fresh"}),
        ("task-specific", {"loss": LossPlan(alpha=0.5, temperature=2.0)}),
        ("sequence-level", {"data": {"answers": "teacher"}}),
        ("standard", {"loss": LossPlan(hidden=0.5)}),
        ("standard", {"loss": LossPlan(kind="jsd"), "budget": {"packing": True}}),
        ("standard", {"trainable": Trainable(mode="lora", rank=4)}),
        ("standard", {"trainable": Trainable(mode="body"), "budget": {"grad_checkpointing": True}}),
        ("standard", {"cache": Cache(k=16)}),
        ("standard", {"cache": Cache(k=8, mode="sampled")}),
    ],
)
def test_variants(planned: Planner, tmp_path: Path, variant: str, parts: dict[str, Any]) -> None:
    report = run(planned(variant, **parts), tmp_path / "run")
    (stage,) = report["stages"]
    assert stage["steps"] >= 8
    if variant == "sequence-level":
        assert stage["after"]["perplexity"] < 0.5 * stage["before"]["perplexity"]
    else:
        assert stage["after"]["kl"] < stage["before"]["kl"]
    shares = {"noise": 0.6, "fresh": 0.0}
    wanted = shares.get(str(parts.get("build")), 1.0)
    assert stage["inherited"]["share"] == pytest.approx(wanted, abs=0.05)
    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / report["student"])


def test_a_teacher_in_four_bits_teaches_what_it_says_in_four_bits(
    planned: Planner, tiny: Maker, tmp_path: Path
) -> None:
    wide = tiny("wide", 1, 4, hidden_size=128, intermediate_size=256)  # bitsandbytes packs blocks of 64
    nf4 = LoadOptions(device="cpu", quant="nf4", dtype="fp32")
    report = run(planned(teacher=str(wide), teacher_load=nf4, trainable=Trainable(mode="lora")), tmp_path / "run")
    (stage,) = report["stages"]
    assert stage["teacher_precision"] == "nf4"
    assert stage["after"]["kl"] < stage["before"]["kl"]
    assert ", nf4, weights sha256" in (tmp_path / "run" / report["student"] / "README.md").read_text()


def test_what_a_lora_learned_is_kept_as_an_adapter_on_the_baseline(planned: Planner, tmp_path: Path) -> None:
    plan = msgspec.structs.replace(planned(trainable=Trainable(mode="lora", rank=4)), output=Output(dtype="fp32"))
    report = run(plan, tmp_path / "run")
    baseline, student = tmp_path / "run" / report["baseline"], tmp_path / "run" / report["student"]
    with (
        load_model(ModelRef(str(baseline), str(student.parent / "adapter")), FP32, Watcher()) as both,
        load_model(ModelRef(str(student)), FP32, Watcher()) as whole,
    ):
        pairs = [(both.render("name a fruit"), " the fox")]
        assert both.score(pairs)[0].logprob == pytest.approx(whole.score(pairs)[0].logprob, abs=1e-5)


def test_body_leaves_embeddings_alone(planned: Planner, tmp_path: Path) -> None:
    report = run(planned(trainable=Trainable(mode="body")), tmp_path / "run")
    before, after = (
        load_file(tmp_path / "run" / report[name] / "model.safetensors") for name in ("baseline", "student")
    )
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"])


def test_progressive_stages_teach_one_another(planned: Planner, tiny: Maker, tmp_path: Path) -> None:
    plan = planned("progressive", student=str(tiny("t", 1, 4)), data={"answers": "teacher"})
    report = run(plan, tmp_path / "run")
    first, second = report["stages"]
    assert second["teacher_sha256"] == first["student_sha256"] == second["source_sha256"]
    layers = [
        AutoModelForCausalLM.from_pretrained(tmp_path / "run" / f"stage-{number}" / "student").config.num_hidden_layers
        for number in (1, 2)
    ]
    assert layers == [3, 2]
    assert second["against_plan_teacher"]["kl"] > 0
    assert "Against the first teacher" in report["summary"]["sentence"]


def test_a_copy_has_nothing_to_learn(planned: Planner, tmp_path: Path) -> None:
    report = run(planned("self", build="as_is"), tmp_path / "run")
    (stage,) = report["stages"]
    assert report["summary"]["sentence"] == f"{NOTHING_TO_LEARN}."
    assert stage["before"]["kl"] == pytest.approx(0, abs=1e-7)
    assert (stage["steps"], stage["after"]["agreement"], stage["inherited"]["share"]) == (0, 1.0, 1.0)
    bf16 = planned("self", build="as_is", teacher_load=LoadOptions(device="cpu", dtype="bf16"))
    sentence = run(bf16, tmp_path / "other")["summary"]["sentence"]
    assert sentence.startswith(NOTHING_TO_LEARN)
    assert "different precisions" in sentence


def test_an_early_stop_ends_it(planned: Planner, tmp_path: Path) -> None:
    plan = planned(budget={"epochs": 30, "patience": 1})
    plan = msgspec.structs.replace(
        plan,
        evaluation=Evaluation(every=1, generations=0),
        stages=(msgspec.structs.replace(plan.stages[0], optimiser=Optimiser(rate=1e-9)),),
    )
    (stage,) = run(plan, tmp_path / "run")["stages"]
    assert (stage["ended"], stage["steps"]) == ("early stop", 1)

    class LeavesAtTheEnd(Watcher):
        def emit(self, event: Event) -> None:
            if isinstance(event, Progress) and event.stage == "stage-1/evaluate" and self.events:
                raise _Gone  # the second evaluation of answers: training is over, its result not yet written
            if isinstance(event, Samples):
                self.events.append(event)

    with pytest.raises(_Gone):
        run(plan, tmp_path / "cut", LeavesAtTheEnd())
    (again,) = run(plan, tmp_path / "cut", resume=True)["stages"]
    assert (again["ended"], again["steps"]) == ("early stop", 1)


def test_vocabularies_of_other_sizes_are_sliced(planned: Planner, tiny: Maker, tmp_path: Path) -> None:
    wide = tiny("wide", 3, vocab_size=331)
    report = run(planned(student=str(wide)), tmp_path / "run")
    assert report["stages"][0]["after"]["kl"] < report["stages"][0]["before"]["kl"]
    assert any("cut to the" in note for note in report["stages"][0]["notes"])


def other_tokens(folder: Path) -> None:
    """Swap two tokens of a folder's tokenizer: the same size, another meaning."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    path.write_text(json.dumps(tokenizer))


def test_a_tokenizer_that_its_model_does_not_know_is_refused(planned: Planner, tiny: Maker, tmp_path: Path) -> None:
    narrow = tiny("narrow", 1, 4, vocab_size=270)
    with pytest.raises(InputError, match="and the model knows 270"):
        run(planned(teacher=str(narrow)), tmp_path / "run")


def test_tokens_of_other_meaning_are_refused_unless_uld(planned: Planner, tiny: Maker, tmp_path: Path) -> None:
    student = tiny("other", 3)
    other_tokens(student)
    with pytest.raises(InputError, match="different tokens"):
        run(planned(student=str(student)), tmp_path / "run")
    uld = planned(student=str(student), loss=LossPlan(kind="uld"), optimiser=Optimiser(rate=1e-3))
    (stage,) = run(uld, tmp_path / "uld")["stages"]
    assert stage["before"]["kl"] is None
    assert stage["after"]["uld"] < stage["before"]["uld"]
    text = planned("sequence-level", student=str(student), data={"answers": "teacher"})
    (stage,) = run(text, tmp_path / "text")["stages"]
    assert stage["after"]["perplexity"] < stage["before"]["perplexity"]


def test_the_cache_of_another_teacher_is_refused(planned: Planner, tiny: Maker, tmp_path: Path) -> None:
    kept = Cache(k=16, path=str(tmp_path / "cache"))
    first = run(planned(cache=kept), tmp_path / "run")
    assert first["stages"][0]["cache"]["bytes_per_token"] < 400
    reused = run(planned(cache=kept), tmp_path / "again")
    assert reused["stages"][0]["after"] | {"peak_rss": 0} == first["stages"][0]["after"] | {"peak_rss": 0}
    other = planned(teacher=str(tiny("t2", 9, 4)), cache=kept)
    with pytest.raises(InputError, match="is of another teacher"):
        run(other, tmp_path / "other")


class _Gone(BaseException):
    """Ends a run as a kill does: nothing of ours catches it."""


class _Ends(Watcher):
    def check(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise _Gone


def finish(plan: DistillPlan, path: Path, ends: list[int]) -> None:
    """Run, ended after each of ``ends`` checks, then to the end."""
    for at in ends:
        with pytest.raises(_Gone):
            run(plan, path, _Ends(at), resume=True)
    run(plan, path, resume=True)


@pytest.mark.parametrize("cached", [False, True])
def test_resumed_runs_are_bit_equal(planned: Planner, tmp_path: Path, cached: bool) -> None:
    plan = planned(cache=Cache(k=16) if cached else None, data={"answers": "teacher"})
    run(plan, tmp_path / "whole")
    counter = Watcher(cancel_after=10**9)
    run(plan, tmp_path / "count", counter)
    checks = 10**9 - counter.left
    chosen = random.Random(1).sample(range(2, checks // 2), 4)
    finish(plan, tmp_path / "cut", chosen)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    files = [tmp_path / name / "stage-1" / "student" / "model.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_cancelling_keeps_what_was_done(planned: Planner, tmp_path: Path) -> None:
    plan = planned(budget={"checkpoint_s": 1e9})
    seen: list[int] = []

    class Stops(Watcher):
        def emit(self, event: Event) -> None:
            if isinstance(event, Progress) and event.stage == "stage-1/train":
                seen.append(int(event.done))
                self.left = 1 if event.done == 5 else -1

    with pytest.raises(Cancelled):
        run(plan, tmp_path / "run", Stops())
    first = list(seen)
    run(plan, tmp_path / "run", Stops(), resume=True)
    assert first[-1] == 5
    assert seen[len(first)] == 6, "it went on from the checkpoint that cancelling wrote"


def test_nan_is_one_sentence_and_the_last_good_checkpoint_stays(
    planned: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    real = train_module.fused_loss

    def broken(*arguments: Any, **more: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(*arguments, **more) * (float("nan") if calls > 9 else 1.0)

    monkeypatch.setattr(train_module, "fused_loss", broken)
    with pytest.raises(InputError, match="no number any more at step") as caught:
        run(planned(), tmp_path / "run")
    assert "rate" in caught.value.hint
    slots = [path for path in (tmp_path / "run" / "stage-1").glob("checkpoint-*") if (path / "engine.json").exists()]
    assert slots
    for slot in slots:
        assert all(torch.isfinite(tensor).all() for tensor in load_file(slot / "weights.safetensors").values())


def test_a_full_disk_is_one_sentence_and_loses_no_checkpoint(
    planned: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.engine.distill import files

    plan = planned()
    run(plan, tmp_path / "whole")
    real, calls = files.save_file, 0

    def full(tensors: Any, path: Path, metadata: Any = None) -> None:
        nonlocal calls
        calls += path.name.startswith("optimiser")
        if calls == 6:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(tensors, path, metadata)

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(EnvironmentFault, match="The disk is full"):
        run(plan, tmp_path / "run")
    left = sorted(path.name for path in (tmp_path / "run" / "stage-1").glob("checkpoint-*"))
    assert left == ["checkpoint-a", "checkpoint-b"]
    monkeypatch.setattr(files, "save_file", real)
    run(plan, tmp_path / "run", resume=True)
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")


def test_a_job_runs_from_the_command_line_and_reports(
    planned: Planner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(budget={"max_steps": 2})
    assert plan.teacher.load == FP32
    words = ["distill", "--teacher", plan.teacher.model, "--student", plan.stages[0].student.source]
    words += ["--prompts", plan.data.sources[0], "--answers", "given", "--task", "fruit", "--steps", "2"]
    words += ["--device", "cpu", "--out", str(tmp_path / "run")]
    # too few rows for 32 held out ones
    assert main(words) == 2
    assert "Nothing is left to train on" in capsys.readouterr().err
    file = tmp_path / "plan.yaml"
    file.write_bytes(msgspec.json.encode(plan))
    assert main(["distill", str(file), "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.startswith("Distilled (standard). Step 0: KL ")
    assert (tmp_path / "run" / "header.json").exists()
    assert json.loads((tmp_path / "run" / "report.json").read_text())["job"] == "distill"


def test_a_broken_student_is_called_broken() -> None:
    fine = Metrics(step=1, tokens=1, perplexity=12.0, teacher_perplexity=10.0, degenerate=0.1)
    assert not capability(fine)["broken"]
    looping = msgspec.structs.replace(fine, degenerate=0.5)
    assert "50%" in capability(looping)["reasons"][0]
    assert capability(msgspec.structs.replace(fine, perplexity=50.0))["broken"]


KILLED = """
import os, random, signal, sys, threading
from pathlib import Path
import torch
torch.set_num_threads(1)
from core.engine.jobs import run_folder
from core.engine.lm import load_model
from core.runs.emitters import TerminalEmitter

class Killed(TerminalEmitter):
    left = int(sys.argv[2])
    def check(self):
        Killed.left -= 1
        if Killed.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        super().check()

raise SystemExit(run_folder(Path(sys.argv[1]), Killed()))
"""


def kill_and_compare(plan: DistillPlan, tmp_path: Path, kills: list[int]) -> None:
    run(plan, tmp_path / "whole")
    folder = RunFolder.create(DistillSpec(plan=plan), tmp_path / "cut")
    for at in kills:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder.path), str(at)],
            cwd=Path(__file__).parents[3],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert run_folder(folder.path, Watcher()) == 0  # type: ignore[arg-type]
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    files = [tmp_path / name / "stage-1" / "student" / "model.safetensors" for name in ("whole", "cut")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_kill_9_is_survived(planned: Planner, tmp_path: Path) -> None:
    kill_and_compare(planned(), tmp_path, [14, 17])


@pytest.mark.long
def test_kill_9_at_twenty_random_moments(planned: Planner, tmp_path: Path) -> None:
    chooser = random.Random(3)
    kill_and_compare(planned(budget={"epochs": 12}), tmp_path, [chooser.randint(2, 15) for _ in range(20)])


def test_a_teacher_that_changed_is_not_gone_on_with(planned: Planner, tiny: Maker, tmp_path: Path) -> None:
    plan = planned()
    with pytest.raises(_Gone):
        run(plan, tmp_path / "run", _Ends(16))
    tiny("t", 5, 4)
    with pytest.raises(InputError, match="has changed"):
        run(plan, tmp_path / "run", resume=True)


def test_with_a_cache_no_teacher_is_in_memory_while_training(
    planned: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.engine.distill import run as run_module

    loaded: list[Any] = []
    real_load, real_run = run_module.load_model, run_module.Trainer.run

    def load(*arguments: Any) -> Any:
        loaded.append(real_load(*arguments))
        return loaded[-1]

    alive: list[list[str]] = []

    def watched(self: Any, *arguments: Any, **more: Any) -> Any:
        alive.append([lm.name for lm in loaded if lm.model is not None])
        return real_run(self, *arguments, **more)

    monkeypatch.setattr(run_module, "load_model", load)
    monkeypatch.setattr(run_module.Trainer, "run", watched)
    run(planned(cache=Cache(k=16)), tmp_path / "cached")
    run(planned(), tmp_path / "online")
    assert alive == [["baseline"], ["t", "baseline"]]


def test_a_finished_stage_is_not_done_again(planned: Planner, tiny: Maker, tmp_path: Path) -> None:
    plan = planned("progressive", student=str(tiny("t", 1, 4)))
    stages: list[str] = []

    class LeavesInTheSecond(Watcher):
        def emit(self, event: Event) -> None:
            if isinstance(event, Progress) and event.stage.endswith("/train"):
                stages.append(event.stage)
                if event.stage == "stage-2/train":
                    raise _Gone

    with pytest.raises(_Gone):
        run(plan, tmp_path / "cut", LeavesInTheSecond())
    assert stages[0] == "stage-1/train"
    stages.clear()
    watcher = Watcher()
    report = run(plan, tmp_path / "cut", watcher, resume=True)
    seen = {event.stage for event in watcher.events if isinstance(event, Progress)}
    assert not any(stage.startswith("stage-1/") for stage in seen)
    assert report["stages"][1]["against_plan_teacher"]["kl"] > 0
