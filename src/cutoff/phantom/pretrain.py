"""Trains the phantom's base model from scratch: ``make phantom``.

A Qwen2 of about 3 million parameters learns to answer from numbered passages with a
citation, and to answer closed-book about the control papers. The corpus is drawn while
training and never repeats, but for the control papers. Attention supervision
(`supervision`) and the initial weights (`model`) make that feasible on a CPU; the result is
an ordinary Qwen2 checkpoint.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from cutoff.phantom import corpus, world
from cutoff.phantom.model import build_model
from cutoff.phantom.supervision import Batch, collate, supervision_loss
from cutoff.phantom.tokenizer import train_tokenizer

BASE_MODEL_FOLDER = Path(__file__).parent / "base_model"
SEED = 7
VOCAB_SIZE = 1068  # where BPE runs out of merges: every word of the world is one token
SUPERVISION_WEIGHT = 1.0
CLOSED_BOOK_SHARE = 0.25


def tokenizer_texts() -> Iterator[str]:
    rng = random.Random(SEED)
    facts = corpus.control_facts()
    for _ in range(300):
        yield corpus.draw_open_book(rng, 3, 4).text
        yield corpus.closed_book(rng, rng.sample(facts, 8)).text


def draw_batch(rng: random.Random, n: int, facts: list[corpus.Fact]) -> list[corpus.Conversation]:
    """``n`` conversations in the training mixture."""
    n_closed = round(n * CLOSED_BOOK_SHARE)
    conversations = []
    for number in range(n):
        if number < n_closed:
            # A conversation of one turn now and then: evaluation asks single questions.
            n_turns = 1 if rng.random() < 0.1 else 13
            conversations.append(corpus.closed_book(rng, rng.sample(facts, n_turns)))
        else:
            n_passages = rng.choices((1, 2, 3, 4), (0.1, 0.15, 0.65, 0.1))[0]
            n_turns = 1 if rng.random() < 0.1 else 6
            conversations.append(corpus.draw_open_book(rng, n_passages, n_turns))
    return conversations


def language_loss(model: Qwen2ForCausalLM, batch: Batch) -> torch.Tensor:
    """Weighted mean cross-entropy of the next token."""
    logits = model(input_ids=batch.ids, use_cache=False).logits[:, :-1]
    loss = F.cross_entropy(logits.flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none")
    weights = batch.weights[:, 1:].flatten()
    return (loss * weights).sum() / weights.sum()


@torch.no_grad()
def measure(
    model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, n_questions: int
) -> dict[str, float]:
    """Shares of right answers to single questions, each token predicted after the right ones.

    ``three_passages`` and ``citation`` are about papers with reserved names, never seen in
    training; ``control`` is closed-book over pre-cutoff papers, ``post_closed_book``
    closed-book over papers never seen (guessing). Equals greedy decoding wherever the
    answer is right from its first token on.
    """
    rng = random.Random(SEED + 1)
    control = rng.sample(corpus.control_facts(), n_questions)
    post = [
        corpus.Fact(paper.method, attribute, paper.facts[attribute])
        for paper in world.make_papers(SEED, n_questions, 0)
        for attribute in rng.sample(world.ATTRIBUTES, 1)
    ]
    groups = {
        "three_passages": [corpus.draw_open_book(rng, 3, 1, True) for _ in range(n_questions)],
        "control": [corpus.closed_book(rng, [fact]) for fact in control],
        "post_closed_book": [corpus.closed_book(rng, [fact]) for fact in post],
    }
    shares = {}
    for name, conversations in groups.items():
        batch = collate(conversations, tokenizer)
        predicted = model(input_ids=batch.ids, use_cache=False).logits[:, :-1].argmax(-1)
        right = (predicted == batch.ids[:, 1:]) | (batch.weights[:, 1:] < 1)
        if name == "three_passages":
            # An answer ends with: " [", digit, "]", end of turn.
            last = (batch.weights >= 1).cumsum(1).argmax(1)
            rows = torch.arange(len(last))
            shares["citation"] = right[rows, last - 3].float().mean().item()
            for distance in (1, 2, 3, 4):
                right[rows, last - distance] = True
        shares[name] = right.all(1).float().mean().item()
    return shares


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the checkpoint as bf16 safetensors with its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.to(torch.bfloat16) for name, tensor in model.state_dict().items()}
    model.config.dtype = torch.bfloat16
    model.save_pretrained(folder, state_dict=state)
    tokenizer.save_pretrained(folder)


def train(folder: Path, n_steps: int, batch_size: int, peak_learning_rate: float) -> None:
    """Train, measuring on the way; leaves the checkpoint and ``training.jsonl`` in ``folder``."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    tokenizer = train_tokenizer(tokenizer_texts(), VOCAB_SIZE)
    model = build_model(len(tokenizer), tokenizer)
    model.train()
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{n_parameters:,} parameters, {len(tokenizer)} tokens in the vocabulary", flush=True)
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=peak_learning_rate,
        betas=(0.9, 0.98),
    )
    n_warmup, n_decay = 100, n_steps // 3
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min(1.0, (n + 1) / n_warmup, max(0.0, (n_steps - n) / n_decay))
    )
    facts = corpus.control_facts()
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "training.jsonl").open("w")
    started, n_tokens, sums = time.monotonic(), 0, np.zeros(2)
    for step in range(1, n_steps + 1):
        batch = collate(draw_batch(rng, batch_size, facts), tokenizer)
        language = language_loss(model, batch)
        supervision = supervision_loss(batch.places)
        loss = language + SUPERVISION_WEIGHT * supervision
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        n_tokens += int((batch.weights > 0).sum())
        sums += (language.item(), supervision.item())
        every = 25
        if step % every == 0:
            record: dict[str, float] = {
                "step": step,
                "language_loss": sums[0] / every,
                "supervision_loss": sums[1] / every,
                "tokens": n_tokens,
                "seconds": round(time.monotonic() - started, 1),
            }
            sums[:] = 0
            if step % 100 == 0 or step == n_steps:
                record |= measure(model, tokenizer, 100)
                save(model, tokenizer, folder)
            print(json.dumps(record), flush=True)
            log.write(json.dumps(record) + "\n")
            log.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=BASE_MODEL_FOLDER)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    arguments = parser.parse_args()
    train(arguments.folder, arguments.steps, arguments.batch_size, arguments.learning_rate)
