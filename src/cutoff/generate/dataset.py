"""The data set as a whole: when its files can be trusted, and the marker that says so.

It belongs to no size: the first run that needs it makes it, the others read it. Everything
in it follows from the parameters and the seed, so a half-made data set is simply made again.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """What the files follow from: parameters, prompt texts and the code that makes them."""
    code = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.rglob("*.py")), Path(embeddings.__file__)]:
        code.update(path.read_bytes())
    return {
        "dataset_id": paths.dataset_id(p),
        "params": p.as_dict("generate"),
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


def seal(folder: Path, p: params.Params, retrieval: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write ``dataset.json``, after everything else; ``retrieval`` holds its rows of quality.

    Returns its content: identity, counts, retrieval quality, SHA-256 of every file.
    """
    content = identity(p) | {
        "counts": counts(folder),
        "retrieval": list(retrieval),
        "sha256": {
            name: files.sha256_file(folder / name) for name in (*RECORD_FILES, *OTHER_FILES)
        },
    }
    files.write_json_atomic(folder / MARKER, content)
    return content


def counts(folder: Path) -> dict[str, Any]:
    """Papers by period, passages, facts and evaluation questions by stratum, and so on."""
    read = {name: files.read_jsonl(folder / name) for name in RECORD_FILES}

    def by(name: str, field: str) -> dict[str, Any]:
        return dict(Counter(record[field] for record in read[f"{name}.jsonl"]))

    return {
        "papers": by("papers", "period"),
        "passages": len(read["passages.jsonl"]),
        "facts": by("facts", "stratum"),
        "facts_trained": sum(fact["trained"] for fact in read["facts.jsonl"]),
        "facts_rejected": sum(r.get("level") != "passage" for r in read["rejected.jsonl"]),
        "questions": by("questions", "split"),
        "eval": by("eval", "stratum"),
        "unanswerable": len(read["unanswerable.jsonl"]),
        "train": by("train", "variant"),
    }


def strata_table(facts: Sequence[Fact], questions: Sequence[Wording]) -> list[dict[str, Any]]:
    """One row per stratum: papers, facts, trained facts, questions of both splits."""
    rows = []
    for stratum in STRATA:
        own = [fact for fact in facts if fact["stratum"] == stratum]
        asked = [question for question in questions if question["stratum"] == stratum]
        splits = Counter(question["split"] for question in asked)
        rows.append(
            {
                "stratum": stratum,
                "papers": len({fact["paper_id"] for fact in own}),
                "facts": len(own),
                "facts_trained": sum(fact["trained"] for fact in own),
                "training_questions": splits["train"],
                "evaluation_questions": splits["eval"],
            }
        )
    return rows
