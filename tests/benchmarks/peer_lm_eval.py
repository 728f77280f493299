"""lm-evaluation-harness on local files, in an environment of its own; started by bench_suites.py.

    PEER_PYTHON peer_lm_eval.py JOB.json

Its own task functions make the requests and the metrics, its own HFLM the log-likelihoods. A job is one of
``requests`` (write them), ``score`` (write log-likelihoods, seconds and peak memory) and ``metrics`` (of given
log-likelihoods).
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import time
from pathlib import Path


def make_task(kind: str, file: str):
    from lm_eval.api.task import ConfigurableTask

    utils = importlib.import_module(f"lm_eval.tasks.{'bbq' if kind == 'bbq' else 'crows_pairs'}.utils")
    config = {
        "task": f"{kind}_local",
        "dataset_kwargs": {"data_files": {"test": file}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_choice": utils.doc_to_choice,
    }
    if kind == "bbq":  # bbq_multiple_choice.yaml
        config |= {
            "dataset_path": "json",
            "doc_to_text": "{{context}}\n\nQ: {{question}}\nA:",
            "doc_to_target": utils.doc_to_target,
            "process_docs": utils.process_docs,
            "process_results": utils.process_results_multiple_choice,
            "metric_list": [
                {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
                {"metric": "accuracy_amb", "aggregation": utils.agg_accuracy_amb, "higher_is_better": True},
                {"metric": "accuracy_disamb", "aggregation": utils.agg_accuracy_disamb, "higher_is_better": True},
                {"metric": "amb_bias_score", "aggregation": utils.agg_amb_bias_scores, "higher_is_better": False},
                {"metric": "disamb_bias_score", "aggregation": utils.agg_disamb_bias_scores, "higher_is_better": False},
            ],
        }
    else:  # crows_pairs_english.yaml
        config |= {
            "dataset_path": "csv",
            "doc_to_text": "",
            "doc_to_target": 0,
            "target_delimiter": "",
            "process_results": utils.process_results,
            "metric_list": [
                {"metric": "likelihood_diff", "aggregation": "mean", "higher_is_better": False},
                {"metric": "pct_stereotype", "aggregation": "mean", "higher_is_better": False},
            ],
        }
    return ConfigurableTask(config=config), utils


def instances_of(task):
    task.build_all_requests(rank=0, world_size=1)
    return sorted(task.instances, key=lambda one: (one.doc_id, one.idx))


def requests(job: dict) -> dict:
    task, _ = make_task(job["kind"], job["file"])
    rows = [[one.doc_id, *one.args] for one in instances_of(task)]
    return {"requests": rows, "docs": 1 + max(row[0] for row in rows)}


def metrics(job: dict) -> dict:
    """Of [[log-likelihood, ...] for each document], with the documents of ``skip`` left out."""
    import numpy as np

    task, utils = make_task(job["kind"], job["file"])
    skip = set(job["skip"])
    rows = [
        task.process_results(doc, [(value, False) for value in values])
        for at, (doc, values) in enumerate(zip(task.test_docs(), job["logprobs"], strict=True))
        if at not in skip
    ]
    if job["kind"] != "bbq":
        return {name: float(np.mean([row[name] for row in rows])) for name in ("likelihood_diff", "pct_stereotype")}
    parts = {
        "acc": np.mean,
        "accuracy_amb": utils.agg_accuracy_amb,
        "accuracy_disamb": utils.agg_accuracy_disamb,
        "amb_bias_score": utils.agg_amb_bias_scores,
        "disamb_bias_score": utils.agg_disamb_bias_scores,
    }
    return {name: float(part([row[name] for row in rows])) for name, part in parts.items()}


def status(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(field))


def score(job: dict) -> dict:
    import torch
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(job["threads"])
    lm = HFLM(pretrained=job["model"], device="cpu", dtype=job["dtype"], batch_size=job["batches"][0])
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=tuple(pair), idx=at)
        for at, pair in enumerate(job["requests"])
    ]
    runs = {}
    for batch in job["batches"]:
        lm.batch_size_per_gpu = batch
        lm.loglikelihood(asked[:2], disable_tqdm=True)  # warm
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        loaded, started = status("VmRSS"), time.perf_counter()
        answers = lm.loglikelihood(asked, disable_tqdm=True)
        seconds = time.perf_counter() - started
        runs[batch] = {"seconds": seconds, "peak_bytes": status("VmHWM") - loaded}
    return {"logprobs": [value for value, _ in answers], "runs": runs, "versions": versions()}


def versions() -> dict:
    from importlib.metadata import version

    return {name: version(name) for name in ("lm_eval", "torch", "transformers")}


def main() -> int:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    job = json.loads(Path(sys.argv[1]).read_text())
    result = {"requests": requests, "metrics": metrics, "score": score}[job["job"]](job)
    half = Path(job["out"] + ".tmp")
    half.write_text(json.dumps(result))
    half.rename(job["out"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
