"""What is measured of each exported model: real evaluation prompts through every link.

transformers with the adapter as trained -> 16-bit GGUF -> quantised GGUF -> server. ``chain``
says what each link is. Merging has no link of its own: the reference is never merged, so a
fault in it breaks the first link, and the base model, which has nothing to merge, tells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cutoff import deadline, files
from cutoff.chat_template import load_tokenizer
from cutoff.engines import chat
from cutoff.export import file_facts, gguf_tokenizer
from cutoff.export.parity import chain, transcript
from cutoff.export.parity.chain import Limits, Link
from cutoff.export.parity.gate import WORDS
from cutoff.export.parity.transcript import Transcript
from cutoff.models import Files
from cutoff.params import Params
from cutoff.prompts import Message, render_rag
from cutoff.records import Question
from cutoff.report import wording


@dataclass(frozen=True)
class Subject:
    """A model under test: its name, the folder of its base model, its answers in transformers."""

    model: str
    base: Path
    reference: Sequence[Transcript]


def subject(
    model: str, base: Path, adapter: Path | None, chats: Sequence[list[Message]], p: Params
) -> Subject:
    """One model with its answers to ``chats``."""
    return Subject(model, base, transcript.by_transformers(base, adapter, chats, p))


def limits(base: Path, questions: Sequence[Question], p: Params) -> Limits:
    """What the links of a run are held against: thresholds from ``p``, lengths of its prompts.

    The room for prompt and answer is what the server is asked for, or what the model was
    made for where that is less. ``questions`` are those of ``eval.jsonl``.
    """
    full, served = p.export_dtype, p.quantization
    made_for = files.read_json(base / "config.json").get("max_position_embeddings", p.num_ctx)
    tokenizer = load_tokenizer(base)
    longest = [render_rag(question["question"], question["context"]) for question in questions]
    lengths = [len(each.prompt_ids) for each in transcript.unanswered(tokenizer, longest)]
    return Limits(
        agreement={served: p.parity_min_quantised_agreement, full: p.parity_min_f16_agreement},
        divergence={served: p.parity_max_quantised_kl, full: p.parity_max_f16_kl},
        stop_rate=p.parity_min_stop_rate,
        max_new_tokens=p.max_new_tokens,
        longest=max(lengths) + p.max_new_tokens,
        context=min(p.num_ctx, made_for),
        bos_id=gguf_tokenizer.bos_id(tokenizer),
    )


def measure(
    subject: Subject, of_model: Files, held_against: Limits, p: Params
) -> tuple[list[Link], list[dict[str, str]]]:
    """The links of one exported model, and the answers that are not all the same.

    A row of the second list holds the question and the text of every answer.
    """
    deadline.check("the model files are made and kept, measuring them comes next")
    paths: dict[str, Path] = {p.export_dtype: of_model.full}
    if of_model.served != of_model.full:
        paths[p.quantization] = of_model.served
    reference = subject.reference
    given = {
        name: transcript.by_llama_cpp(path, of_model.lora, subject.base, reference, p)
        for name, path in paths.items()
    }
    known = [file_facts.read(path) for path in paths.values()]
    origins = [facts and facts["made_from"] for facts in known]
    found = chain.compare(subject.model, reference, given, held_against, origins)
    differing = [
        {
            "model": subject.model,
            "question": expected.messages[-1]["content"].rpartition("Question: ")[2],
            "transformers": expected.text,
            **{name: of_file[i].text for name, of_file in given.items()},
        }
        for i, expected in enumerate(reference)
        if any(of_file[i].answer_ids != expected.answer_ids for of_file in given.values())
    ]
    return found, differing


def measure_served(
    subject: Subject,
    server: str,
    engine: chat.Engine | chat.BatchEngine,
    held_against: Limits,
    p: Params,
) -> list[Link]:
    """The link to a server that is asked as in 04; ``server`` is its name in the table."""
    given = transcript.answered(engine, load_tokenizer(subject.base), subject.reference, p)
    return chain.compare_served(subject.model, server, subject.reference, given, held_against)


def table(found: Sequence[Link]) -> pd.DataFrame:
    """The links for people: columns link, metric, required and one column per model."""
    links = pd.DataFrame(found)
    # Stop rates are held against each model's own; the highest threshold stands for all.
    highest = links.groupby(["link", "metric"])["threshold"].transform("max")
    links["required"] = links["rule"].map(WORDS) + highest.map("{:g}".format)
    links["model"] = links["model"].map(wording.label)
    wide = links.pivot_table("value", ["link", "metric", "required"], "model", sort=False)
    return wide.reset_index().rename_axis(columns=None)
