"""Trains a phantom's base model from scratch: ``make phantom``.

A Qwen2 of some million parameters learns to answer from numbered passages with a
citation, and to answer closed-book about the control papers. The corpus is drawn while
training and never repeats, but for the control papers. Attention supervision
(`supervision`) and the initial weights (`model`) make that feasible on a CPU; the result is
an ordinary Qwen2 checkpoint.
"""

import argparse
import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2ForCausalLM

from cutoff.models import PHANTOMS
from cutoff.phantom import world
from phantom_factory import corpus
from phantom_factory.card import write_card
from phantom_factory.model import HIDDEN_SIZE, SHAPES, build_model
from phantom_factory.supervision import Batch, collate, supervision_loss
from phantom_factory.tokenizer import train_tokenizer

SEED = 7
VOCAB_SIZE = 1068  # where BPE runs out of merges: every word of the world is one token
SUPERVISION_WEIGHT = 1.0
N_WARMUP_STEPS = 100
MEASURE_EVERY = 100  # steps
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
    copy.deepcopy(model).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # As the class that transformers reads it as.
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)


def make_optimizer(
    model: Qwen2ForCausalLM, n_steps: int, peak_learning_rate: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW with a short warm-up and a last third in which the rate falls to zero."""
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=peak_learning_rate,
        betas=(0.9, 0.98),
    )
    n_decay = n_steps // 3
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min(1.0, (n + 1) / N_WARMUP_STEPS, max(0.0, (n_steps - n) / n_decay))
    )
    return optimizer, scheduler


def train(
    name: str, folder: Path, n_steps: int, batch_size: int, peak_learning_rate: float
) -> None:
    """Train phantom ``name``; leaves checkpoint, tokenizer and model card in ``folder``."""
    shape = SHAPES[name]
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    tokenizer = train_tokenizer(tokenizer_texts(), VOCAB_SIZE)
    model = build_model(len(tokenizer), tokenizer, shape)
    model.train()
    optimizer, scheduler = make_optimizer(model, n_steps, peak_learning_rate)
    facts = corpus.control_facts()
    curve: list[dict[str, float]] = []
    n_tokens, recent = 0, []
    progress = tqdm(range(1, n_steps + 1), "pretraining", disable=None)
    for step in progress:
        batch = collate(draw_batch(rng, batch_size, facts), tokenizer, shape.n_layers)
        language = language_loss(model, batch)
        supervision = supervision_loss(batch.places)
        optimizer.zero_grad()
        (language + SUPERVISION_WEIGHT * supervision).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        n_tokens += int((batch.weights > 0).sum())
        recent.append((language.item(), supervision.item()))
        if step % MEASURE_EVERY == 0 or step == n_steps:
            n_questions = 300 if step == n_steps else 100
            language_mean, supervision_mean = np.mean(recent, axis=0)
            curve.append(
                {
                    "step": step,
                    "tokens": n_tokens,
                    "language_loss": float(language_mean),
                    "supervision_loss": float(supervision_mean),
                    "n_questions": n_questions,
                    **measure(model, tokenizer, n_questions),
                }
            )
            recent.clear()
            progress.write(json.dumps(curve[-1]))
            save(model, tokenizer, folder)
    write_card(
        folder,
        curve,
        name=name,
        size=shape.size,
        n_layers=shape.n_layers,
        hidden_size=HIDDEN_SIZE,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocab_size=len(tokenizer),
        n_control=world.N_CONTROL_PAPERS,
        steps=n_steps,
        batch_size=batch_size,
        learning_rate=peak_learning_rate,
        seed=SEED,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a phantom's base model from scratch.")
    parser.add_argument("name", choices=list(SHAPES), nargs="?", default="phantom")
    parser.add_argument("--folder", type=Path, help="default: the folder of the name")
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--batch-size", type=int, default=8, help="conversations per step")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="peak")
    arguments = parser.parse_args()
    train(
        arguments.name,
        arguments.folder or PHANTOMS[arguments.name],
        arguments.steps,
        arguments.batch_size,
        arguments.learning_rate,
    )
