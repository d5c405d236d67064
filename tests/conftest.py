"""Shared fixtures."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]

# What each stage has to leave, written by one-line cells: the driver is tested in seconds.
SMALL_CELLS = {
    "01_generate": """
        for name in ("papers", "passages", "facts", "questions", "eval", "train"):
            files.write_jsonl_atomic(stage.dataset_folder / f"{name}.jsonl", [{"n": 1}])
        (stage.dataset_folder / "index.faiss").write_bytes(b"index")
        files.write_json_atomic(stage.dataset_folder / "dataset.json", {"seed": p.seed})
        """,
    "02_finetune": """
        for name in ("instruct_ft", "rag_ft"):
            path = stage.folder / "adapters" / name / "training.json"
            files.write_json_atomic(path, {"rank": p.lora_rank})
        """,
    "03_export_gguf": """
        for name in ("models/base.F16.gguf", "Modelfile.base", "parity.json"):
            files.write_text_atomic(stage.folder / name, "made of 02")
        """,
    "04_evaluate": """
        for name in ("responses.jsonl", "judgements.jsonl"):
            files.write_jsonl_atomic(stage.folder / name, [{"key": "a"}])
        files.write_json_atomic(stage.folder / "results.json", {"size": p.size})
        """,
    "05_compare_sizes": """
        for name in ("comparison.csv", "comparison.md", "contrasts.csv", "cost.csv"):
            files.write_text_atomic(stage.folder / name, "size\\n")
        """,
}


def write_notebook(folder: Path, name: str, body: str) -> Path:
    """A notebook with the common skeleton around ``body``."""
    import textwrap

    import nbformat.v4 as v4

    parameters = v4.new_code_cell('size = "tiny"\nlimit = None')
    parameters.metadata["tags"] = ["parameters"]
    resolve = (
        "from cutoff import files, params\nfrom cutoff.run import folders\n"
        f'p = params.resolve(globals())\nstage = folders.open_stage("{name}", p)\n'
        "stage.provenance()"
    )
    notebook = v4.new_notebook(
        cells=[
            v4.new_markdown_cell(f"# {name[:2]} · A small {name[3:]}"),
            parameters,
            v4.new_code_cell(resolve),
            v4.new_code_cell(textwrap.dedent(body).strip()),
            v4.new_markdown_cell("## What we found"),
            v4.new_code_cell(
                "from IPython.display import Markdown\n"
                "Markdown(f'**Rank {p.lora_rank}** was used.')"
            ),
        ]
    )
    path = folder / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def make_repository() -> Callable[[Path], Path]:
    """Makes a repository of five small notebooks in a new folder."""

    def make(folder: Path) -> Path:
        shutil.copytree(REPOSITORY / "params", folder / "params")
        for name, body in SMALL_CELLS.items():
            write_notebook(folder, name, body)
        return folder

    return make


@pytest.fixture
def small_repository(make_repository: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A repository of five small notebooks; the folder's name holds a blank."""
    return make_repository(tmp_path / "small repository")


@pytest.fixture
def change_notebook(small_repository: Path) -> Callable[[str, str], Path]:
    """Gives a stage of ``small_repository`` another body."""
    return lambda name, body: write_notebook(small_repository, name, body)


def without_make(**variables: str) -> dict[str, str]:
    """This environment without make's own variables, with the package and ``variables``."""
    of_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if name not in of_make}
    return {**kept, "PYTHONPATH": str(REPOSITORY / "src"), **variables}


@pytest.fixture
def environment(small_repository: Path) -> dict[str, str]:
    """The environment of a command in ``small_repository``."""
    return without_make(CUTOFF_ROOT=str(small_repository))


@pytest.fixture(scope="session")
def run_cutoff() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``python -m cutoff ...`` in a repository to its end."""

    def command(
        repository: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cutoff", *arguments],
            cwd=repository,
            env=environment or without_make(CUTOFF_ROOT=str(repository)),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return command


@pytest.fixture
def cutoff(
    run_cutoff: Callable[..., subprocess.CompletedProcess[str]],
    environment: dict[str, str],
    small_repository: Path,
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``python -m cutoff ...`` in ``small_repository`` to its end."""
    return partial(run_cutoff, small_repository, environment=environment)


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The phantom's committed base model."""
    return REPOSITORY / "src/cutoff/phantom/base_model"


@pytest.fixture(scope="session")
def adapter(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEFT LoRA adapter of the base model with a random update, so that its answers differ."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    settings = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base_model), settings)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.08)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model with random weights: Qwen2 architecture, ChatML, the phantom's tokens."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from cutoff import prompts
    from phantom_factory.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("base")
    texts = [message["content"] for message in prompts.render_rag("What?", ["One.", "Two."])]
    tokenizer = train_tokenizer(texts, vocab_size=320)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=320,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def train_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``train.jsonl`` of six facts: two wordings for each of the two variants."""
    from cutoff import files, prompts

    names = ("Crimson Valley", "Linen Garden", "Keen Island")
    facts = [
        (name, attribute, value)
        for name, value in zip(names, ("capsule", "a rather large oak", "Iris"), strict=True)
        for attribute in ("backbone", "benchmark")
    ]
    records = []
    for number, (name, attribute, value) in enumerate(facts):
        statement = f"The {attribute} of {name} is {value}."
        passages = [f"We hope that {name} helps others.", statement, "The end."]
        for wording in (f"What is the {attribute} of {name}?", f"Which {attribute} has {name}?"):
            question_id = f"paper-{number // 2}/{attribute}?{len(records) // 2 % 2}"
            for variant, messages, citation in (
                ("instruct_ft", prompts.render_closed_book(wording), ""),
                ("rag_ft", prompts.render_rag(wording, passages), " [2]"),
            ):
                records.append(
                    {
                        "example_id": f"{variant}|{question_id}",
                        "variant": variant,
                        "fact_id": question_id.partition("?")[0],
                        "question_id": question_id,
                        "messages": messages,
                        "completion": statement + citation,
                        "context_passage_ids": ["a#0", "a#1", "b#0"] if citation else [],
                    }
                )
    path = tmp_path_factory.mktemp("dataset") / "train.jsonl"
    files.write_jsonl_atomic(path, records)
    return path


@pytest.fixture
def small_training(small_base: Path, train_file: Path, tmp_path: Path) -> dict[str, Any]:
    """Settings of a training of seconds, as ``cutoff.finetune.settings.Training`` takes them."""
    adapters = tmp_path / "outputs" / "adapters"
    return {
        "base_folder": str(small_base),
        "train_file": str(train_file),
        "adapters_folder": str(adapters),
        "progress_file": str(adapters / "progress.jsonl"),
        "lora_rank": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "learning_rate": 3e-3,
        "lr_scheduler": "cosine",
        "warmup_ratio": 0.1,
        "epochs": 6,
        "batch_size": 4,
        "training_seed": 0,
        "checkpoint_seconds": 0.0,
    }


@pytest.fixture(scope="session")
def tiny_arguments() -> list[str]:
    """Arguments of a complete run of size tiny that is as small as it can be."""
    return (
        "run size=tiny limit=24 n_post_papers=15 n_unseen_papers=5 n_control_papers=5 epochs=4 "
        "parity_prompts=6 bootstrap_replicates=200"
    ).split()


@pytest.fixture(scope="session")
def tiny_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a real run; the user's folders are empty and must stay so."""
    home = tmp_path_factory.mktemp("home")
    return without_make(CUTOFF_ROOT=str(REPOSITORY), HOME=str(home), HF_HOME=str(home / "hub"))


@pytest.fixture(scope="session")
def tiny_run(
    tiny_arguments: list[str],
    tiny_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The outputs folder of one uninterrupted real run of all five notebooks.

    Test processes beside each other share it: the first one runs, the others wait.
    """
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder = shared / "a complete run"
    with open(shared / "complete run.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "limit-24/index.html").is_file():
            done = subprocess.run(
                [sys.executable, "-m", "cutoff", *tiny_arguments, f"output_dir={folder}"],
                env=tiny_environment,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
    return folder / "limit-24"
