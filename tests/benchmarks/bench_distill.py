"""Distillation speed and memory: ours, a plain dense loop and TRL's GKDTrainer, on the same pair, rows and batches.

    python tests/benchmarks/bench_distill.py --teacher DIR --student DIR [--peer PYTHON] [--rounds 3] [--rows 64]

``--peer`` is the interpreter of an environment of its own that has TRL (``pip install trl``) beside torch and
transformers. Each contender runs in a process of its own, in turn A B C A B C. Parity comes first: the first loss
has to agree within 1e-5 and the gradients' cosine has to exceed .99999, else the speeds compare different things.
Printed: supervised tokens per second (median and range), and peak memory above the loaded models.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from core.specs.demo import small_model_folder

ROOT = Path(__file__).resolve().parents[2]

COMMON = """
import json, os, sys, time
job = json.loads(sys.argv[1])
import torch
torch.set_num_threads(job["threads"])
from transformers import AutoModelForCausalLM, AutoTokenizer
def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True)
def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
def peak():
    return status("VmHWM")
def resident():
    open("/proc/self/clear_refs", "w").write("5")  # what was needed before does not count
    return status("VmRSS")
teacher, student = load(job["teacher"]).eval(), load(job["student"])
rows = json.load(open(job["rows"]))
batches = [rows[i:i + job["batch"]] for i in range(0, len(rows), job["batch"])]
def collate(batch):
    width = max(len(r["ids"]) for r in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long); labels = torch.full((len(batch), width), -100)
    mask = torch.zeros(len(batch), width, dtype=torch.long)
    for n, r in enumerate(batch):
        ids[n, :len(r["ids"])] = torch.tensor(r["ids"]); mask[n, :len(r["ids"])] = 1
        for place in r["at"]: labels[n, place] = r["ids"][place]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
def done(times, tokens, loss, gradient):
    torch.save({"loss": loss, "gradient": gradient}, job["out"])
    print("RESULT " + json.dumps({"times": times, "tokens": tokens, "peak": peak() - models}))
"""

LOOP = """
tokens = [sum(len(r["at"]) for r in b) for b in batches]
optimiser = torch.optim.AdamW(student.parameters(), lr=1e-4)
models = resident()
times, loss, gradient = [], None, None
for number, batch in enumerate(batches):
    begun = time.perf_counter()
    value = step(batch)
    if number == 0:
        loss = float(value)
        gradient = student.get_input_embeddings().weight.grad.clone().flatten()[::7]
    torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimiser.step(); optimiser.zero_grad()
    times.append(time.perf_counter() - begun)
done(times, tokens, loss, gradient)
"""

DENSE = (
    COMMON
    + """
def step(batch):
    b = collate(batch); keep = b["labels"][:, 1:] != -100
    with torch.no_grad():
        t = teacher(input_ids=b["input_ids"], attention_mask=b["attention_mask"], use_cache=False).logits[:, :-1]
    s = student(input_ids=b["input_ids"], attention_mask=b["attention_mask"], use_cache=False).logits[:, :-1]
    kl = torch.nn.functional.kl_div(s.log_softmax(-1), t.log_softmax(-1), log_target=True, reduction="none").sum(-1)
    loss = kl[keep].mean(); loss.backward(); return loss.detach()
"""
    + LOOP
)

OURS = (
    COMMON
    + """
sys.path.insert(0, job["root"])
from core.engine.distill.batches import collate as gather
from core.engine.distill.data import Example
from core.engine.distill.head import fused_loss, head_of
from core.engine.distill.losses import Dense, Objective
from core.engine.distill.cache import Identity, capture
from core.engine.distill.side import Side
from core.engine.lm.model import LanguageModel
from core.specs.distill import Budget, LossPlan
tokenizer = AutoTokenizer.from_pretrained(job["student"], local_files_only=True)
size = min(teacher.config.vocab_size, student.config.vocab_size)
make = lambda m: Side(LanguageModel(name="m", model=m, tokenizer=tokenizer, dtype="fp32", quant="none"), size)
ours, theirs = make(student), make(teacher)
examples = [Example(str(n), "", r["ids"], r["at"]) for n, r in enumerate(rows)]
objective = Objective(LossPlan(kind="topk", topk=64) if job["cached"] else LossPlan())
order = iter(range(len(batches)))
cache = None
if job["cached"]:
    import pathlib
    class Quiet:
        def emit(self, event): pass
        def check(self): pass
    own = Identity("t", "k", "d", size, "topk", 64, "fp16", (1.0,), 0)
    cache = capture(pathlib.Path(job["out"] + ".cache"), theirs, examples, own, Budget(), Quiet(), "bench")
    del theirs, teacher
    import gc; gc.collect()
def step(batch):
    start = next(order) * job["batch"]
    b = gather(range(start, start + len(batch)), examples, packing=False, device=torch.device("cpu"))
    n = len(b.labels)
    if cache is not None:
        side = cache.side(b, 1.0)
    else:
        with torch.no_grad():
            known = theirs.states(b)
        side = lambda part: Dense(theirs.head.logits(known[part], size))
    loss = fused_loss(ours.states(b), ours.head, b.labels, side, objective, size, weight=1 / n)
    loss.backward(); return loss.detach()
"""
    + LOOP
)

PEER = (
    COMMON
    + """
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from datasets import Dataset
from transformers import TrainerCallback
from trl.experimental.gkd import GKDConfig, GKDTrainer
tokenizer = AutoTokenizer.from_pretrained(job["student"], local_files_only=True)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
import tempfile
args = GKDConfig(output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=False, lmbda=0.0, beta=0.0, seq_kd=False,
    per_device_train_batch_size=job["batch"], gradient_accumulation_steps=1, max_steps=len(batches), learning_rate=1e-4,
    lr_scheduler_type="constant", gradient_checkpointing=job["checkpointing"], disable_dropout=True,
    report_to="none", save_strategy="no", logging_steps=1000, dataloader_num_workers=0, seed=0,
    remove_unused_columns=False)
words = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * len(rows)
class Trainer(GKDTrainer):
    # our rows in our order, whatever its own data set holds: the batches have to be the same
    def get_train_dataloader(self):
        return [collate(b) | {"prompts": collate(b)["input_ids"]} for b in batches]
times, first, clock = [], {}, [0.0]
class Clock(TrainerCallback):
    def on_step_begin(self, *a, **k): clock[0] = time.perf_counter()
    def on_step_end(self, *a, **k): times.append(time.perf_counter() - clock[0])
    def on_pre_optimizer_step(self, *a, **k):
        if "gradient" not in first:
            first["gradient"] = student.get_input_embeddings().weight.grad.clone().flatten()[::7]
trainer = Trainer(model=student, teacher_model=teacher, args=args, processing_class=tokenizer,
    train_dataset=Dataset.from_list(words), callbacks=[Clock()])
original = trainer.compute_loss
def watched(*a, **k):
    found = original(*a, **k)
    if "loss" not in first: first["loss"] = float(found[0] if isinstance(found, tuple) else found)
    return found
trainer.compute_loss = watched
models = resident()
trainer.train()
done(times, [sum(len(r["at"]) for r in b) for b in batches], first["loss"], first["gradient"])
"""
)


def rows_for(student: Path, count: int, tokens: int) -> list[dict[str, Any]]:
    """Rows of prompts and made-up answers, in the student's template; lengths differ as they do in use."""
    import random

    import yaml
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(student, local_files_only=True)
    panel = yaml.safe_load((ROOT / "resources" / "panels" / "neutral-writing.yaml").read_text("utf-8"))["prompts"]
    chooser = random.Random(0)
    rows = []
    for number in range(count):
        messages = [{"role": "user", "content": panel[number % len(panel)]}]
        head = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=False)
        said = " ".join(chooser.choice(panel) for _ in range(20))
        tail = tokenizer(said, add_special_tokens=False)["input_ids"][: chooser.randint(tokens // 2, tokens)]
        rows.append({"ids": head + tail, "at": list(range(len(head), len(head) + len(tail)))})
    return rows


def run(python: str, code: str, job: dict[str, Any]) -> dict[str, Any]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(job["threads"])}
    words = [python, "-c", code, json.dumps(job)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise SystemExit(f"a contender failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", type=Path, default=small_model_folder())
    parser.add_argument("--student", type=Path, default=small_model_folder())
    parser.add_argument("--peer", help="python of an environment with TRL")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=96, help="longest answer")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    contenders: dict[str, tuple[str, str, dict[str, Any]]] = {
        "ours": (sys.executable, OURS, {"cached": False}),
        "ours, cached": (sys.executable, OURS, {"cached": True}),
        "dense loop": (sys.executable, DENSE, {}),
    }
    if options.peer:
        contenders["GKD, no checkpointing"] = (options.peer, PEER, {"checkpointing": False})
        contenders["GKD, as it comes"] = (options.peer, PEER, {"checkpointing": True})
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.json"
        rows.write_text(json.dumps(rows_for(options.student, options.rows, options.tokens)))
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        peaks: dict[str, list[float]] = {name: [] for name in contenders}
        for turn in range(options.rounds):
            for name, (python, code, more) in contenders.items():
                job = {"teacher": str(options.teacher), "student": str(options.student), "rows": str(rows)}
                job |= {"batch": options.batch, "threads": options.threads, "root": str(ROOT), **more}
                job["out"] = str(Path(folder) / f"{name}-{turn}.pt")
                found = run(python, code, job)
                warm = slice(2, None)  # the first steps allocate
                speeds[name].append(sum(found["tokens"][warm]) / sum(found["times"][warm]))
                peaks[name].append(found["peak"] / 2**20)
        ours = torch.load(Path(folder) / "ours-0.pt", weights_only=True)
        for name in contenders:
            other = torch.load(Path(folder) / f"{name}-0.pt", weights_only=True)
            cosine = torch.nn.functional.cosine_similarity(ours["gradient"].double(), other["gradient"].double(), dim=0)
            print(
                f"{name:24} {statistics.median(speeds[name]):8.1f} supervised tokens/s "
                f"[{min(speeds[name]):.1f}, {max(speeds[name]):.1f}]  peak +{statistics.median(peaks[name]):.0f} MB  "
                f"loss {other['loss']:.6f}, minus ours {other['loss'] - ours['loss']:+.1e}  "
                f"gradient cosine {float(cosine):.7f}"
            )


if __name__ == "__main__":
    main()
