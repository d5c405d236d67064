"""One question, answered live from the index, with citations that name paper and page.

    make ask size=7b question="Which optimizer does X use?" [condition=rag_ft_rag]

The passages are those that the experiment itself would retrieve for this question, and the
answer comes from the server that 03 has measured (before 03 has run: from the base model
that the parameters name).
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

from cutoff import files, prompts
from cutoff.engines import chat, serving
from cutoff.errors import CutoffError
from cutoff.evaluate.diagnostics import grounding
from cutoff.experiment import CONDITIONS
from cutoff.params import Params
from cutoff.run import folders

Record = dict[str, Any]

DEFAULT_CONDITION = "base_rag"
STAGE = "04_evaluate"  # whose inputs are needed: data set and models


def answer(p: Params, question: str, condition: str = DEFAULT_CONDITION) -> str:
    """The answer to ``question`` under ``condition``, with its sources below, as text.

    Raises ``CutoffError`` for an unknown condition, an empty question, a data set or model
    that does not exist yet, and a server that fails.
    """
    if condition not in CONDITIONS:
        names = ", ".join(CONDITIONS)
        raise CutoffError(f"There is no condition {condition!r}; the conditions are {names}.")
    question = " ".join(question.split())
    if not question:
        raise CutoffError('Nothing to answer: give a question="..." in quotes.')
    stage = folders.locate(STAGE, p)
    if (stage.folder / "parity.json").exists():
        provider = serving.measured_provider(stage)
    else:
        provider = serving.choose_provider(p)
    found: list[Record] = []
    messages = prompts.render_closed_book(question)
    if CONDITIONS[condition].context == "retrieved":
        found = retrieve(stage, question)
        messages = prompts.render_rag(question, [passage["text"] for passage in found])
    request = chat.Request("the question", messages, p.max_new_tokens)
    with serving.serve(stage, CONDITIONS[condition].model, provider) as engine:
        (completion,) = chat.complete([request], engine, serving.options(p), parallel=1)
    lines = [completion.text.strip(), "", *sources(completion.text, found)]
    return printable("\n".join(lines)).rstrip()


def retrieve(stage: folders.Run, question: str) -> list[Record]:
    """The passages for ``question``, each with ``title`` of its paper."""
    from cutoff.generate.retrieval import passage_search

    folder = stage.dataset_folder
    stage.require(folder / "dataset.json", "01_generate")
    titles = {r["paper_id"]: r["title"] for r in files.read_jsonl(folder / "papers.jsonl")}
    index = passage_search.load(files.read_jsonl(folder / "passages.jsonl"), stage.params, folder)
    found = passage_search.retrieve(index, question)
    return [passage | {"title": titles[passage["paper_id"]]} for passage in found]


def sources(text: str, found: Sequence[Record]) -> list[str]:
    """Lines that say what was cited, where it stands, and what else was put before the model."""
    if not found:
        return ["(answered from memory, without passages)"]
    numbers = grounding.cited(text)
    lines = ["Cited:"] if numbers else ["No passage was cited. The model had read:"]
    for number in numbers or range(1, len(found) + 1):
        if 1 <= number <= len(found):
            passage = found[number - 1]
            section = f", section {passage['section']}" if passage["section"] else ""
            lines.append(f"  [{number}] {passage['title']}{section}, page {passage['page']}")
        else:
            lines.append(f"  [{number}] does not exist: the model had {len(found)} passages")
    return lines


def printable(text: str) -> str:
    """Without control characters: a paper or a model could steer the terminal with them."""
    return "".join(c for c in text if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf"))
