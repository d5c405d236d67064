"""Which facts are trained, which are asked about, and what a question about them can show.

Papers are split first, then facts, and only then is any question worded. A stratum says what
training can have taught:

* ``seen``: the fact was trained, in other words than those asked here;
* ``unseen_fact``: the paper was trained, this fact of it was not;
* ``unseen_paper``: the paper stands in the index only;
* ``control``: the paper is older than the base model's cutoff.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from cutoff import experiment
from cutoff.errors import CutoffError
from cutoff.generate.facts.rejections import Reason, Rejected
from cutoff.params import Params
from cutoff.records import Fact, Paper

STRATA = (*experiment.POST_STRATA, "control")
FEWEST_PER_STRATUM = 3  # of a limited run, where the limit has room for them


def choose(facts: Sequence[Fact], p: Params) -> tuple[list[Fact], list[Rejected]]:
    """(facts to use, surplus with its ``reason``): of a paper at most ``qa_per_paper``, ....

    The first fact of every passage goes before the second of any. Known facts are all used.
    """
    written = pd.DataFrame([fact for fact in facts if "task" in fact])
    if written.empty:
        return list(facts), []
    written["round"] = written.groupby(["passage_id", "task"]).cumcount()
    ordered = written.sort_values("round", kind="stable")
    wanted = ordered["task"].map(lambda task: getattr(p, f"{task}_per_paper"))
    surplus = ordered.groupby(["paper_id", "task"]).cumcount() >= wanted
    gone = set(ordered.loc[surplus, "fact_id"])
    return (
        [fact for fact in facts if fact["fact_id"] not in gone],
        [{**f, "reason": Reason.MORE_THAN_WANTED} for f in facts if f["fact_id"] in gone],
    )


def split(facts: Sequence[Fact], papers: Iterable[Paper], p: Params) -> list[Fact]:
    """Records of ``facts.jsonl``: each fact with its ``stratum``, ``trained`` and ``asked``.

    A ``limit`` leaves facts and whole papers untrained; they are labelled as what they are.
    """
    stratified = assign_strata(facts, papers, p)
    trained, asked = select(stratified, p)
    trained_papers = {fact["paper_id"] for fact in trained}
    trained_ids, asked_ids = ({fact["fact_id"] for fact in some} for some in (trained, asked))
    for fact in stratified:
        fact["trained"] = fact["fact_id"] in trained_ids
        fact["asked"] = fact["fact_id"] in asked_ids
        if fact["stratum"] != "control" and not fact["trained"]:
            known = fact["paper_id"] in trained_papers
            fact["stratum"] = "unseen_fact" if known else "unseen_paper"
    return stratified


def assign_strata(facts: Sequence[Fact], papers: Iterable[Paper], p: Params) -> list[Fact]:
    """Copies of facts with ``stratum``: whole papers are split first, then their facts.

    ``n_unseen_papers`` post-cutoff papers are kept out of training; of each other one,
    ``seen_facts_per_paper`` facts may be trained.
    """
    rng = random.Random(f"{p.seed} strata")
    period = {paper["paper_id"]: paper["period"] for paper in papers}
    by_paper = _by_paper(facts)
    post = sorted(paper_id for paper_id in by_paper if period[paper_id] == "post")
    if p.n_unseen_papers >= len(post):
        raise CutoffError(
            f"n_unseen_papers = {p.n_unseen_papers} leaves no paper to train on: facts were found "
            f"in {len(post)} papers from after the cutoff. Add papers or lower n_unseen_papers."
        )
    unseen = set(rng.sample(post, p.n_unseen_papers))
    stratum = {fact["fact_id"]: "control" for fact in facts}
    for paper_id in post:
        own = [fact["fact_id"] for fact in by_paper[paper_id]]
        stratum |= dict.fromkeys(own, "unseen_paper" if paper_id in unseen else "unseen_fact")
        if paper_id not in unseen:
            seen = rng.sample(own, min(p.seen_facts_per_paper, len(own)))
            stratum |= dict.fromkeys(seen, "seen")
    return [{**fact, "stratum": stratum[fact["fact_id"]]} for fact in facts]


def questions_wanted(p: Params) -> dict[str, int]:
    """Evaluation questions per stratum; a ``limit`` is shared out in the same proportions.

    Each stratum keeps at least three questions, as far as the limit allows.
    Raises ``CutoffError`` if the limit is smaller than the number of strata in use.
    """
    wanted = {stratum: getattr(p, f"n_eval_{stratum}") for stratum in STRATA}
    total = sum(wanted.values())
    if total == 0:
        raise CutoffError("All of n_eval_seen, n_eval_unseen_fact, ... are 0: nothing to evaluate.")
    limit = p.limit
    if limit is None or limit >= total:
        return wanted
    n_used = sum(n > 0 for n in wanted.values())
    if limit < n_used:
        raise CutoffError(
            f"limit = {limit} leaves no question for some of the {n_used} strata; "
            f"it must be at least {n_used}."
        )
    fewest = min(FEWEST_PER_STRATUM, limit // n_used)
    given = {stratum: min(fewest, n) for stratum, n in wanted.items()}
    while sum(given.values()) < limit:  # the next question goes where most is missing
        short = [stratum for stratum in STRATA if given[stratum] < wanted[stratum]]
        given[max(short, key=lambda s: wanted[s] * limit / total - given[s])] += 1
    return given


def select(facts: Sequence[Fact], p: Params) -> tuple[list[Fact], list[Fact]]:
    """Facts to train and facts to ask about, spread evenly over the papers of each stratum.

    Every ``seen`` fact that is asked about is trained, and every paper of an ``unseen_fact``
    has a trained fact. A ``limit`` shrinks both lists in the same proportion.
    Raises ``CutoffError`` if a stratum has too few facts.
    """
    rng = random.Random(f"{p.seed} questions")
    paper_ids = sorted({fact["paper_id"] for fact in facts})
    # One order of papers for all strata: seen and unseen_fact then ask about the same papers.
    order = {paper_id: n for n, paper_id in enumerate(rng.sample(paper_ids, len(paper_ids)))}
    wanted = questions_wanted(p)
    asked: list[Fact] = []
    for stratum, n_wanted in wanted.items():
        available = [fact for fact in facts if fact["stratum"] == stratum]
        if n_wanted > len(available):
            raise CutoffError(
                f"n_eval_{stratum} = {n_wanted}, but these papers hold only {len(available)} facts "
                f"of the stratum {stratum}; ask for fewer questions or for more papers, or change "
                "seen_facts_per_paper."
            )
        asked += _spread(available, order, rng)[:n_wanted]

    trained = _spread([fact for fact in facts if fact["stratum"] == "seen"], order, rng)
    kept = {fact["fact_id"] for fact in asked if fact["stratum"] == "seen"}
    bare = {fact["paper_id"] for fact in asked}
    bare -= {fact["paper_id"] for fact in asked if fact["stratum"] == "seen"}
    for fact in trained:
        if fact["paper_id"] in bare:
            kept.add(fact["fact_id"])
            bare.remove(fact["paper_id"])
    n_full = sum(questions_wanted(p.model_copy(update={"limit": None})).values())
    n_kept = round(len(trained) * len(asked) / n_full)
    others = [fact["fact_id"] for fact in trained if fact["fact_id"] not in kept]
    kept |= set(others[: max(0, n_kept - len(kept))])
    return [fact for fact in trained if fact["fact_id"] in kept], asked


def _spread(facts: Sequence[Fact], order: Mapping[str, int], rng: random.Random) -> list[Fact]:
    """``facts`` in rounds of one random fact per paper: a beginning touches many papers."""
    rounds = [
        (number, order[paper_id], fact)
        for paper_id, own in _by_paper(facts).items()
        for number, fact in enumerate(rng.sample(own, len(own)))
    ]
    return [fact for _, _, fact in sorted(rounds, key=lambda entry: entry[:2])]


def _by_paper(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    groups: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        groups[fact["paper_id"]].append(fact)
    return groups
