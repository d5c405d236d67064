"""The data set as a whole: when its files can be trusted, and the marker that says so.

It belongs to no size: the first run that needs it makes it, the others read it. Everything
in it follows from the parameters and the seed, so a half-made data set is simply made again.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cutoff import embeddings, files, params, paths, prompts
from cutoff.errors import CutoffError
from cutoff.generate.facts import generator_prompts
from cutoff.generate.papers import collection
from cutoff.generate.questions.strata import STRATA
from cutoff.generate.retrieval.passage_search import INDEX_FILES
from cutoff.records import Fact, Wording

RECORD_FILES = tuple(
    f"{name}.jsonl"
    for name in (
        "papers passages candidates ratings rejected facts questions retrieval eval "
        "unanswerable train"
    ).split()
)
OTHER_FILES = (*INDEX_FILES, collection.MANIFEST, collection.REJECTED)
MARKER = "dataset.json"


def identity(p: params.Params) -> dict[str, Any]:
    """What the files follow from: parameters, papers, prompt texts and the code that makes them."""
    code = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.rglob("*.py")), Path(embeddings.__file__)]:
        code.update(path.read_bytes())
    return {
        "dataset_id": paths.dataset_id(p),
        "params": p.as_dict("generate"),
        "papers_sha256": paths.own_papers_sha256(p),
        "prompts_sha256": prompts.prompts_sha256(),
        "generator_prompts_sha256": generator_prompts.prompts_sha256(),
        "code_sha256": code.hexdigest(),
    }


def is_complete(folder: Path, p: params.Params) -> bool:
    """True if ``folder`` holds a finished, undamaged data set of these parameters and this code."""
    try:
        marker = files.read_json(folder / MARKER)
    except CutoffError:
        return False  # missing or damaged: it will be written again
    if any(marker.get(name) != value for name, value in identity(p).items()):
        return False
    return all(
        (folder / name).is_file() and files.sha256_file(folder / name) == digest
        for name, digest in marker["sha256"].items()
    )


@dataclass(frozen=True)
class DataSet:
    """The files of a data set; a complete one is only read."""

    folder: Path
    is_complete: bool

    def records(self, name: str, make: Callable[..., Sequence[Any]], *told: Any) -> Sequence[Any]:
        """Records of ``name.jsonl``: read if complete, else ``make(*told)``, and written."""
        path = self.folder / f"{name}.jsonl"
        if self.is_complete:
            return files.read_jsonl(path)
        records = make(*told)
        files.write_jsonl_atomic(path, records)
        return records


def open_folder(folder: Path, p: params.Params) -> DataSet:
    """The data set of ``folder``, which need not exist yet."""
    return DataSet(folder, is_complete(folder, p))


def seal(folder: Path, p: params.Params, retrieval: Sequence[dict[str, Any]]) -> None:
    """Write ``dataset.json``, after everything else: identity, records per file, the rows of the
    retrieval's quality, SHA-256 of every file."""
    content = identity(p) | {
        "counts": {name: len(files.read_jsonl(folder / name)) for name in RECORD_FILES},
        "retrieval": list(retrieval),
        "sha256": {
            name: files.sha256_file(folder / name) for name in (*RECORD_FILES, *OTHER_FILES)
        },
    }
    files.write_json_atomic(folder / MARKER, content)


def strata_table(facts: Sequence[Fact], questions: Sequence[Wording]) -> pd.DataFrame:
    """One row per stratum: papers, facts, facts_trained, and the questions of both splits."""
    rows = pd.DataFrame(facts).groupby("stratum")
    table = rows.agg(
        papers=("paper_id", "nunique"), facts=("fact_id", "size"), facts_trained=("trained", "sum")
    )
    splits = pd.DataFrame(questions).value_counts(["stratum", "split"]).unstack(fill_value=0)
    splits = splits.rename(columns={"train": "training_questions", "eval": "evaluation_questions"})
    joined = table.join(splits).reindex([s for s in STRATA if s in table.index])
    return joined.fillna(0).astype(int).reset_index()
