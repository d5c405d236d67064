"""Facts that a language model finds in the passages of papers, each of them checked in code.

    facts, rejected = generator.make_facts(p, papers, passages, folder)

Of every paper, passages spread over its whole length are asked, for each task until enough facts
have stood the ``checks`` and were not asked before (``dedupe``): ``qa`` (the primary one) in any
passage, ``summary`` (one sentence on a named subject, in words of the passage) in opening and
conclusion, ``citation`` (which earlier work something builds on) where one is cited.
``generated.jsonl`` holds every reply as it came: a killed run repeats what was in flight alone.
"""

import math
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cutoff import embeddings
from cutoff.engines import asking, chat, serving
from cutoff.generate.facts import checks, dedupe, generator_prompts
from cutoff.generate.facts.rejections import Reason, Rejected
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
ByPaper = Mapping[str, Sequence[Passage]]


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
) -> tuple[list[Fact], list[Rejected]]:
    """(facts found, facts and passages rejected with a ``reason`` each).

    Raises ``CutoffError`` when the server cannot be used, ``DeadlineReached`` when time is up.
    """
    by_paper: dict[str, list[Passage]] = defaultdict(list)
    for passage in passages:
        by_paper[passage["paper_id"]].append(passage)
    sources = plan(p, papers, by_paper)
    known = dedupe.Questions(lambda texts: embeddings.embed(texts, p.embedding_model))
    every = [_request(p, source, passage) for source in sources for passage in source.passages]
    options = asking.greedy(every, p.seed)
    model = p.generator_provider, p.generator_model
    made_from = generator_prompts.made_from(every, *model, p.seed)
    server = p.generator_base_url, p.generator_api_key
    rejected: list[Rejected] = []
    number = 0
    with (
        Store(folder / "generated.jsonl", made_from=made_from) as store,
        asking.when_needed(lambda: serving.chat_engine(*model, *server)) as engine,
    ):
        while batch := [(s, passage) for s in sources for passage in s.next_passages()]:
            number += 1
            label = f"asking passages, round {number}"
            manner = asking.Manner(options, p.parallel, label, asking.WARMER, store)
            requests = [_request(p, *pair) for pair in batch]
            answers = {a.key: a for a in asking.ask(requests, engine, entries, manner)}
            candidates: list[tuple[Source, Fact]] = []
            for (source, passage), request in zip(batch, requests, strict=True):
                source.asked += 1
                text = _text(source.paper, by_paper)
                good, bad = _read(p, source, passage, answers[request.key], text)
                candidates += [(source, fact) for fact in good]
                rejected += bad
            rejected += _admit(candidates, known)
    found = [fact for source in sources for fact in source.found]
    for fact in found:  # every passage of its paper that holds the quote is gold
        own, quote = by_paper[fact["paper_id"]], fact["evidence"]
        fact["gold_passage_ids"] = [
            passage["passage_id"] for passage in own if checks.quotes(passage["text"], quote)
        ]
    return found, rejected


# --- which passages are asked -------------------------------------------------------------


def plan(p: Params, papers: Iterable[Paper], by_paper: ByPaper) -> list[Source]:
    """For every paper and task the passages that can be asked, in the order of asking."""
    share = EXPECTED_KEPT if p.dataset_judge_model else 1.0
    sources = []
    for paper in papers:
        rng = random.Random(f"{p.seed} passages {paper['paper_id']}")
        every = by_paper[paper["paper_id"]]
        for task in generator_prompts.TASKS:
            wanted = math.ceil(getattr(p, f"{task}_per_paper") / share)
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
    place = source.paper["title"], passage["section"], passage["text"]
    messages = generator_prompts.render_generator(source.task, *place, n_facts, n_paraphrases)
    room = 128 + n_facts * (192 + 40 * n_paraphrases)  # tokens
    key = f"{passage['passage_id']}|{source.task}"
    return chat.Request(key, messages, room, generator_prompts.FACTS_SCHEMA)


# --- what came ---------------------------------------------------------------------------


def entries(text: str) -> list[Any]:
    """The facts of a reply, unchecked; raises ``ValueError`` if there is no list of them."""
    entries = asking.only_object(text, "facts")["facts"]
    if not isinstance(entries, list):
        raise ValueError("no list of facts")
    return entries


def _text(paper: Paper, by_paper: ByPaper) -> str:
    """Where a subject may stand."""
    return "\n".join([paper["title"], *(x["text"] for x in by_paper[paper["paper_id"]])])


def _read(
    p: Params, source: Source, passage: Passage, answer: asking.Answer, paper_text: str
) -> tuple[list[Fact], list[Rejected]]:
    """(facts of one reply that stand the checks, what does not, with its reason)."""
    about = {
        "paper_id": passage["paper_id"],
        "task": source.task,
        "passage_id": passage["passage_id"],
    }
    if not answer.value:
        silent = Reason.NO_ANSWER if answer.rule == asking.REFUSED else Reason.NOT_JSON
        reason = silent if answer.value is None else Reason.NOTHING
        return [], [about | {"reason": reason, "detail": answer.detail}]
    good: list[Fact] = []
    bad: list[Rejected] = []
    for number, entry in enumerate(answer.value, start=1):
        told = checks.fields(entry) if number <= source.per_passage else None
        if told is None:
            surplus = number > source.per_passage
            bad.append(about | {"reason": Reason.MORE_THAN_ASKED if surplus else Reason.BAD_FIELD})
            continue
        fault = checks.fault(told, source.task, passage["text"], paper_text)
        told["paraphrases"] = usable_paraphrases(told)
        if fault is None and len(told["paraphrases"]) < p.exposures:
            fault = Reason.FEW_WORDINGS
        if fault:
            bad.append(about | {"reason": fault} | told)
        else:
            good.append(_fact(about, number, told))
    return good, bad


def usable_paraphrases(told: dict[str, Any]) -> list[str]:
    """Paraphrases that may be asked and differ from the question and from each other."""
    others = [text for text in told["paraphrases"] if not checks.wording_fault(text, told)]
    return dedupe.different_wordings([told["question"], *others], told["subject"])[1:]


def _fact(about: dict[str, str], number: int, told: dict[str, Any]) -> Fact:
    place = about["passage_id"].rpartition("#")[2]
    fact = {
        "fact_id": f"{about['paper_id']}/{about['task']}-{place}.{number}",
        "attribute": about["task"],
        "value": told["answer"].rstrip("."),
        "evidence": told["quote"],
        "gold_passage_ids": [about["passage_id"]],
    }
    same = ("subject", "statement", "question", "paraphrases")
    return cast(Fact, about | fact | {name: told[name] for name in same})


def _admit(candidates: Sequence[tuple[Source, Fact]], known: dedupe.Questions) -> list[Rejected]:
    """Add new facts to their sources; those that ask again are returned with the reason."""
    rejected: list[Rejected] = []
    verdicts = known.admit([fact for _, fact in candidates])
    for (source, fact), verdict in zip(candidates, verdicts, strict=True):
        if verdict is None:
            source.found.append(fact)
        else:
            rejected.append({**fact, "reason": verdict[0], "detail": verdict[1]})
    return rejected
