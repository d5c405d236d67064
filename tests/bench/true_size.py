"""The whole pipeline on a model with the true dimensions of Qwen2.5 0.5B and random weights.

    python tests/bench/true_size.py /a/folder/with/10/GB [name=value ...]

Trains a few steps, exports, quantises, measures parity and answers a few questions, on
whatever machine this is, and prints file sizes, peak memory and seconds of each stage. The
weights know nothing, so thresholds on answers say nothing; sizes, memory and the
faithfulness of the export are those of the real model.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

REPOSITORY = Path(__file__).parents[2]
PHANTOM = (
    REPOSITORY / "src/cutoff/phantom/base_model"
)  # its tokenizer; the rows beyond it are unused
# config.json of Qwen/Qwen2.5-0.5B-Instruct.
CONFIG = {
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rope_theta": 1_000_000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
# Few questions, few steps. Greedy answers of random weights hang on near ties, and none ends.
SMALL = (
    "size=tiny limit=8 epochs=1 batch_size=4 loss_eval_questions=2 learning_rate=1e-4 num_ctx=2048 "
    "max_new_tokens=16 parity_prompts=4 parity_min_f16_agreement=0 "
    "parity_min_quantised_agreement=0 bootstrap_replicates=200"
).split()


def make_model(folder: Path) -> None:
    """A folder like that of the hub: bf16 safetensors, config.json, tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(PHANTOM)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = Qwen2ForCausalLM(Qwen2Config(**CONFIG, **ends, bos_token_id=None))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(folder: Path, given: list[str]) -> int:
    base = folder / "qwen2.5-0.5b-random"
    if not (base / "model.safetensors").exists():
        make_model(base)
    command = [sys.executable, "-m", "cutoff", "run", *SMALL, f"base_model={base}"]
    command += [f"output_dir={folder / 'outputs'}", *given]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    status = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
    for path in sorted((folder / "outputs").glob("limit-*/tiny/models/*.gguf")):
        print(f"{path.name:<24} {path.stat().st_size / 1e6:9.1f} MB")
    for path in (folder / "outputs").glob("limit-*/tiny/run.json"):
        for name, entry in json.loads(path.read_bytes())["stages"].items():
            if entry.get("key"):
                print(f"{name:<24} {entry['seconds']:9.1f} s, {entry['peak_rss_mb']:,} MB at most")
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
