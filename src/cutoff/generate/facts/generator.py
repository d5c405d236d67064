"""Facts that a language model finds in the passages of papers, each of them checked in code.

    facts, rejected = generator.make_facts(p, papers, passages, folder)

Of every paper, passages are asked in an order that spreads over its whole length (golden
ratio, with a start drawn by the seed), for each task until enough facts have stood the
checks of ``cutoff.generate.facts`` and were not asked before (``dedupe``). Three tasks:

* ``qa``: a fact, asked for in a question with a short answer; the primary one;
* ``summary``: the main point of a passage about a named subject in one sentence, asked of
  the opening and the conclusion of a paper; its reference answer are words of that passage;
* ``citation``: which earlier work something builds on or is compared with, asked of
  passages that cite; its reference answer is the work as it is named there.

``generated.jsonl`` holds every reply as it came, so a killed run repeats nothing but what
was in flight; ``failed_passages.jsonl`` holds the last reply of passages that brought
no readable one.
"""

import hashlib
import math
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.engines import asking, chat, providers
from cutoff.generate.facts import checks, dedupe, generator_prompts
from cutoff.params import Params
from cutoff.records import Fact, Paper, Passage
from cutoff.store import Store

FEWEST_PER_PASSAGE, MOST_PER_PASSAGE = 2, 6  # facts asked for; more only of short papers
YIELD = 0.6  # facts that stand the checks, expected per fact asked for
MOST_ASKED = 4  # passages per fact wanted, before a paper is given up
SPARE_WORDINGS = 2  # asked for beyond what is needed: some are too alike
EXPECTED_KEPT = 0.75  # of the facts by the data set judge, where there is one
FEWEST_OPENING = 4  # passages that count as the opening of a paper without headings
FEWEST_WORDS = 12  # of a passage that is asked
NO_SOURCE = re.compile(
    r"\b(?:references|bibliography|acknowledge?ments?|funding|contributions|disclosure|"
    r"conflicts? of interest|ethics|data availability)\b",
    re.IGNORECASE,
)
OVERVIEW = re.compile(
    r"abstract|introduction|summary|overview|conclusion|discussion|concluding", re.IGNORECASE
)
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclass
class Source:
    """One paper as the source of one task: the passages to ask, in order, and what came."""

    paper: Paper
    task: str
    passages: list[Passage]
    wanted: int
    asked: int = 0
    found: list[Fact] = field(default_factory=list)

    @property
    def per_passage(self) -> int:
        """Facts to ask for at once."""
        needed = math.ceil(self.wanted / (YIELD * len(self.passages)))
        return min(MOST_PER_PASSAGE, max(FEWEST_PER_PASSAGE, needed))

    def next_passages(self) -> list[Passage]:
        """Those to ask in the next round; none when there is enough, or enough was asked."""
        missing = self.wanted - len(self.found)
        n = math.ceil(max(0, missing) / (YIELD * self.per_passage))
        end = min(self.asked + n, MOST_ASKED * self.wanted)
        return self.passages[self.asked : end]


def make_facts(
    p: Params, papers: Sequence[Paper], passages: Sequence[Passage], folder: Path
) -> tuple[list[Fact], list[dict[str, Any]]]:
    """(facts found, facts and passages rejected with a ``reason`` each).

    Facts are records like ``questions.phantom_facts`` with ``gold_passage_ids``, and with
    ``task``, ``passage_id``, ``question`` and ``paraphrases``. Raises ``CutoffError`` when the
    server cannot be used, ``DeadlineReached`` when time is up.
    """
    sources = plan(p, papers, passages)
    known = dedupe.Questions(lambda texts: _embed(texts, p))
    text_of = _texts(papers, passages)
    every = [_request(p, source, passage) for source in sources for passage in source.passages]
    options = asking.greedy(every, p.seed)
    rejected: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    with (
        Store(folder / "generated.jsonl", made_from=_made_from(p, every)) as store,
        asking.when_needed(lambda: _connect(p)) as engine,
    ):
        number = 0
        while batch := [
            (source, passage) for source in sources for passage in source.next_passages()
        ]:
            number += 1
            label = f"asking passages, round {number}"
            manner = asking.Manner(options, p.parallel, label, generator_prompts.WARMER, store)
            requests = [_request(p, source, passage) for source, passage in batch]
            answers = asking.ask(requests, engine, checks.parse, manner)
            came = {answer.key: answer for answer in answers}
            candidates: list[tuple[Source, Fact]] = []
            for source, passage in batch:
                source.asked += 1
                answer = came[_key(source.task, passage)]
                good, bad = _read(p, source, passage, answer, text_of[passage["paper_id"]])
                candidates += [(source, fact) for fact in good]
                rejected += bad
                if answer.value is None:
                    failed.append(_failed(source.task, passage, answer))
            rejected += _admit(candidates, known)
    files.write_jsonl_atomic(folder / "failed_passages.jsonl", failed)
    found = [fact for source in sources for fact in source.found]
    _complete_gold(found, passages)
    return found, rejected


def plan(p: Params, papers: Sequence[Paper], passages: Sequence[Passage]) -> list[Source]:
    """For every paper and task the passages that can be asked, in the order of asking."""
    by_paper: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        by_paper[passage["paper_id"]].append(passage)
    share = EXPECTED_KEPT if p.dataset_judge_model else 1.0
    sources = []
    for paper in papers:
        rng = random.Random(f"{p.seed} passages {paper['paper_id']}")
        for task in generator_prompts.TASKS:
            wanted = math.ceil(getattr(p, f"{task}_per_paper") / share)
            every = by_paper[paper["paper_id"]]
            own = [passage for passage in every if suits(task, passage)]
            if task == "summary" and not own:  # a paper without the usual headings
                own = [passage for passage in every[:FEWEST_OPENING] if suits("qa", passage)]
            if wanted and own:
                sources.append(Source(paper, task, spread(own, rng.random()), wanted))
    return sources


def suits(task: str, passage: Passage) -> bool:
    """Whether a passage is asked for a task: long enough, and no list of names or references;
    for a summary an opening or a conclusion, for a citation one that cites."""
    if len(passage["text"].split()) < FEWEST_WORDS or NO_SOURCE.search(passage["section"]):
        return False
    if task == "summary":
        return bool(OVERVIEW.search(passage["section"]))
    return task != "citation" or bool(checks.CITES.search(passage["text"]))


def spread(passages: Sequence[Passage], start: float) -> list[Passage]:
    """All ``passages`` in an order of which every beginning covers the paper evenly.

    Multiples of the golden ratio, from ``start`` (0..1) on, fill a circle evenly; the
    passages are taken in the order in which theirs lie on it.
    """
    places = [(start + n * GOLDEN_RATIO) % 1 for n in range(len(passages))]
    return [passages[n] for n in sorted(range(len(passages)), key=places.__getitem__)]


def _request(p: Params, source: Source, passage: Passage) -> chat.Request:
    n_facts, n_paraphrases = source.per_passage, p.exposures + SPARE_WORDINGS
    messages = generator_prompts.render_generator(
        source.task,
        source.paper["title"],
        passage["section"],
        passage["text"],
        n_facts,
        n_paraphrases,
    )
    room = 128 + n_facts * (192 + 40 * n_paraphrases)  # tokens
    schema = generator_prompts.FACTS_SCHEMA
    return chat.Request(_key(source.task, passage), messages, room, schema)


def _key(task: str, passage: Passage) -> str:
    return f"{passage['passage_id']}|{task}"


def _connect(p: Params) -> AbstractContextManager[chat.Engine]:
    return providers.chat_engine(
        p.generator_provider, p.generator_model, p.generator_base_url, p.generator_api_key
    )


def _made_from(p: Params, requests: Sequence[chat.Request]) -> str:
    """Hash of all that a reply depends on: model, settings, and every prompt there can be."""
    digest = hashlib.sha256(
        files.to_json([generator_prompts.prompts_sha256(), p.generator_provider, p.generator_model])
    )
    digest.update(files.to_json([p.seed, generator_prompts.WARMER]))
    for request in requests:
        digest.update(files.to_json([request.key, request.messages, request.max_new_tokens]))
    return digest.hexdigest()


def _read(
    p: Params, source: Source, passage: Passage, answer: asking.Answer, paper_text: str
) -> tuple[list[Fact], list[dict[str, Any]]]:
    """(facts of one reply that stand the checks, what does not, with its reason)."""
    about = {
        "paper_id": passage["paper_id"],
        "task": source.task,
        "passage_id": passage["passage_id"],
    }
    if not answer.value:
        reason = checks.NOTHING if answer.value == [] else _silence(answer)
        return [], [about | {"level": "passage", "reason": reason, "detail": answer.detail}]
    good: list[Fact] = []
    bad: list[dict[str, Any]] = []
    for n, entry in enumerate(answer.value[: source.per_passage], start=1):
        told = checks.fields(entry)
        if told is None:
            bad.append(about | {"level": "fact", "reason": checks.BAD_FIELD})
            continue
        fault = checks.fault(told, source.task, passage["text"], paper_text)
        told["paraphrases"] = usable_paraphrases(told)
        if fault is None and len(told["paraphrases"]) < p.exposures:
            fault = checks.FEW_WORDINGS
        if fault:
            bad.append(about | {"level": "fact", "reason": fault} | told)
        else:
            good.append(_fact(about, n, told))
    surplus = len(answer.value) - source.per_passage
    bad += [about | {"level": "fact", "reason": checks.MORE_THAN_ASKED}] * max(0, surplus)
    return good, bad


def usable_paraphrases(told: dict[str, Any]) -> list[str]:
    """Paraphrases that may be asked and differ from the question and from each other."""
    others = [text for text in told["paraphrases"] if not checks.wording_fault(text, told)]
    return dedupe.different_wordings([told["question"], *others], told["subject"])[1:]


def _fact(about: dict[str, Any], n: int, told: dict[str, Any]) -> Fact:
    place = about["passage_id"].rpartition("#")[2]
    return {
        "paper_id": about["paper_id"],
        "task": about["task"],
        "passage_id": about["passage_id"],
        "fact_id": f"{about['paper_id']}/{about['task']}-{place}.{n}",
        "attribute": about["task"],
        "subject": told["subject"],
        "value": told["answer"].rstrip("."),
        "statement": told["statement"],
        "evidence": told["quote"],
        "gold_passage_ids": [about["passage_id"]],
        "question": told["question"],
        "paraphrases": told["paraphrases"],
    }


def _admit(
    candidates: Sequence[tuple[Source, Fact]], known: dedupe.Questions
) -> list[dict[str, Any]]:
    """Add new facts to their sources; those that ask again are returned with the reason."""
    rejected = []
    verdicts = known.admit([fact for _, fact in candidates])
    for (source, fact), verdict in zip(candidates, verdicts, strict=True):
        if verdict is None:
            source.found.append(fact)
        else:
            reason, first = verdict
            rejected.append({**fact, "level": "fact", "reason": reason, "detail": first})
    return rejected


def _silence(answer: asking.Answer) -> str:
    """Why no reply could be read."""
    return checks.NO_ANSWER if answer.rule == asking.REFUSED else checks.NOT_JSON


def _failed(task: str, passage: Passage, answer: asking.Answer) -> dict[str, Any]:
    return {
        "passage_id": passage["passage_id"],
        "task": task,
        "reason": _silence(answer),
        "detail": answer.detail,
        "attempts": answer.attempts,
        "reply": answer.reply,
    }


def _complete_gold(found: Sequence[Fact], passages: Sequence[Passage]) -> None:
    """Every passage of its paper that holds a fact's quote is gold, in reading order."""
    by_paper: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        by_paper[passage["paper_id"]].append(passage)
    for fact in found:
        fact["gold_passage_ids"] = [
            passage["passage_id"]
            for passage in by_paper[fact["paper_id"]]
            if checks.quotes(passage["text"], fact["evidence"])
        ]


def _texts(papers: Sequence[Paper], passages: Sequence[Passage]) -> dict[str, str]:
    """Title and passages of every paper: where a subject may stand."""
    texts: dict[str, list[str]] = {paper["paper_id"]: [paper["title"]] for paper in papers}
    for passage in passages:
        texts[passage["paper_id"]].append(passage["text"])
    return {paper_id: "\n".join(parts) for paper_id, parts in texts.items()}


def _embed(texts: Sequence[str], p: Params) -> Any:
    from cutoff import embeddings

    return embeddings.embed(texts, p.embedding_model)
