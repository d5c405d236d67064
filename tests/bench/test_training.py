"""Training throughput. ``python tests/bench/training.py`` measures; here it is tried out, and on
a machine with a GPU measured at the true dimensions of 0.5B and 7B.

pytest -m gpu -s tests/bench/test_training.py
"""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")


@pytest.fixture(scope="module")
def training() -> ModuleType:
    path = Path(__file__).with_name("training.py")
    spec = importlib.util.spec_from_file_location("bench_training", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_case_of_the_script_runs_on_a_small_model(
    training: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    options = "--size small --adapter qlora lora --length 48 --steps 2 --batch-size 4"
    rows = training.main(options.split())
    assert [(row["adapter"], row["way"]) for row in rows] == [
        (kind, way) for kind in ("qlora", "lora") for way in training.WAYS
    ]
    assert all(row["tokens_per_second"] > 0 for row in rows)


def test_packed_examples_do_not_see_each_other_with_sdpa(training: ModuleType) -> None:
    """What packing without a flash kernel stands on: position ids alone keep examples apart."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    here = training.device.Device(None, "CPU", "float32", "")
    model = training.random_model("small", False, here).eval()
    rows = [{"input_ids": list(range(100, 100 + n))} for n in (5, 9)]
    packed = {"input_ids": [i for row in rows for i in row["input_ids"]], "seq_lengths": [5, 9]}
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([packed])
    with torch.no_grad():
        together = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"]).logits[0]
        apart = [model(input_ids=torch.tensor([row["input_ids"]])).logits[0] for row in rows]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-4, atol=1e-5)


@pytest.mark.bench
@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("size", ["0.5b", "7b"])
def test_throughput_at_the_true_dimensions(training: ModuleType, size: str) -> None:
    rows = training.main(f"--size {size} --adapter qlora lora --length 512 2048".split())
    print()
    for row in rows:
        mfu = "unknown" if row["mfu"] is None else f"{100 * row['mfu']:.1f} %"
        print(
            f"{row['size']:>5} {row['adapter']:>5} {row['length']:>5} {row['way']:>8} "
            f"{row['tokens_per_second']:>8,} tokens/s  MFU {mfu}  {row['peak_gib']} GiB  "
            f"micro batch {row['micro batch']}"
        )
