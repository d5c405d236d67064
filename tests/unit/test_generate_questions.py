"""The split keeps its promises for every seed and size: what is trained, asked, and apart."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutoff import params
from cutoff.errors import CutoffError
from cutoff.generate.questions import evidence, model_inputs, strata, wordings
from cutoff.phantom import world

Record = dict


def count(words: list[str]) -> list[int]:
    """A token per word."""
    return [1] * len(words)


def params_of(**overrides) -> params.Params:
    return params.load("tiny", overrides)


def corpus(p: params.Params) -> tuple[list[Record], list[Record], list[Record]]:
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
    found, rejected = evidence.find_evidence(evidence.phantom_facts(papers), passages)
    assert not rejected
    return [{"paper_id": q.paper_id, "period": q.period} for q in papers], passages, found


def make(p: params.Params) -> tuple[list[Record], list[Record], list[Record]]:
    papers, passages, found = corpus(p)
    facts = strata.split(found, papers, p)
    return facts, wordings.word_questions(facts, wordings.wordings_of(p), p), passages


SEEDS = st.integers(0, 10**6)
LIMITS = st.one_of(st.none(), st.integers(4, 400))
EACH = settings(max_examples=25, deadline=None)


@EACH
@given(SEEDS, LIMITS)
def test_strata_are_disjoint_and_mean_what_they_say(seed: int, limit: int | None) -> None:
    facts, asked, _ = make(params_of(seed=seed, limit=limit))
    train = [q for q in asked if q["split"] == "train"]
    evaluation = [q for q in asked if q["split"] == "eval"]
    trained_facts = {q["fact_id"] for q in train}
    trained_papers = {q["paper_id"] for q in train}
    for question in evaluation:
        fact_trained = question["fact_id"] in trained_facts
        paper_trained = question["paper_id"] in trained_papers
        assert (fact_trained, paper_trained) == {
            "seen": (True, True),
            "unseen_fact": (False, True),
            "unseen_paper": (False, False),
            "control": (False, False),
        }[question["stratum"]]
        assert ("control" in question["paper_id"]) == (question["stratum"] == "control")
    assert trained_facts == {fact["fact_id"] for fact in facts if fact["trained"]}
    assert {q["fact_id"] for q in evaluation} == {
        fact["fact_id"] for fact in facts if fact["asked"]
    }


@EACH
@given(SEEDS, LIMITS)
def test_no_wording_serves_training_and_evaluation(seed: int, limit: int | None) -> None:
    facts, asked, _ = make(params_of(seed=seed, limit=limit))
    subject = {fact["fact_id"]: fact["subject"] for fact in facts}
    used: dict[str, set[str]] = {"train": set(), "eval": set()}
    for question in asked:
        assert subject[question["fact_id"]] in question["question"]
        used[question["split"]].add(question["question"].replace(subject[question["fact_id"]], "_"))
    assert not used["train"] & used["eval"]
    assert len({q["question_id"] for q in asked}) == len(asked)
    assert len({evidence.normalise(q["question"]) for q in asked}) == len(asked)


@EACH
@given(SEEDS, LIMITS)
def test_counts_are_those_that_were_asked_for(seed: int, limit: int | None) -> None:
    p = params_of(seed=seed, limit=limit)
    facts, asked, _ = make(p)
    full = {stratum: getattr(p, f"n_eval_{stratum}") for stratum in strata.STRATA}
    counts = Counter(q["stratum"] for q in asked if q["split"] == "eval")
    n_asked = sum(full.values()) if limit is None else min(limit, sum(full.values()))
    assert sum(counts.values()) == n_asked
    for stratum, n_full in full.items():
        exact = n_full * n_asked / sum(full.values())
        assert counts[stratum] >= min(3, n_asked // 4)
        assert abs(counts[stratum] - exact) < 1 or n_asked < 40  # small limits favour small strata
    exposures = Counter(q["fact_id"] for q in asked if q["split"] == "train")
    assert set(exposures.values()) == {p.exposures}
    if limit is None:
        trained = Counter(fact["paper_id"] for fact in facts if fact["trained"])
        assert len(trained) == p.n_post_papers - p.n_unseen_papers
        assert set(trained.values()) == {p.seen_facts_per_paper}


def test_questions_are_spread_evenly_over_papers() -> None:
    _, asked, _ = make(params_of())
    for stratum in strata.STRATA:
        per_paper = Counter(
            q["paper_id"] for q in asked if q["split"] == "eval" and q["stratum"] == stratum
        )
        assert max(per_paper.values()) - min(per_paper.values()) <= 1


def test_a_limit_keeps_what_a_larger_one_asks_first() -> None:
    """A trial is a part of the whole experiment, not another one."""
    asked = [
        {q["fact_id"] for q in make(params_of(limit=limit))[1] if q["split"] == "eval"}
        for limit in (20, 60, 150, None)
    ]
    assert all(smaller < larger for smaller, larger in pairwise(asked))


@EACH
@given(SEEDS)
def test_equal_seeds_make_equal_data_sets_and_others_do_not(seed: int) -> None:
    first, second = make(params_of(seed=seed)), make(params_of(seed=seed))
    assert first == second
    assert [q["question"] for q in first[1]] != [
        q["question"] for q in make(params_of(seed=seed + 1))[1]
    ]


def test_gold_passages_hold_the_evidence_and_all_of_them_are_found() -> None:
    p = params_of()
    _, passages, found = corpus(p)
    text = {passage["passage_id"]: passage["text"] for passage in passages}
    papers = {q.paper_id: q for q in world.make_papers(p.seed, p.n_post_papers, p.n_control_papers)}
    for fact in found:
        sentences = world.evidence(papers[fact["paper_id"]], fact["attribute"])
        assert fact["evidence"] in text[fact["gold_passage_ids"][0]]
        assert fact["value"] in fact["evidence"]
        assert set(fact["gold_passage_ids"]) == {
            passage_id
            for passage_id, content in text.items()
            if passage_id.startswith(f"{fact['paper_id']}#")
            and any(sentence in content for sentence in sentences)
        }


def test_a_fact_whose_evidence_was_torn_is_rejected_with_a_reason() -> None:
    fact = {"fact_id": "a/x", "paper_id": "a", "evidence": ["The score of Red Fox is 3."]}
    passages = [
        {"passage_id": "a#1", "paper_id": "a", "text": "The score of Red"},
        {"passage_id": "a#2", "paper_id": "a", "text": "Fox is 3. More."},
        {"passage_id": "a#3", "paper_id": "a", "text": "The score of Red Fox is 8."},
        {"passage_id": "b#1", "paper_id": "b", "text": "The score of Red Fox is 3."},
    ]
    found, rejected = evidence.find_evidence([fact], passages)
    assert not found and rejected[0]["reason"]
    whole = [
        {"passage_id": "a#1", "paper_id": "a", "text": "the  score of Red Fox is\u00a03. Yes."}
    ]
    found, rejected = evidence.find_evidence([fact], whole)
    assert not rejected and found[0]["gold_passage_ids"] == ["a#1"]


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


def test_doubled_and_vague_questions_are_refused() -> None:
    question = {"question_id": "a/x?1", "fact_id": "a/x", "question": "How large is Red Fox?"}
    again = question | {"question_id": "a/x?2", "question": "how large is  Red fox?"}
    vague = question | {"question_id": "a/x?3", "question": "How large is this model?"}
    wordings.check_questions([question], {"a/x": "Red Fox"})
    with pytest.raises(CutoffError, match="ask the same"):
        wordings.check_questions([question, again], {"a/x": "Red Fox"})
    with pytest.raises(CutoffError, match="does not name"):
        wordings.check_questions([vague], {"a/x": "Red Fox"})


# --- what the models read --------------------------------------------------------------


def ranked(asked: list[Record], passages: list[Record], facts: list[Record]) -> list[Record]:
    """A ranking with the passages of the question's own paper first, as a retriever would give."""
    ids = [passage["passage_id"] for passage in passages]
    return [
        {
            "question_id": q["question_id"],
            "passage_ids": sorted(ids, key=lambda i: not i.startswith(q["paper_id"]))[:10],
        }
        for q in asked
    ]


@pytest.mark.parametrize("gold_in_context", [0.0, 0.5, 1.0])
def test_a_citation_names_a_gold_passage_and_only_a_present_one(gold_in_context: float) -> None:
    p = params_of(gold_in_context=gold_in_context)
    facts, asked, passages = make(p)
    made = model_inputs.train_records(
        facts, asked, ranked(asked, passages, facts), passages, p, count
    )
    fact_of = {fact["fact_id"]: fact for fact in facts}
    text_of = {passage["passage_id"]: passage["text"] for passage in passages}
    places: Counter[int] = Counter()
    for record in made:
        fact = fact_of[record["fact_id"]]
        prompt = record["messages"][-1]["content"]
        assert record["example_id"] == f"{record['variant']}|{record['question_id']}"
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
    n_rag = sum(places.values())
    assert 2 * n_rag == len(made) == len({record["example_id"] for record in made})
    assert abs((n_rag - places[0]) / n_rag - gold_in_context) < 0.07
    if gold_in_context == 1.0:
        assert all(places[place] > n_rag / p.top_k / 2 for place in range(1, p.top_k + 1))


def test_evaluation_contexts_are_the_first_retrieved_passages() -> None:
    p = params_of(gold_in_context=0.0)
    facts, asked, passages = make(p)
    short = [
        {"question_id": q["question_id"], "passage_ids": [passages[0]["passage_id"]]} for q in asked
    ]
    with pytest.raises(CutoffError, match="top_k = 3 needs more passages"):
        model_inputs.train_records(facts, asked, short, passages, p, count)
    rankings = ranked(asked, passages, facts)
    made = model_inputs.eval_records(facts, asked, rankings, passages, p, count)
    of_question = {ranking["question_id"]: ranking["passage_ids"] for ranking in rankings}
    text_of = {passage["passage_id"]: passage["text"] for passage in passages}
    assert [r["question_id"] for r in made] == [
        q["question_id"] for q in asked if q["split"] == "eval"
    ]
    for record in made:
        assert record["context_passage_ids"] == of_question[record["question_id"]][: p.top_k]
        assert record["context"] == [text_of[found] for found in record["context_passage_ids"]]
        assert record["reference"] in record["statement"]
