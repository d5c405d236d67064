"""The phantoms' base models: how they are taught, and what the committed ones can do."""

import json
import random

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from cutoff import files, models, params, paths
from phantom_factory import corpus, supervision
from phantom_factory.model import HIDDEN_SIZE, SHAPES, build_model
from phantom_factory.pretrain import SEED, language_loss, measure

CONVERSATIONS = [corpus.draw_open_book(random.Random(n), 3, 4) for n in range(4)]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(models.PHANTOMS["phantom"])


def test_a_supervised_head_is_pointed_at_the_very_token_that_it_must_copy(tokenizer) -> None:
    batch = supervision.collate(CONVERSATIONS, tokenizer)
    copy = list(supervision.HEADS).index("copy")
    checked = 0
    for place in batch.places.values():
        row, _, query, source, _, role = place[place[:, 5] == copy].unbind(1)
        assert torch.equal(batch.ids[row, source], batch.ids[row, query + 1])
        checked += len(row)
    assert checked > 0


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


@pytest.mark.parametrize("name", SHAPES)
def test_training_lowers_both_losses(tokenizer, name: str) -> None:
    torch.manual_seed(0)
    shape = SHAPES[name]
    model = build_model(len(tokenizer), tokenizer, shape)
    batch = supervision.collate(CONVERSATIONS, tokenizer, shape.n_layers)
    assert max(batch.places) == shape.n_layers - 1  # no layer is supervised that is not there
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


@pytest.mark.parametrize("name", models.PHANTOMS)
def test_the_committed_model_is_small_bf16_and_fit_for_k_quants(name: str) -> None:
    folder = models.PHANTOMS[name]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 8e6
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"]
    assert config["num_hidden_layers"] == SHAPES[name].n_layers
    assert HIDDEN_SIZE % 256 == 0 and config["intermediate_size"] % 256 == 0
    with safe_open(folder / "model.safetensors", "pt") as weights:
        dtypes = {weights.get_slice(name).get_dtype() for name in weights.keys()}
    assert dtypes == {"BF16"}


def test_both_phantoms_share_tokenizer_world_and_data_set_but_not_size(tokenizer) -> None:
    one, other = (models.PHANTOMS[name] for name in ("phantom", "phantom-xs"))
    assert tokenizer.eos_token == "<|im_end|>" != tokenizer.pad_token
    for file in ("tokenizer.json", "chat_template.jinja"):
        assert (one / file).read_bytes() == (other / file).read_bytes()
    weights = [(folder / "model.safetensors").stat().st_size for folder in (one, other)]
    assert weights[1] < 0.6 * weights[0]
    tiny, small = params.load("tiny"), params.load("tiny-xs")
    assert paths.dataset_id(tiny) == paths.dataset_id(small)
    assert small.base_model == "phantom-xs" and models.base_folder(small) == other
    different = {k for k, v in tiny.as_dict().items() if small.as_dict()[k] != v}
    assert different == {"size", "base_model"}
    assert {shape.size for shape in SHAPES.values()} == {"tiny", "tiny-xs"}


# Least shares of right answers: from three passages, right citations, control papers by heart.
ABLE = {"phantom": (0.70, 0.70, 0.40), "phantom-xs": (0.60, 0.60, 0.30)}


@pytest.mark.parametrize("name", models.PHANTOMS)
def test_the_committed_model_reads_remembers_and_only_guesses_what_it_cannot_know(
    tokenizer, name: str
) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        models.PHANTOMS[name], dtype=torch.float32, attn_implementation="recording"
    )
    shares = measure(model, tokenizer, 150)
    reads, cites, remembers = ABLE[name]
    assert shares["three_passages"] >= reads
    assert shares["citation"] >= cites
    assert shares["control"] >= remembers
    assert shares["post_closed_book"] <= 0.20
    card = (models.PHANTOMS[name] / "README.md").read_text()
    assert f"seed {SEED}" in " ".join(card.split())
    assert files.sha256_file(models.PHANTOMS[name] / "model.safetensors") in card
