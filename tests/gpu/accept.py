"""What only a GPU can show, in parts that are called by name: see ``accept.sh``.

    python tests/gpu/accept.py OUT PART [PART ...]

Each part writes its figures to ``OUT/<part>.json`` as they come, a line each, so that what was
measured stays when a later one fails. ``--small`` uses dimensions that a CPU can train.
"""

import gc
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "src"), str(REPOSITORY / "tests" / "bench")]

import torch  # noqa: E402
import training  # noqa: E402

from cutoff import device, params  # noqa: E402
from cutoff.finetune import adapter  # noqa: E402
from cutoff.plan import architecture, memory  # noqa: E402

Note = Callable[..., None]


def qlora(note: Note, small: bool) -> None:
    """QLoRA at 7B's dimensions: ways of putting examples together, two lengths."""
    size = "small" if small else "7b"
    for length, way in ((512, "grouped"), (512, "padded"), (512, "packed"), (2048, "grouped")):
        note(**_training(size, True, length, way))


def lora(note: Note, small: bool) -> None:
    """bf16 LoRA at the dimensions of 0.5B and 7B."""
    for size in ("small",) if small else ("0.5b", "7b"):
        for length, way in ((512, "grouped"), (512, "packed"), (2048, "grouped")):
            note(**_training(size, False, length, way))


def options(note: Note, small: bool) -> None:
    """What might make QLoRA faster: Liger's kernels, no dropout, recomputing switched off or on."""
    size = "small" if small else "7b"
    for name, sft, lora_dropout in (
        ("as it is", {}, 0.05),
        ("no dropout", {}, 0.0),
        ("Liger kernels", {"use_liger_kernel": True}, 0.05),
        ("checkpointing", {"activation_checkpointing": True}, 0.05),
    ):
        try:
            note(option=name, **_training(size, True, 512, "grouped", sft, lora_dropout))
        except Exception as error:  # an option that is not installed is a line, not an end
            note(option=name, failed=f"{type(error).__name__}: {error}"[:300])


def export(note: Note, small: bool) -> None:
    """Export of 7B's dimensions: a 16-bit GGUF file from random weights."""
    from cutoff.export import gguf_writer

    with tempfile.TemporaryDirectory(dir=_largest_disk()) as folder:
        base = Path(folder, "base")
        _save_random("small" if small else "7b", base)
        for dtype in ("F16",) if small else ("BF16", "F16"):
            target = Path(folder, f"model.{dtype}.gguf")
            before, started = _peak_mb(), time.perf_counter()
            gguf_writer.write_gguf(base, None, target, dtype)
            seconds = time.perf_counter() - started
            note(dtype=dtype, gigabytes=round(target.stat().st_size / 1e9, 2),
                 seconds=round(seconds, 1), peak_mb=_peak_mb(), peak_mb_before=before)  # fmt: skip
            target.unlink()


def faults(note: Note, small: bool) -> None:
    """The tests that need a GPU, and memory that runs out on purpose."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/bench/test_training.py"],
        cwd=REPOSITORY, capture_output=True, text=True,
    )  # fmt: skip
    note(gpu_tests=(done.stdout.strip().splitlines() or ["no output"])[-1])
    if not torch.cuda.is_available():
        return
    for share in (0.2, 0.05):
        torch.cuda.set_per_process_memory_fraction(share)
        try:
            note(share_of_memory=share, **_training("0.5b", False, 2048, "grouped"))
        except Exception as error:
            note(share_of_memory=share, refused=f"{type(error).__name__}: {error}"[:300])
    torch.cuda.set_per_process_memory_fraction(1.0)


def plan(note: Note, small: bool) -> None:
    """The plan's memory for the passes that ``qlora`` and ``lora`` have measured before."""
    for path in sorted(OUT.glob("*lora.json")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if row.get("size") not in ("0.5b", "7b") or row.get("way") == "packed":
                continue
            p = params.load(row["size"], {"load_in_4bit": row["adapter"] == "qlora"})
            model = architecture.find(p)
            planned = memory.training(
                model, p, row["length"], row["micro batch"], row["checkpointing"], gpu=True
            )
            note(size=row["size"], adapter=row["adapter"], length=row["length"],
                 micro_batch=row["micro batch"], planned_gib=round(float(planned) / 2**30, 1),
                 measured_gib=row["peak_gib"])  # fmt: skip


def _training(
    size: str, four_bit: bool, length: int, way: str, sft: Any = None, dropout: float = 0.05
) -> dict[str, Any]:
    steps, batch = (3, 4) if size == "small" else (12, 16)
    if size == "small":
        length //= 8
    started = time.perf_counter()
    row = training.measure(size, four_bit, length, way, steps, batch, sft or {}, dropout)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return row | {"seconds_with_set_up": round(time.perf_counter() - started, 1)}


def _save_random(size: str, folder: Path) -> None:
    """A folder like that of the hub, in bf16."""
    here = device.find()
    model = training.random_model(size, False, here)
    model.to(torch.bfloat16).cpu().save_pretrained(folder, max_shard_size="4GB")
    for path in training.PHANTOM.iterdir():
        if path.suffix in (".json", ".jinja") and path.name != "config.json":
            shutil.copy(path, folder)


def _largest_disk() -> str:
    places = [place for place in ("/tmp", "/dev/shm", str(OUT)) if Path(place).is_dir()]
    return max(places, key=lambda place: shutil.disk_usage(place).free)


def _peak_mb() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        return int(found[1]) // 1000 if found else 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


PARTS = {part.__name__: part for part in (qlora, lora, options, export, faults, plan)}
OUT = Path("outputs/gpu")


def main(arguments: list[str]) -> int:
    """Run the parts that are named; 1 when one of them failed."""
    global OUT
    small = "--small" in arguments
    out, *names = [word for word in arguments if word != "--small"]
    OUT = Path(out)
    OUT.mkdir(parents=True, exist_ok=True)
    adapter.prepare_libraries(load_in_4bit=True)
    status = 0
    for name in names or PARTS:
        started = time.perf_counter()
        with open(OUT / f"{name}.json", "w") as file:

            def note(name: str = name, file: Any = file, **figures: Any) -> None:
                file.write(json.dumps(figures) + "\n")
                file.flush()
                print(name, json.dumps(figures), flush=True)

            try:
                PARTS[name](note, small)
            except Exception:
                status = 1
                note(failed=traceback.format_exc()[-1500:])
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
