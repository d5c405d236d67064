"""Facts, their strata, and the questions about them.

The order matters: papers are split first, then facts, and only then is any question
worded. A stratum says what training can have taught:

* ``seen``: the fact was trained, in other words than those asked here;
* ``unseen_fact``: the paper was trained, this fact of it was not;
* ``unseen_paper``: the paper stands in the index only;
* ``control``: the paper is older than the base model's cutoff.
"""

import random
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from cutoff.errors import CutoffError
from cutoff.params import Params
from cutoff.phantom import world

Record = dict[str, Any]
Wordings = Callable[[Record], Mapping[str, list[str]]]  # fact -> {"train": [...], "eval": [...]}

STRATA = ("seen", "unseen_fact", "unseen_paper", "control")
NO_EVIDENCE = "evidence stands whole in no passage"
MORE_THAN_WANTED = "more facts than wanted of this paper"
MORE_OF = {
    "seen": ", or raise seen_facts_per_paper",
    "unseen_fact": ", or lower seen_facts_per_paper",
}
FEWEST_PER_STRATUM = 3  # of a limited run, where the limit has room for them


def phantom_facts(papers: Iterable[world.Paper]) -> list[Record]:
    """All facts of the papers, each with the sentences that state it (``evidence``: a list)."""
    return [
        {
            "fact_id": f"{paper.paper_id}/{attribute}",
            "paper_id": paper.paper_id,
            "attribute": attribute,
            "subject": paper.method,
            "value": paper.facts[attribute],
            "statement": world.statement(attribute, paper.method, paper.facts[attribute]),
            "evidence": world.evidence(paper, attribute),
        }
        for paper in papers
        for attribute in world.ATTRIBUTES
    ]


def phantom_wordings(fact: Record) -> Mapping[str, list[str]]:
    """Questions about a fact of the phantom, for training and for evaluation."""
    return world.question_wordings(fact["attribute"], fact["subject"])


def wordings_of(p: Params) -> Wordings:
    """Where questions come from: the phantom's own lists, or the generator's paraphrases.

    Of a generated fact's wordings, all of them different (``dedupe.different_wordings``), one
    drawn by the seed is kept for evaluation.
    """
    if p.fact_source == "truth":
        return phantom_wordings

    def generated(fact: Record) -> Mapping[str, list[str]]:
        texts = [fact["question"], *fact["paraphrases"]]
        kept_apart = random.Random(f"{p.seed} wording {fact['fact_id']}").randrange(len(texts))
        train = [text for n, text in enumerate(texts) if n != kept_apart]
        return {"train": train, "eval": [texts[kept_apart]]}

    return generated


def choose(facts: Sequence[Record], p: Params) -> tuple[list[Record], list[Record]]:
    """(facts to use, surplus with its ``reason``): of a paper at most ``qa_per_paper``, ....

    The first fact of every passage goes before the second of any. Known facts are all used.
    """
    place: dict[tuple[str, str], int] = defaultdict(int)
    order: list[tuple[int, int]] = []
    for position, fact in enumerate(facts):
        passage = (fact.get("passage_id", ""), fact.get("task", ""))
        order.append((place[passage], position))
        place[passage] += 1
    used: dict[tuple[str, str], int] = defaultdict(int)
    kept = set()
    for _, position in sorted(order):
        fact = facts[position]
        task = fact.get("task")
        used[fact["paper_id"], task or ""] += 1
        if task is None or used[fact["paper_id"], task] <= getattr(p, f"{task}_per_paper"):
            kept.add(position)
    surplus = [
        fact | {"level": "fact", "reason": MORE_THAN_WANTED}
        for position, fact in enumerate(facts)
        if position not in kept
    ]
    return [fact for position, fact in enumerate(facts) if position in kept], surplus


def normalise(text: str) -> str:
    """Text for comparison: one form of each character, of case, and of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def find_evidence(
    facts: Iterable[Record], passages: Iterable[Record]
) -> tuple[list[Record], list[Record]]:
    """Look each fact up in the passages of its paper: (facts found, facts rejected).

    A fact gains ``gold_passage_ids``, the passages that hold one of its sentences whole, and
    keeps the first sentence found as ``evidence``. A rejected fact names its ``reason``.
    """
    by_paper: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for passage in passages:
        by_paper[passage["paper_id"]].append((passage["passage_id"], normalise(passage["text"])))
    found, rejected = [], []
    for fact in facts:
        places = by_paper[fact["paper_id"]]
        gold: dict[str, str] = {}
        for sentence in fact["evidence"]:
            wanted = normalise(sentence)
            gold |= {passage_id: sentence for passage_id, text in places if wanted in text}
        if gold:
            ordered = [passage_id for passage_id, _ in places if passage_id in gold]
            record = fact | {"evidence": gold[ordered[0]], "gold_passage_ids": ordered}
            found.append(record)
        else:
            rejected.append(fact | {"reason": NO_EVIDENCE})
    return found, rejected


def split(facts: Sequence[Record], papers: Iterable[Record], p: Params) -> list[Record]:
    """Records of ``facts.jsonl``: each fact with its ``stratum``, ``trained`` and ``asked``.

    A ``limit`` leaves facts and whole papers untrained; they are labelled as what they are.
    """
    stratified = assign_strata(facts, papers, p)
    trained, asked = select(stratified, p)
    trained_papers = {fact["paper_id"] for fact in trained}
    trained_ids = {fact["fact_id"] for fact in trained}
    asked_ids = {fact["fact_id"] for fact in asked}
    result = []
    for fact in stratified:
        is_trained = fact["fact_id"] in trained_ids
        stratum = fact["stratum"]
        if stratum != "control" and not is_trained:
            stratum = "unseen_fact" if fact["paper_id"] in trained_papers else "unseen_paper"
        flags = {"trained": is_trained, "asked": fact["fact_id"] in asked_ids}
        result.append(fact | {"stratum": stratum} | flags)
    return result


def assign_strata(facts: Sequence[Record], papers: Iterable[Record], p: Params) -> list[Record]:
    """Facts with ``stratum``: whole papers are split first, then their facts.

    ``n_unseen_papers`` post-cutoff papers are kept out of training; of each other one,
    ``seen_facts_per_paper`` facts may be trained.
    """
    rng = random.Random(f"{p.seed} strata")
    period = {paper["paper_id"]: paper["period"] for paper in papers}
    by_paper = _group(facts, "paper_id")
    post = sorted(paper_id for paper_id in by_paper if period[paper_id] == "post")
    if p.n_unseen_papers >= len(post):
        raise CutoffError(
            f"n_unseen_papers = {p.n_unseen_papers} leaves no paper to train on: facts were found "
            f"in {len(post)} papers from after the cutoff. Add papers or lower n_unseen_papers."
        )
    unseen = set(rng.sample(post, p.n_unseen_papers))
    trained: set[str] = set()
    for paper_id in post:
        own = [fact["fact_id"] for fact in by_paper.get(paper_id, [])]
        if paper_id not in unseen:
            trained |= set(rng.sample(own, min(p.seen_facts_per_paper, len(own))))

    def stratum(fact: Record) -> str:
        if period[fact["paper_id"]] == "control":
            return "control"
        if fact["paper_id"] in unseen:
            return "unseen_paper"
        return "seen" if fact["fact_id"] in trained else "unseen_fact"

    return [fact | {"stratum": stratum(fact)} for fact in facts]


def questions_wanted(p: Params) -> dict[str, int]:
    """Evaluation questions per stratum; a ``limit`` is shared out in the same proportions.

    Each stratum keeps at least three questions, as far as the limit allows.
    Raises ``CutoffError`` if the limit is smaller than the number of strata in use.
    """
    wanted = _per_stratum(p)
    total = sum(wanted.values())
    if total == 0:
        raise CutoffError("All of n_eval_seen, n_eval_unseen_fact, ... are 0: nothing to evaluate.")
    if p.limit is None or p.limit >= total:
        return wanted
    used = [stratum for stratum in STRATA if wanted[stratum]]
    if p.limit < len(used):
        raise CutoffError(
            f"limit = {p.limit} leaves no question for some of the {len(used)} strata; "
            f"it must be at least {len(used)}."
        )
    limit = p.limit
    fewest = min(FEWEST_PER_STRATUM, limit // len(used))
    given = {stratum: min(fewest, wanted[stratum]) for stratum in STRATA}
    while sum(given.values()) < limit:  # the next question goes where most is missing
        open_strata = [stratum for stratum in used if given[stratum] < wanted[stratum]]
        neediest = max(open_strata, key=lambda s: wanted[s] * limit / total - given[s])
        given[neediest] += 1
    return given


def _per_stratum(p: Params) -> dict[str, int]:
    return {stratum: getattr(p, f"n_eval_{stratum}") for stratum in STRATA}


def select(facts: Sequence[Record], p: Params) -> tuple[list[Record], list[Record]]:
    """Facts to train and facts to ask about, spread evenly over the papers of each stratum.

    Every ``seen`` fact that is asked about is trained, and every paper of an ``unseen_fact``
    has a trained fact. A ``limit`` shrinks both lists in the same proportion.
    Raises ``CutoffError`` if a stratum has too few facts.
    """
    rng = random.Random(f"{p.seed} questions")
    paper_ids = sorted({fact["paper_id"] for fact in facts})
    # One order of papers for all strata: seen and unseen_fact then ask about the same papers.
    order = {paper_id: n for n, paper_id in enumerate(rng.sample(paper_ids, len(paper_ids)))}
    by_stratum = _group(facts, "stratum")
    wanted = questions_wanted(p)
    asked: list[Record] = []
    for stratum, n_wanted in wanted.items():
        available = by_stratum.get(stratum, [])
        if n_wanted > len(available):
            raise CutoffError(
                f"n_eval_{stratum} = {n_wanted}, but these papers hold only {len(available)} facts "
                f"of the stratum {stratum}; ask for fewer questions or for more papers"
                f"{MORE_OF.get(stratum, '')}."
            )
        asked += _spread(available, order, rng)[:n_wanted]

    trained = _spread(by_stratum.get("seen", []), order, rng)
    kept = {fact["fact_id"] for fact in asked if fact["stratum"] == "seen"}
    covered = {fact["paper_id"] for fact in asked if fact["stratum"] == "seen"}
    asked_papers = {fact["paper_id"] for fact in asked}
    for fact in trained:
        if fact["paper_id"] in asked_papers - covered:
            kept.add(fact["fact_id"])
            covered.add(fact["paper_id"])
    n_kept = round(len(trained) * len(asked) / sum(_per_stratum(p).values()))
    others = [fact["fact_id"] for fact in trained if fact["fact_id"] not in kept]
    kept |= set(others[: max(0, n_kept - len(kept))])
    return [fact for fact in trained if fact["fact_id"] in kept], asked


def _spread(facts: Sequence[Record], order: Mapping[str, int], rng: random.Random) -> list[Record]:
    """``facts`` in rounds of one random fact per paper: a beginning touches many papers."""
    rounds = [
        (number, order[paper_id], fact)
        for paper_id, own in _group(facts, "paper_id").items()
        for number, fact in enumerate(rng.sample(own, len(own)))
    ]
    return [fact for _, _, fact in sorted(rounds, key=lambda entry: entry[:2])]


def _group(records: Iterable[Record], field: str) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record[field], []).append(record)
    return groups


def word_questions(facts: Sequence[Record], wordings: Wordings, p: Params) -> list[Record]:
    """Records of ``questions.jsonl``: ``exposures`` per trained fact, one per fact asked about.

    Raises ``CutoffError`` if there are too few wordings, if a wording serves both training
    and evaluation, or if a question does not name its subject.
    """
    rng = random.Random(f"{p.seed} wordings")
    result = []
    for split_name, flag in (("train", "trained"), ("eval", "asked")):
        for fact in facts:
            if not fact[flag]:
                continue
            texts = wordings(fact)
            numbers = {text: n for n, text in enumerate([*texts["train"], *texts["eval"]], start=1)}
            available = texts[split_name]
            n_wanted = p.exposures if split_name == "train" else 1
            if n_wanted > len(available):
                raise CutoffError(
                    f"exposures = {p.exposures}, but there are only {len(available)} {split_name} "
                    f"wordings of a question about {fact['fact_id']}."
                )
            for text in rng.sample(available, n_wanted):
                result.append(
                    {
                        "question_id": f"{fact['fact_id']}?{numbers[text]}",
                        "fact_id": fact["fact_id"],
                        "paper_id": fact["paper_id"],
                        "stratum": fact["stratum"],
                        "split": split_name,
                        "question": text,
                    }
                )
    check_questions(result, {fact["fact_id"]: fact["subject"] for fact in facts})
    return result


def check_questions(questions: Sequence[Record], subjects: Mapping[str, str]) -> None:
    """Raise ``CutoffError`` for a doubled question or one that does not name its subject."""
    seen: dict[str, str] = {}
    for question in questions:
        text = normalise(question["question"])
        if text in seen:
            raise CutoffError(
                f"{seen[text]} and {question['question_id']} ask the same: "
                f"{question['question']!r}."
            )
        seen[text] = question["question_id"]
        if normalise(subjects[question["fact_id"]]) not in text:
            raise CutoffError(
                f"{question['question_id']} does not name what it is about: "
                f"{question['question']!r}."
            )


def misplaced(questions: Sequence[Record]) -> list[str]:
    """Ids of evaluation questions whose stratum is at odds with the training questions."""
    train = [question for question in questions if question["split"] == "train"]
    facts = {question["fact_id"] for question in train}
    papers = {question["paper_id"] for question in train}
    promised = {"seen": (True, True), "unseen_fact": (True, False)}  # (paper, fact) in training
    return [
        question["question_id"]
        for question in questions
        if question["split"] == "eval"
        and (question["paper_id"] in papers, question["fact_id"] in facts)
        != promised.get(question["stratum"], (False, False))
    ]
