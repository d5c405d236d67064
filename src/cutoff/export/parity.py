"""Is the model that is served the model that was trained?

Real evaluation prompts go through every link of the chain: transformers with the
adapter as trained -> 16-bit GGUF -> quantised GGUF -> server. ``links`` says what each link
is; they go to ``parity.json`` and 04 calls ``check``, which does not let it start when one
is broken or a model file is no longer the one that was measured.

Merging has no link of its own: the 16-bit file is written from the merged weights as they
are formed, one tensor at a time, and the reference is never merged. A fault in either
breaks the same link, and the base model, which has nothing to merge, tells which it was.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cutoff import deadline, files
from cutoff.engines import chat
from cutoff.errors import CutoffError
from cutoff.export import answers
from cutoff.export.answers import Answer
from cutoff.export.gguf_header import MADE_FROM_KEY, recorded
from cutoff.export.links import Limits, Link, compare, compare_served, road
from cutoff.models import Files
from cutoff.params import Params
from cutoff.report import wording

if TYPE_CHECKING:
    import pandas as pd

SAMPLES = 64
SAMPLE_BYTES = 2**16

WORDS = {"min": "at least ", "max": "at most ", "equal": ""}


def limits(base: Path, questions: Sequence[dict[str, Any]], p: Params) -> Limits:
    """What the links of a run are held against: thresholds from ``p``, lengths of its prompts.

    The room for prompt and answer is what the server is asked for, or what the model was
    made for where that is less.
    """
    full, served = p.export_dtype, p.quantization
    made_for = files.read_json(base / "config.json").get("max_position_embeddings", p.num_ctx)
    return Limits(
        agreement={served: p.parity_min_quantised_agreement, full: p.parity_min_f16_agreement},
        divergence={served: p.parity_max_quantised_kl, full: p.parity_max_f16_kl},
        stop_rate=p.parity_min_stop_rate,
        max_new_tokens=p.max_new_tokens,
        longest=answers.longest_prompt(base, questions) + p.max_new_tokens,
        context=min(p.num_ctx, made_for),
    )


def measure(
    model: str,
    files: Files,
    base: Path,
    reference: Sequence[Answer],
    held_against: Limits,
    p: Params,
) -> tuple[list[Link], list[dict[str, str]]]:
    """The links of one exported model, and the answers that are not all the same.

    ``reference``: the answers of transformers. A row of the second list holds the question
    and the text of every answer.
    """
    deadline.check("the model files are made and kept, measuring them comes next")
    chain: dict[str, Path] = {p.export_dtype: files.full}
    if files.served != files.full:
        chain[p.quantization] = files.served
    given = {
        name: answers.answer_with_llama_cpp(path, reference, p, files.lora)
        for name, path in chain.items()
    }
    bos_ids = answers.bos_ids(base, files.served)
    origins = [recorded(path, MADE_FROM_KEY) for path in chain.values()]
    found = compare(model, reference, given, bos_ids, held_against, origins)
    differing = [
        {
            "model": model,
            "question": expected.messages[-1]["content"].rpartition("Question: ")[2],
            "transformers": expected.text,
            **{name: of_file[i].text for name, of_file in given.items()},
        }
        for i, expected in enumerate(reference)
        if any(of_file[i].answer_ids != expected.answer_ids for of_file in given.values())
    ]
    return found, differing


def measure_served(
    model: str,
    server: str,
    engine: chat.Engine | chat.BatchEngine,
    base: Path,
    reference: Sequence[Answer],
    held_against: Limits,
    p: Params,
) -> list[Link]:
    """The link to a server that is asked as in 04; ``server`` is its name in the table."""
    as_texts = answers.retokenised(base, reference)
    served = answers.answer_with_engine(engine, base, reference, p)
    return compare_served(model, server, as_texts, served, held_against)


# --- the gate ------------------------------------------------------------------------------


def write(folder: Path, found: Sequence[Link], measured: Sequence[Path], **about: Any) -> None:
    """Write ``parity.json`` into the folder of a size; ``measured`` are its files.

    ``about`` says how it was measured (anything JSON can hold).
    """
    names = {path: path.relative_to(folder).as_posix() for path in dict.fromkeys(measured)}
    content = {
        "passed": not broken(found),
        "links": list(found),
        "sizes_bytes": {path.name: path.stat().st_size for path in names},
        "fingerprints": {name: fingerprint(path) for path, name in names.items()},
        **about,
    }
    files.write_json_atomic(folder / "parity.json", content)


def fingerprint(path: Path) -> str:
    """Hash of a file's size and of ``SAMPLES`` pieces spread evenly over it.

    Tells in milliseconds that a file of any size was replaced or made again. The first
    piece holds the record of what the file was made from, so two models never look alike.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for n in range(SAMPLES):
            file.seek(n * max(size - SAMPLE_BYTES, 0) // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()


def first_broken(found: Sequence[Link]) -> dict[str, str]:
    """Model -> the first broken link of its chain, for models whose chain is broken."""
    first: dict[str, str] = {}
    for row in found:
        if not row["passed"]:
            first.setdefault(row["model"], row["link"])
    return first


def grid(found: Sequence[Link]) -> "pd.DataFrame":
    """The links as a table for people: one row per number, one column per model."""
    import pandas as pd

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for link in found:
        row = rows.setdefault((link["link"], link["metric"]), {})
        row["link"], row["metric"] = link["link"], link["metric"]
        # Stop rates are held against each model's own; the highest stands for all.
        required = max(link["threshold"], row.get("threshold", link["threshold"]))
        row["threshold"], row["required"] = required, f"{WORDS[link['rule']]}{required:g}"
        row[wording.label(link["model"])] = link["value"]
    return pd.DataFrame(rows.values()).drop(columns="threshold")


def broken(found: Sequence[Link]) -> list[str]:
    """One phrase per model with a broken chain: its first broken link, whatever follows from it.

    A gate that measured nothing is broken as well.
    """
    if not found:
        return ["nothing was compared"]
    first = first_broken(found)
    phrases = []
    for model, name in first.items():
        numbers = " and ".join(
            f"{row['metric']} is {row['value']:g}, must be {WORDS[row['rule']]}{row['threshold']:g}"
            for row in found
            if (row["model"], row["link"], row["passed"]) == (model, name, False)
        )
        base_holds = any(row["model"] == "base" for row in found) and "base" not in first
        of_adapter = name.startswith(road("")) and base_holds
        hint = " (the base model's holds, so it is the adapter that is lost)" if of_adapter else ""
        phrases.append(f"{model}, {name}: {numbers}{hint}")
    return phrases


def check(folder: Path) -> None:
    """Raise ``CutoffError`` naming every broken link, or a file that is not the measured one.

    Called before anything is evaluated; reads a few MB of each file.
    """
    path = folder / "parity.json"
    if not path.is_file():
        raise CutoffError(f"{path} is missing: run 03_export_gguf first.")
    content = files.read_json(path)
    if phrases := broken(content["links"]):
        raise CutoffError(
            "The parity gate is closed: what would be evaluated is not the model that was "
            f"trained ({'; '.join(phrases)}). See the report 03_export_gguf."
        )
    for name, measured in content["fingerprints"].items():
        if not (folder / name).is_file() or fingerprint(folder / name) != measured:
            raise CutoffError(
                f"{folder / name} is missing or not the file that the parity gate measured; run "
                "03_export_gguf again."
            )
