"""Watches a training from inside: progress lines, checkpoints by the clock, NaN guard."""

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cutoff.errors import CutoffError


class Watch(TrainerCallback):
    """Appends a line to ``progress_file`` at every log entry and asks for a checkpoint when
    ``checkpoint_seconds`` have passed since the last one."""

    def __init__(self, variant: str, progress_file: Path, checkpoint_seconds: float) -> None:
        self.variant = variant
        self.progress_file = progress_file
        self.checkpoint_seconds = checkpoint_seconds
        self.resumed_at_step = 0
        self._before = 0.0  # seconds that a killed training had spent up to its checkpoint
        self._start = self._saved = time.monotonic()

    def seconds(self) -> float:
        """Seconds of training, those before a resumed checkpoint included."""
        return self._before + time.monotonic() - self._start

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take up step and clock of the checkpoint."""
        self.resumed_at_step = state.global_step
        spent = [entry["seconds"] for entry in state.log_history if "seconds" in entry]
        self._before = spent[-1] if spent else 0.0
        self._start = self._saved = time.monotonic()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Stop at a loss that is no number; else report where the training stands."""
        entry = state.log_history[-1]
        if "loss" not in entry:
            return
        loss = float(entry["loss"])
        if not math.isfinite(loss) or not math.isfinite(float(entry["grad_norm"])):
            raise CutoffError(
                f"The training of {self.variant} diverged: its loss is {loss} at step "
                f"{state.global_step} of {state.max_steps}. Choose a smaller learning_rate "
                f"(now {args.learning_rate:g})."
            )
        entry["seconds"] = self.seconds()
        if state.is_world_process_zero:
            line = {
                "variant": self.variant,
                "step": state.global_step,
                "steps": state.max_steps,
                "loss": loss,
                "seconds": round(entry["seconds"], 1),
            }
            with open(self.progress_file, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a checkpoint when it is time, at a step that is logged: what a log entry
        averages is then never torn apart."""
        logged = state.global_step % int(args.logging_steps) == 0
        if logged and time.monotonic() - self._saved >= self.checkpoint_seconds:
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Count from the end of the save, so that slow disks do not save all the time."""
        self._saved = time.monotonic()
