"""GGUF, adapters, shards: what is loaded is what lies on the disk, and what cannot be is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from core.catalog import memory
from core.engine.lm import load_model
from core.engine.lm.load import _free, _unsupported
from core.errors import EnvironmentFault, InputError
from core.specs import LoadOptions
from core.types import ModelRef
from tests.engine.lm.conftest import Maker, made_tokenizer

# PEFT asks transformers by an old name when the tests make adapters
pytestmark = [pytest.mark.engine, pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")]

FP32 = LoadOptions(dtype="fp32", device="cpu", force=True)
REQUESTS = [("name a fruit", " dog"), ("the quick brown fox", " jumps over the lazy dog"), ("a tree", " in the garden")]


def scores(ref: ModelRef, options: LoadOptions = FP32) -> list[float]:
    with load_model(ref, options) as lm:
        return [score.logprob for score in lm.score(REQUESTS)]


# GGUF

GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(folder: Path, out: Path) -> None:
    """Write a Llama folder as GGUF, its matrices in Q8_0, and put the rounded weights back into the folder."""
    import gguf
    from gguf.quants import dequantize, quantize

    config = json.loads((folder / "config.json").read_text())
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    weights = load_file(folder / "model.safetensors")
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    writer = gguf.GGUFWriter(str(out), "llama")
    writer.add_name("made")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config["vocab_size"])
    vocabulary = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in vocabulary])
    writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in list(weights.items()):
        array = tensor.float().numpy()
        stem, _, ending = name.rpartition(".")
        block = ""
        if stem.startswith("model.layers."):
            _, _, number, stem = stem.split(".", 3)
            block = f"blk.{number}."
        target = f"{block}{GGUF_NAMES[stem]}.{ending}"
        if array.ndim == 1:
            writer.add_tensor(target, array)
            continue
        packed = quantize(array, kind)
        weights[name] = torch.from_numpy(np.ascontiguousarray(dequantize(packed, kind)))
        count = heads.get(stem.split(".")[-1])
        if count:  # llama.cpp keeps the rotary halves of a head interleaved
            packed = quantize(array[np.arange(len(array)).reshape(count, 2, -1).swapaxes(1, 2).reshape(-1)], kind)
        writer.add_tensor(target, packed, raw_dtype=kind)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_gives_the_scores_of_its_dequantised_weights(make: Maker, tmp_path: Path) -> None:
    folder = make("llama")
    file = tmp_path / "made.gguf"
    write_gguf(folder, file)
    with load_model(ModelRef(str(file)), FP32) as lm:
        assert any("not the deployed artefact" in note for note in lm.notes)
        assert all(parameter.dtype == torch.float32 for parameter in lm.model.parameters())
        from_file = [score.logprob for score in lm.score(REQUESTS)]
    assert from_file == pytest.approx(scores(ModelRef(str(folder))), abs=2e-3)


def test_a_gguf_file_is_not_quantised_again(make: Maker, tmp_path: Path) -> None:
    file = tmp_path / "made.gguf"
    write_gguf(make("llama"), file)
    with pytest.raises(InputError, match=r"--quant none"):
        load_model(ModelRef(str(file)), LoadOptions(quant="nf4", device="cpu", force=True))


# adapters


def lora(base: Path, out: Path) -> Path:
    torch.manual_seed(2)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(out)
    return out


@pytest.mark.parametrize("alone", [False, True])
def test_an_adapter_changes_the_logits_as_peft_does(make: Maker, tmp_path: Path, alone: bool) -> None:
    from peft import PeftModel

    base = make("llama")
    adapter = lora(base, tmp_path / "adapter")
    ref = ModelRef(str(adapter)) if alone else ModelRef(str(base), str(adapter))  # it names its base itself
    with load_model(ref, FP32) as lm:
        ids = torch.tensor([lm._tokenize(REQUESTS[0][0])])
        with torch.inference_mode():
            merged = lm.model(ids).logits
        assert [score.logprob for score in lm.score(REQUESTS)] != pytest.approx(scores(ModelRef(str(base))), abs=1e-2)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    with torch.inference_mode():
        assert torch.allclose(merged, plain(ids).logits, atol=1e-3)


def test_an_adapter_stands_on_quantised_weights(make: Maker, tmp_path: Path) -> None:
    base = make("llama")
    adapter = lora(base, tmp_path / "adapter")
    with load_model(ModelRef(str(base), str(adapter)), LoadOptions(device="cpu", quant="nf4", force=True)) as lm:
        names = {type(module).__name__ for module in lm.model.modules()}
        assert any("Linear4bit" in name for name in names)
        assert lm._forward.separable
        with_it = [score.logprob for score in lm.score(REQUESTS)]
        with lm.model.disable_adapter():
            without = [score.logprob for score in lm.score(REQUESTS)]
    assert with_it != pytest.approx(without, abs=1e-2)


def test_an_adapter_of_another_base_is_refused(make: Maker, tmp_path: Path) -> None:
    adapter = lora(make("llama", name="large", hidden_size=128), tmp_path / "adapter")
    with pytest.raises(InputError, match=r"does not fit this base: its tensors have other shapes\. Give the base"):
        load_model(ModelRef(str(make("llama")), str(adapter)), FP32)


def test_an_adapter_that_lacks_layers_is_refused(make: Maker, tmp_path: Path) -> None:
    base = make("llama")
    adapter = lora(base, tmp_path / "adapter")
    weights = load_file(adapter / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if ".layers.0." in name}
    assert 0 < len(kept) < len(weights)
    save_file(kept, adapter / "adapter_model.safetensors")
    with pytest.raises(InputError, match="weights for some of the layers that it names are missing"):
        load_model(ModelRef(str(base), str(adapter)), FP32)


def test_an_adapter_for_layers_that_are_not_there_is_refused(make: Maker, tmp_path: Path) -> None:
    adapter = lora(make("llama"), tmp_path / "adapter")
    with pytest.raises(InputError, match="The adapter adapter does not fit this base"):
        load_model(ModelRef(str(make("gpt2", name="other")), str(adapter)), FP32)


def test_a_soft_prompt_is_refused(make: Maker, tmp_path: Path) -> None:
    base = make("llama")
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "prompt")
    with pytest.raises(InputError, match="it is a soft prompt, not weights"):
        load_model(ModelRef(str(base), str(tmp_path / "prompt")), FP32)


def test_a_pickled_adapter_is_never_loaded(make: Maker, tmp_path: Path) -> None:
    base = make("llama")
    adapter = lora(base, tmp_path / "adapter")
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"pickle files \(\.bin\).* Ask its publisher for safetensors"):
        load_model(ModelRef(str(base), str(adapter)), FP32)


# refusals


def test_the_advice_to_trust_the_folder_is_not_passed_on() -> None:
    fault = _unsupported("m", ValueError("Please pass the argument `trust_remote_code=True` to allow custom code"))
    assert fault.code == "untrusted_code"
    assert "trust_remote_code" not in str(fault)


def test_a_missing_package_is_named() -> None:
    fault = _unsupported("m", ImportError("Loading a GPTQ quantized model requires gptqmodel"))
    assert "requires gptqmodel" in fault.message
    assert fault.hint.startswith("Install the package it names")


def test_no_memory_is_a_fault_of_the_machine() -> None:
    error = RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
    assert isinstance(_unsupported("m", error), EnvironmentFault)


def test_the_cpu_is_not_measured_by_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_gpu_memory", lambda: 2**20)
    free = _free("cpu", 2**20)
    assert free is not None
    assert free > 2**20
    monkeypatch.setattr(memory, "free_gpu_memory", lambda: None)
    assert _free("cpu", 77) == 77


# shards


def test_four_shards_are_one_model(make: Maker) -> None:
    sharded = make("llama", name="four", shard="110KB")
    assert len(list(sharded.glob("model-*.safetensors"))) >= 4
    whole = make("llama", name="one")
    assert scores(ModelRef(str(sharded))) == pytest.approx(scores(ModelRef(str(whole))), abs=1e-5)


def test_a_missing_shard_is_refused(make: Maker) -> None:
    sharded = make("llama", shard="110KB")
    sorted(sharded.glob("model-*.safetensors"))[1].unlink()
    with pytest.raises(InputError):
        load_model(ModelRef(str(sharded)), FP32)


MEASURE = """
import sys, threading, time
from pathlib import Path
import torch, transformers, bitsandbytes, accelerate
from core.engine.lm import load_model
from core.specs import LoadOptions
from core.types import ModelRef

transformers.AutoModelForCausalLM, transformers.BitsAndBytesConfig

def anonymous():
    # pages of the mapped files can be dropped by the system at any time: they are not needed memory
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

before = anonymous()
peak, done = [before], threading.Event()

def watch():
    while not done.is_set():
        peak.append(anonymous())
        time.sleep(0.01)

thread = threading.Thread(target=watch)
thread.start()
lm = load_model(ModelRef(sys.argv[1]), LoadOptions(quant=sys.argv[2], device="cpu", force=True))
done.set()
thread.join()
kind = {"nf4": "Linear4bit", "int8": "Linear8bitLt"}[sys.argv[2]]
layers = sum(type(module).__name__ == kind for module in lm.model.modules())
print(before, max(peak), anonymous(), lm.model.get_memory_footprint(), layers)
"""


@pytest.fixture(scope="module")
def billion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 1.1 billion random weights in four bf16 shards, written shard by shard (2.2 GB)."""
    from transformers import LlamaConfig

    folder = tmp_path_factory.mktemp("billion")
    made = made_tokenizer()
    made.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(made), hidden_size=2048, intermediate_size=8192, num_hidden_layers=18, num_attention_heads=16,
        num_key_value_heads=8, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        dtype="bfloat16", architectures=["LlamaForCausalLM"],
    )  # fmt: skip
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in AutoModelForCausalLM.from_config(config).state_dict().items()}
    shapes.pop("lm_head.weight")
    size = 2 * sum(shape.numel() for shape in shapes.values())
    assert size >= 2 * 10**9
    index: dict[str, str] = {}
    names = list(shapes)
    for shard in range(4):
        file = f"model-{shard + 1:05}-of-00004.safetensors"
        part = names[shard * len(names) // 4 : (shard + 1) * len(names) // 4]
        tensors = {name: torch.empty(shapes[name], dtype=torch.bfloat16).normal_(0, 0.02) for name in part}
        save_file(tensors, folder / file, {"format": "pt"})
        index |= dict.fromkeys(part, file)
    stated = {"metadata": {"total_size": size}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(stated))
    return folder


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("quant", ["nf4", "int8"])
def test_shards_stream_and_quantise_one_at_a_time(billion: Path, quant: str) -> None:
    """The peak stays below the quantised size and one shard."""
    command = [sys.executable, "-c", MEASURE, str(billion), quant]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=os.environ)
    assert done.returncode == 0, done.stderr
    before, peak, after, footprint, layers = map(int, done.stdout.split())
    shard = max(file.stat().st_size for file in billion.glob("*.safetensors"))
    print(f"{quant}: before {before:,} peak {peak:,} after {after:,} quantised {footprint:,} shard {shard:,}")
    assert layers == 18 * 7
    assert peak - before <= footprint + shard
