"""How fast embedded llama.cpp answers, against one request at a time. Prints, asserts no times.

pytest -m bench -s tests/bench/test_generation.py
"""

import random
import time
from pathlib import Path

import pytest

from cutoff import prompts
from cutoff.engines import chat, llama_cpp
from cutoff.export import gguf_writer
from cutoff.export.weights import quantise
from cutoff.phantom import world

pytestmark = pytest.mark.bench

N_QUESTIONS = 60
NUM_CTX = 1024
MAX_NEW_TOKENS = 64
OPTIONS = chat.Options(NUM_CTX)
REFERENCE = "one at a time, all cores on it"
WAYS = {REFERENCE: 1, "8 in flight, an engine per core (ours)": 8}  # requests in flight


@pytest.fixture(scope="module")
def weights(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    gguf_writer.write_gguf(base_model, None, folder / "base.F16.gguf")
    quantise(folder / "base.F16.gguf", folder / "base.Q4_K_M.gguf", "Q4_K_M")
    return folder / "base.Q4_K_M.gguf"


@pytest.fixture(scope="module")
def requests() -> list[chat.Request]:
    """Closed-book and RAG prompts about phantom papers, as 04 sends them."""
    rng = random.Random(0)
    made = []
    for i, paper in enumerate(world.make_papers(0, N_QUESTIONS, 0)):
        attribute = rng.choice(world.ATTRIBUTES)
        question = world.question_wordings(attribute, paper.method)["eval"][0]
        passages = [" ".join(body) for _, body in paper.sections[1:]]
        made += [
            chat.Request(f"{i} closed", prompts.render_closed_book(question), MAX_NEW_TOKENS),
            chat.Request(f"{i} rag", prompts.render_rag(question, passages), MAX_NEW_TOKENS),
        ]
    return made


def test_tokens_per_second_against_one_request_at_a_time(
    weights: Path, requests: list[chat.Request]
) -> None:
    speeds, answers = {}, {}
    for name, in_flight in WAYS.items():
        with llama_cpp.serve(weights, NUM_CTX, in_flight) as engine:
            warm_up = list(chat.complete(requests[:8], engine, OPTIONS, in_flight))
            started = time.perf_counter()
            done = list(chat.complete(requests, engine, OPTIONS, in_flight))
            seconds = time.perf_counter() - started
        assert len(warm_up) == 8
        read, written = (
            sum(getattr(completion, field) for completion in done) / seconds
            for field in ("prompt_tokens", "completion_tokens")
        )
        speeds[name] = read + written
        answers[name] = {completion.key: completion.text for completion in done}
        print(
            f"\n{name:40} {read:7,.0f} prompt + {written:5,.0f} new tokens/s, "
            f"x {speeds[name] / speeds[REFERENCE]:.2f}, "
            f"{sum(t != answers[REFERENCE][k] for k, t in answers[name].items())} of "
            f"{len(done)} answers differ",
            end="",
        )
    print()
