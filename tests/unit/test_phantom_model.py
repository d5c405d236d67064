"""The phantom's base model: how it is taught, and what the committed one can do."""

import json
import random

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from cutoff.phantom import corpus, supervision
from cutoff.phantom.model import HIDDEN_SIZE, build_model
from cutoff.phantom.pretrain import BASE_MODEL_FOLDER, SEED, language_loss, measure

CONVERSATIONS = [corpus.draw_open_book(random.Random(n), 3, 4) for n in range(4)]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BASE_MODEL_FOLDER)


def test_a_supervised_head_is_pointed_at_the_very_token_that_it_must_copy(tokenizer) -> None:
    batch = supervision.collate(CONVERSATIONS, tokenizer)
    copy = list(supervision.HEADS).index("copy")
    checked = 0
    for place in batch.places.values():
        row, _, query, source, _, role = place[place[:, 5] == copy].unbind(1)
        assert torch.equal(batch.ids[row, source], batch.ids[row, query + 1])
        checked += len(row)
    assert checked > 0


def test_only_answers_carry_the_full_loss_weight(tokenizer) -> None:
    conversation = CONVERSATIONS[0]
    batch = supervision.collate([conversation], tokenizer)
    answers = tokenizer.decode(batch.ids[0][batch.weights[0] >= 1])
    assert answers == "".join(conversation.text[slice(*span)] for span in conversation.answers)


def test_position_heads_start_by_looking_exactly_1_2_and_3_tokens_back(tokenizer) -> None:
    torch.manual_seed(0)
    model = build_model(len(tokenizer), tokenizer)
    batch = supervision.collate(CONVERSATIONS[:1], tokenizer)
    with torch.no_grad():
        language_loss(model, batch)
    queries, keys = supervision.recorded[0]
    scores = (queries[0, :3] @ keys[0, :3].transpose(1, 2)) / keys.shape[-1] ** 0.5
    causal = torch.ones_like(scores[0], dtype=torch.bool).tril()
    attention = scores.masked_fill(~causal, -torch.inf).softmax(-1)
    for head, distance in enumerate((1, 2, 3)):
        assert attention[head].diagonal(-distance)[5:].min() > 0.98


def test_training_lowers_both_losses(tokenizer) -> None:
    torch.manual_seed(0)
    model = build_model(len(tokenizer), tokenizer)
    batch = supervision.collate(CONVERSATIONS, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        language, attention = (
            language_loss(model, batch),
            supervision.supervision_loss(batch.places),
        )
        optimizer.zero_grad()
        (language + attention).backward()
        optimizer.step()
        losses.append((language.item(), attention.item()))
    assert losses[-1][0] < 0.8 * losses[0][0]
    assert losses[-1][1] < 0.8 * losses[0][1]


def test_the_committed_model_is_small_bf16_and_fit_for_k_quants() -> None:
    files = list(BASE_MODEL_FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) <= 8e6
    config = json.loads((BASE_MODEL_FOLDER / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert HIDDEN_SIZE % 256 == 0 and config["intermediate_size"] % 256 == 0
    with safe_open(BASE_MODEL_FOLDER / "model.safetensors", "pt") as weights:
        dtypes = {weights.get_slice(name).get_dtype() for name in weights.keys()}
    assert dtypes == {"BF16"}


def test_the_end_of_a_turn_is_never_the_padding(tokenizer) -> None:
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_the_committed_model_reads_remembers_and_only_guesses_what_it_cannot_know(
    tokenizer,
) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        BASE_MODEL_FOLDER, dtype=torch.float32, attn_implementation="recording"
    )
    shares = measure(model, tokenizer, 150)
    assert shares["three_passages"] >= 0.70
    assert shares["citation"] >= 0.70
    assert shares["control"] >= 0.40
    assert shares["post_closed_book"] <= 0.20
    card = (BASE_MODEL_FOLDER / "README.md").read_text()
    assert f"seed {SEED}" in card
