"""The engine in this process against llama.cpp: the same weights give the same answers."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cutoff import prompts
from cutoff.engines import chat, failures, hf_generation, llama_cpp
from cutoff.errors import CutoffError
from cutoff.phantom import world

NUM_CTX = 1024
OPTIONS = chat.Options(NUM_CTX)


@pytest.fixture(scope="module")
def engine(base_model: Path) -> Iterator[hf_generation.Engine]:
    with hf_generation.load(base_model, None) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def requests() -> list[chat.Request]:
    """Closed-book and RAG prompts: short and long ones in one batch."""
    made = []
    for i, paper in enumerate(world.make_papers(0, 6, 0)):
        question = world.question_wordings(world.ATTRIBUTES[i], paper.method)["eval"][0]
        passages = [" ".join(body) for _, body in paper.sections[:3]]
        made += [
            chat.Request(f"closed {i}", prompts.render_closed_book(question), 24),
            chat.Request(f"rag {i}", prompts.render_rag(question, passages), 24),
        ]
    return made


def answers(
    engine: chat.Engine | chat.BatchEngine, requests: list[chat.Request], options: chat.Options
) -> dict[str, tuple]:
    return {
        c.key: (c.text, c.prompt_tokens, c.completion_tokens, c.finish_reason)
        for c in chat.complete(requests, engine, options, 2)
    }


def test_batched_answers_are_those_of_llama_cpp_and_a_penalty_changes_them(
    engine: hf_generation.Engine, requests: list[chat.Request], base_gguf: Path
) -> None:
    penalised = chat.Options(NUM_CTX, repeat_penalty=4.0)
    with llama_cpp.serve(base_gguf, NUM_CTX, 2, threads=1) as served:
        plain, other = (answers(served, requests, options) for options in (OPTIONS, penalised))
    assert answers(engine, requests, OPTIONS) == plain
    assert answers(engine, requests, penalised) == other != plain


def test_a_penalty_reaches_64_tokens_back_and_no_padding() -> None:
    scores = torch.tensor([[3.0, -3.0, 3.0, 3.0]])
    row = [0] * 5 + [1] + [2] * 64  # padding, then a token just out of reach
    penalty = hf_generation.RepeatPenalty(1.5, torch.tensor([[5]]))
    assert penalty(torch.tensor([row]), scores).tolist() == [[3.0, -3.0, 2.0, 3.0]]
    assert penalty(torch.tensor([row[:-1]]), scores).tolist() == [[3.0, -4.5, 2.0, 3.0]]
    assert penalty(torch.tensor([row[:9]]), scores).tolist() == [[3.0, -4.5, 2.0, 3.0]]


def test_an_adapter_answers_as_the_same_adapter_in_llama_cpp(
    base_model: Path,
    adapter: Path,
    base_gguf: Path,
    lora_gguf: Path,
    engine: hf_generation.Engine,
    requests: list[chat.Request],
) -> None:
    with hf_generation.load(base_model, adapter) as tuned:
        found = answers(tuned, requests, OPTIONS)
    with llama_cpp.serve(base_gguf, NUM_CTX, 2, lora=lora_gguf, threads=1) as served:
        expected = answers(served, requests, OPTIONS)
    assert found != answers(engine, requests, OPTIONS)
    same = sum(found[key] == expected[key] for key in expected)
    assert same >= len(expected) - 2  # 16 bits in the file, 32 here: a close decision may fall


def test_batches_are_alike_in_length_and_never_larger_than_their_budget(
    base_model: Path, requests: list[chat.Request]
) -> None:
    with hf_generation.load(base_model, None, batch_tokens=600) as engine:
        batches = engine.batches(requests, OPTIONS)
        lengths = [
            [done.prompt_tokens or 0 for done in engine.ask_together(batch, OPTIONS)]
            for batch in batches
        ]
    assert sorted(r.key for batch in batches for r in batch) == sorted(r.key for r in requests)
    assert len(batches) > 2
    for row in lengths:
        assert (max(row) + 24) * len(row) <= 600 or len(row) == 1
    assert [n for row in lengths for n in row] == sorted(sum(lengths, []), reverse=True)


def test_sampling_follows_its_seed(
    engine: hf_generation.Engine, requests: list[chat.Request]
) -> None:
    first, again, other = (
        answers(engine, requests, chat.Options(NUM_CTX, temperature=1.5, seed=seed))
        for seed in (1, 1, 2)
    )
    assert first == again != other


def test_what_the_publisher_recommends_changes_nothing(
    base_model: Path, requests: list[chat.Request], engine: hf_generation.Engine, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(base_model, tmp_path / "recommended"))
    path = folder / "generation_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "repetition_penalty": 8.0, "max_new_tokens": 3}))
    with hf_generation.load(folder, None) as other:
        assert answers(other, requests, OPTIONS) == answers(engine, requests, OPTIONS)


def test_a_prompt_that_does_not_fit_is_named_before_anything_is_generated(
    engine: hf_generation.Engine, requests: list[chat.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "ask_together", None)
    long = chat.Request("long", prompts.render_closed_book("what " * 1200), 16)
    with pytest.raises(failures.Overflow, match=r"long has .* num_ctx = 1024"):
        list(chat.complete([*requests, long], engine, OPTIONS, 1))


def test_a_schema_is_refused_with_what_can_hold_one(engine: hf_generation.Engine) -> None:
    request = chat.Request("q", prompts.render_closed_book("what"), 16, schema={"type": "object"})
    with pytest.raises(CutoffError, match="JSON schema; use llama_cpp"):
        list(chat.complete([request], engine, OPTIONS, 1))


def test_a_folder_without_a_model_ends_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CutoffError, match="transformers cannot load"):
        with hf_generation.load(tmp_path, None):
            pass
