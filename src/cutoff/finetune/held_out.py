"""The loss on questions that are not trained, watched during the training and used for nothing.

Two strata in the variant's own form of prompt and answer: ``seen``, a trained fact asked in
other words, and ``unseen_fact``, a fact of the same papers that is not trained. When the
first falls and the second does not, facts are learned; when both fall, a way of answering.
"""

import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from cutoff import files, prompts
from cutoff.finetune import examples
from cutoff.finetune.examples import Examples
from cutoff.finetune.settings import Training

STRATA = ("seen", "unseen_fact")
POINTS = 10  # of the curve, before the first step and after the last one included
SHARE = 0.08  # of the training's time that watching may take
FORWARD = 0.4  # of a training pass: no gradients
FEWEST = 8  # questions of a stratum that still make a curve


def affordable_examples(
    training: Training, variant: str, data: Examples, tokenizer: Any
) -> Examples:
    """The questions to watch beside ``data``; none where the settings ask for none."""
    if not training.eval_file or not training.loss_eval_questions:
        return examples.of_records([], tokenizer)
    asked = affordable(training.loss_eval_questions, len(data.records), training.epochs)
    return examples.of_records(records(Path(training.eval_file), variant, asked), tokenizer)


def records(eval_file: Path, variant: str, per_stratum: int) -> list[dict[str, Any]]:
    """Up to ``per_stratum`` evaluation questions of each stratum, spread over the file, in the
    form of training records (with ``stratum``)."""
    everything = files.read_jsonl(eval_file)
    chosen = []
    for stratum in STRATA:
        own = [record for record in everything if record["stratum"] == stratum]
        n = min(per_stratum, len(own))
        chosen += [_as_trained(own[i * len(own) // n], variant) for i in range(n)]
    return chosen


def affordable(asked: int, n_examples: int, epochs: int) -> int:
    """Questions per stratum, at most ``asked``, for which ``POINTS`` cost ``SHARE`` at most."""
    most = SHARE * n_examples * epochs / (FORWARD * POINTS * len(STRATA))
    return min(asked, max(FEWEST, int(most)))


def _as_trained(record: dict[str, Any], variant: str) -> dict[str, Any]:
    """A question as ``train.jsonl`` would hold it: the gold passage that stands first is cited,
    and none where retrieval has not found it."""
    question, completion = record["question"], record["statement"]
    messages = prompts.render_closed_book(question)
    if variant == "rag_ft":
        messages = prompts.render_rag(question, record["context"])
        gold = set(record["gold_passage_ids"])
        found = (n for n, i in enumerate(record["context_passage_ids"], start=1) if i in gold)
        number = next(found, None)
        completion += f" [{number}]" if number else ""
    return {
        "example_id": f"{variant}|{record['question_id']}",
        "stratum": record["stratum"],
        "messages": messages,
        "completion": completion,
    }


class HeldOutLoss(TrainerCallback):
    """Adds ``held_out`` entries to the log: mean loss per answer token of each stratum."""

    def __init__(self, watched: Examples, trainer: Any) -> None:
        # Equal lengths side by side: hardly any padding.
        strata = [record["stratum"] for record in watched.records]
        pairs = zip(strata, watched.tokenized, strict=True)
        self.examples = sorted(pairs, key=lambda pair: len(pair[1]["input_ids"]))
        self.trainer = trainer
        self.seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The loss of the base model; a resumed training has it in its log."""
        spent = [entry["held_out_seconds"] for entry in state.log_history if "held_out" in entry]
        self.seconds = sum(spent)
        if state.global_step == 0:
            self._measure(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The loss at evenly spaced steps and after the last one."""
        points = {round(i * state.max_steps / (POINTS - 1)) for i in range(POINTS)}
        if state.global_step in points:
            self._measure(state)

    def _measure(self, state: Any) -> None:
        """Append one entry. No random number is drawn and no weight touched: the training goes
        on as if it had not been watched."""
        import torch
        from accelerate.utils import reduce

        if not self.examples:
            return
        start = time.monotonic()
        args, model = self.trainer.args, self.trainer.model
        size, rows = args.per_device_train_batch_size, self.examples
        batches = [rows[first : first + size] for first in range(0, len(rows), size)]
        sums = torch.zeros(len(STRATA), 2, dtype=torch.float64)
        model.eval()
        for batch in batches[args.process_index :: args.world_size]:
            inputs = self.trainer.data_collator([dict(row) for _, row in batch])
            inputs = self.trainer._prepare_inputs(inputs)
            with torch.no_grad(), self.trainer.compute_loss_context_manager():
                made = model(**inputs, use_cache=False, fused_lm_head=True)
            losses = -made.log_probs.double().sum(dim=1).cpu()
            counts = made.label_mask.sum(dim=1).cpu()
            for row, (stratum, _) in enumerate(batch):
                sums[STRATA.index(stratum)] += torch.stack([losses[row], counts[row].double()])
        model.train()
        if args.world_size > 1:
            sums = reduce(sums.float().to(args.device)).double().cpu()
        took = time.monotonic() - start
        self.seconds += took
        means = {s: float(a / n) for s, (a, n) in zip(STRATA, sums, strict=True) if n}
        entry: dict[str, Any] = {"step": state.global_step, "held_out": means}
        state.log_history.append(entry | {"held_out_seconds": took})
