"""The split keeps its promises for every seed and size: what is trained, asked, and apart."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutoff import params
from cutoff.errors import CutoffError
from cutoff.generate.facts import fact_source
from cutoff.generate.facts.checks import normalise
from cutoff.generate.questions import model_inputs, strata, wordings
from cutoff.phantom import world

Records = list[dict]


def count(words: list[str]) -> list[int]:
    """A token per word."""
    return [1] * len(words)


def params_of(**overrides) -> params.Params:
    return params.load("tiny", overrides)


def corpus(p: params.Params) -> tuple[Records, Records, Records]:
    """Paper records, passages (a section each) and found facts, without PDF and embeddings."""
    papers = world.make_papers(p.seed, p.n_post_papers, p.n_control_papers)
    passages = [
        {
            "passage_id": f"{paper.paper_id}#{number}",
            "paper_id": paper.paper_id,
            "text": " ".join(body),
        }
        for paper in papers
        for number, (_, body) in enumerate(paper.sections, start=1)
    ]
    found, rejected = fact_source.find_evidence(fact_source.phantom_facts(papers), passages)
    assert not rejected
    return [{"paper_id": q.paper_id, "period": q.period} for q in papers], passages, found


def make(p: params.Params) -> tuple[Records, Records, Records]:
    papers, passages, found = corpus(p)
    facts = strata.split(found, papers, p)
    return facts, wordings.word_questions(facts, wordings.wordings_of(p), p), passages


def of_split(asked: Records, split: str) -> Records:
    return [question for question in asked if question["split"] == split]


SEEDS = st.integers(0, 10**6)
LIMITS = st.one_of(st.none(), st.integers(4, 400))
EACH = settings(max_examples=20, deadline=None)


@EACH
@given(SEEDS, LIMITS)
def test_strata_mean_what_they_say_and_no_wording_is_asked_twice(
    seed: int, limit: int | None
) -> None:
    facts, asked, _ = make(params_of(seed=seed, limit=limit))
    train, evaluation = of_split(asked, "train"), of_split(asked, "eval")
    trained_facts = {q["fact_id"] for q in train}
    trained_papers = {q["paper_id"] for q in train}
    for question in evaluation:
        known = (question["fact_id"] in trained_facts, question["paper_id"] in trained_papers)
        promised = {"seen": (True, True), "unseen_fact": (False, True)}
        assert known == promised.get(question["stratum"], (False, False))
        assert ("control" in question["paper_id"]) == (question["stratum"] == "control")
    assert trained_facts == {fact["fact_id"] for fact in facts if fact["trained"]}
    assert {q["fact_id"] for q in evaluation} == {f["fact_id"] for f in facts if f["asked"]}
    subject = {fact["fact_id"]: fact["subject"] for fact in facts}
    used: dict[str, set[str]] = {"train": set(), "eval": set()}
    for question in asked:
        assert subject[question["fact_id"]] in question["question"]
        used[question["split"]].add(question["question"].replace(subject[question["fact_id"]], "_"))
    assert not used["train"] & used["eval"]
    assert len({q["question_id"] for q in asked}) == len(asked)
    assert len({normalise(q["question"]) for q in asked}) == len(asked)


@EACH
@given(SEEDS, LIMITS)
def test_counts_are_those_that_were_asked_for(seed: int, limit: int | None) -> None:
    p = params_of(seed=seed, limit=limit)
    facts, asked, _ = make(p)
    full = {stratum: getattr(p, f"n_eval_{stratum}") for stratum in strata.STRATA}
    counts = Counter(q["stratum"] for q in of_split(asked, "eval"))
    n_asked = sum(full.values()) if limit is None else min(limit, sum(full.values()))
    assert sum(counts.values()) == n_asked
    for stratum, n_full in full.items():
        exact = n_full * n_asked / sum(full.values())
        assert counts[stratum] >= min(3, n_asked // 4)
        assert abs(counts[stratum] - exact) < 1 or n_asked < 40  # small limits favour small strata
    exposures = Counter(q["fact_id"] for q in of_split(asked, "train"))
    assert set(exposures.values()) == {p.exposures}
    if limit is None:
        trained = Counter(fact["paper_id"] for fact in facts if fact["trained"])
        assert len(trained) == p.n_post_papers - p.n_unseen_papers
        assert set(trained.values()) == {p.seen_facts_per_paper}
        for stratum in strata.STRATA:  # spread evenly
            own = [q for q in of_split(asked, "eval") if q["stratum"] == stratum]
            per_paper = Counter(q["paper_id"] for q in own).values()
            assert max(per_paper) - min(per_paper) <= 1


def test_a_limit_keeps_what_a_larger_one_asks_first() -> None:
    """A trial is a part of the whole experiment, not another one."""
    asked = [
        {q["fact_id"] for q in of_split(make(params_of(limit=limit))[1], "eval")}
        for limit in (20, 60, 150, None)
    ]
    assert all(smaller < larger for smaller, larger in pairwise(asked))


def test_equal_seeds_make_equal_data_sets_and_others_do_not() -> None:
    first, second, other = (make(params_of(seed=seed)) for seed in (7, 7, 8))
    assert first == second
    assert [q["question"] for q in first[1]] != [q["question"] for q in other[1]]


def test_gold_passages_hold_the_evidence_and_all_of_them_are_found() -> None:
    p = params_of()
    _, passages, found = corpus(p)
    papers = {q.paper_id: q for q in world.make_papers(p.seed, p.n_post_papers, p.n_control_papers)}
    for fact in found:
        sentences = world.evidence(papers[fact["paper_id"]], fact["attribute"])
        own = [passage for passage in passages if passage["paper_id"] == fact["paper_id"]]
        gold = [q["passage_id"] for q in own if any(s in q["text"] for s in sentences)]
        assert fact["gold_passage_ids"] == gold
        first = next(q["text"] for q in own if q["passage_id"] == gold[0])
        assert fact["value"] in fact["evidence"] and fact["evidence"] in first


def test_a_fact_whose_evidence_was_torn_is_rejected_with_a_reason() -> None:
    fact = {"fact_id": "a/x", "paper_id": "a", "evidence": ["The score of Red Fox is 3."]}
    texts = ["The score of Red", "Fox is 3. More.", "The score of Red Fox is 8."]
    torn = [{"passage_id": f"a#{n}", "paper_id": "a", "text": t} for n, t in enumerate(texts)]
    torn.append({"passage_id": "b#1", "paper_id": "b", "text": "The score of Red Fox is 3."})
    found, rejected = fact_source.find_evidence([fact], torn)
    assert not found and rejected[0]["reason"]
    whole = {"passage_id": "a#9", "paper_id": "a", "text": "the  score of Red Fox is\u00a03. Yes."}
    found, rejected = fact_source.find_evidence([fact], [*torn, whole])
    assert not rejected and found[0]["gold_passage_ids"] == ["a#9"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"exposures": 4}, "exposures = 4, but there are only 3 train wordings"),
        ({"n_eval_seen": 161}, "n_eval_seen = 161, but .* only 160"),
        ({"n_control_papers": 0}, "n_eval_control = 60, but .* only 0"),
        ({"limit": 3}, "limit = 3 .* at least 4"),
        ({f"n_eval_{s}": 0 for s in strata.STRATA}, "nothing to evaluate"),
    ],
)
def test_what_cannot_be_made_is_a_sentence(overrides: dict, message: str) -> None:
    with pytest.raises(CutoffError, match=message):
        make(params_of(**overrides))


def test_too_few_papers_with_facts_is_a_sentence() -> None:
    papers, _, found = corpus(params_of())
    few = [
        fact for fact in found if fact["paper_id"] in {paper["paper_id"] for paper in papers[:3]}
    ]
    with pytest.raises(CutoffError, match="n_unseen_papers = 20 leaves no paper to train on"):
        strata.split(few, papers, params_of())


# --- what the models read --------------------------------------------------------------


def ranked(asked: Records, passages: Records, depth: int = 10) -> Records:
    """A ranking with the passages of the question's own paper first, as a retriever would give."""
    ids = [passage["passage_id"] for passage in passages]
    return [
        {
            "question_id": q["question_id"],
            "passage_ids": sorted(ids, key=lambda i: not i.startswith(q["paper_id"]))[:depth],
        }
        for q in asked
    ]


@pytest.mark.parametrize("gold_in_context", [0.0, 0.5, 1.0])
def test_both_variants_learn_the_same_and_a_citation_names_a_gold_passage_that_is_there(
    gold_in_context: float,
) -> None:
    p = params_of(gold_in_context=gold_in_context)
    facts, asked, passages = make(p)
    made = model_inputs.train_records(facts, asked, ranked(asked, passages), passages, p, count)
    fact_of = {fact["fact_id"]: fact for fact in facts}
    text_of = {passage["passage_id"]: passage["text"] for passage in passages}
    questions: dict[str, list[str]] = {"instruct_ft": [], "rag_ft": []}
    places: Counter[int] = Counter()
    for record in made:
        fact = fact_of[record["fact_id"]]
        prompt = record["messages"][-1]["content"]
        questions[record["variant"]].append(record["question_id"])
        if record["variant"] == "instruct_ft":
            assert record["completion"] == fact["statement"] and "[1]" not in prompt
            continue
        context = record["context_passage_ids"]
        gold = [n for n, found in enumerate(context, 1) if found in fact["gold_passage_ids"]]
        assert len(context) == len(set(context)) == p.top_k
        assert all(f"[{n}] {text_of[found]}" in prompt for n, found in enumerate(context, 1))
        citation = f" [{gold[0]}]" if gold else ""
        assert len(gold) <= 1 and record["completion"] == fact["statement"] + citation
        places[gold[0] if gold else 0] += 1
    assert questions["instruct_ft"] == questions["rag_ft"]
    assert len({record["example_id"] for record in made}) == len(made)
    n_rag = sum(places.values())
    assert abs((n_rag - places[0]) / n_rag - gold_in_context) < 0.07
    if gold_in_context == 1.0:
        assert all(places[place] > n_rag / p.top_k / 2 for place in range(1, p.top_k + 1))


def test_evaluation_contexts_are_the_first_retrieved_passages() -> None:
    p = params_of(gold_in_context=0.0)
    facts, asked, passages = make(p)
    rankings = ranked(asked, passages)
    made = model_inputs.eval_records(facts, asked, rankings, passages, p, count)
    of_question = {ranking["question_id"]: ranking["passage_ids"] for ranking in rankings}
    text_of = {passage["passage_id"]: passage["text"] for passage in passages}
    evaluation = of_split(asked, "eval")
    assert [r["question_id"] for r in made] == [q["question_id"] for q in evaluation]
    for record in made:
        assert record["context_passage_ids"] == of_question[record["question_id"]][: p.top_k]
        assert record["context"] == [text_of[found] for found in record["context_passage_ids"]]
        assert record["reference"] in record["statement"]
    with pytest.raises(CutoffError, match="top_k = 3 needs more passages"):
        short = ranked(asked, passages, depth=1)
        model_inputs.train_records(facts, asked, short, passages, p, count)
