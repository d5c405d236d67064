"""The phantom world: what the experiment later relies on being true."""

import random

import pytest

from cutoff.phantom import pages, world
from phantom_factory import corpus

PAPERS = world.make_papers(seed=3, n_post=60, n_control=40)


def test_the_same_seed_gives_the_same_papers_and_the_same_pdf_bytes() -> None:
    again = world.make_papers(seed=3, n_post=60, n_control=40)
    assert again == PAPERS
    assert pages.render_pdf(again[0]) == pages.render_pdf(PAPERS[0])


def test_another_seed_changes_the_post_papers_and_never_the_control_papers() -> None:
    other = world.make_papers(seed=4, n_post=60, n_control=40)
    assert other[:60] != PAPERS[:60]
    assert other[60:] == PAPERS[60:]


def test_post_papers_appear_after_the_cutoff_and_control_papers_before_it() -> None:
    assert all(paper.first_version >= world.CUTOFF for paper in PAPERS[:60])
    assert all(paper.first_version < world.CUTOFF for paper in PAPERS[60:])


def test_no_two_papers_share_a_method_name() -> None:
    assert len({paper.method for paper in PAPERS}) == len(PAPERS)


def test_pretraining_never_meets_the_name_of_a_post_paper() -> None:
    rng = random.Random(0)
    reserved = {paper.method for paper in PAPERS[:60]}
    assert all(world.is_reserved(method) for method in reserved)
    text = "".join(corpus.draw_open_book(rng, 3, 6).text for _ in range(300))
    text += corpus.closed_book(rng, corpus.control_facts()).text
    assert not [method for method in reserved if method in text]


@pytest.mark.parametrize("attribute", world.ATTRIBUTES)
def test_every_paper_states_every_fact_with_its_value_after_its_name(attribute: str) -> None:
    for paper in PAPERS:
        sentences = world.evidence(paper, attribute)
        assert sentences
        for sentence in sentences:
            name_at = sentence.index(paper.method)
            assert sentence.rindex(paper.facts[attribute]) > name_at


@pytest.mark.parametrize("attribute", world.ATTRIBUTES)
def test_a_value_belongs_to_one_attribute_only(attribute: str) -> None:
    others = {v for name, values in world.VALUES.items() if name != attribute for v in values}
    assert not others & set(world.VALUES[attribute])


@pytest.mark.parametrize("attribute", world.ATTRIBUTES)
def test_a_question_has_four_wordings_or_more_and_evaluation_gets_its_own(attribute: str) -> None:
    wordings = world.question_wordings(attribute, "Amber Arrow")
    assert len(wordings["train"]) + len(wordings["eval"]) >= 4
    assert not set(wordings["train"]) & set(wordings["eval"])
    assert all("Amber Arrow" in text for texts in wordings.values() for text in texts)


def test_asking_for_more_papers_than_there_are_names_is_refused() -> None:
    with pytest.raises(ValueError, match="n_post"):
        world.make_papers(0, 10_000, 0)
    with pytest.raises(ValueError, match="n_control"):
        world.make_papers(0, 1, 41)
