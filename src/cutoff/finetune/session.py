"""Watches a training from inside: progress lines, checkpoints by the clock, the deadline, and
a guard against losses that are no number."""

import json
import math
import time
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list, wait_for_everyone
from transformers import TrainerCallback

from cutoff import deadline
from cutoff.errors import CutoffError
from cutoff.finetune import settings

MOST_SKIPPED = 10  # steps in a row whose gradients overflow while the float16 scale halves


class Session(TrainerCallback):
    """Appends a line to ``progress_file`` at every log entry, asks for a checkpoint when
    ``checkpoint_seconds`` have passed since the last one, and for the last one in time."""

    def __init__(self, name: str, progress_file: Path, checkpoint_seconds: float) -> None:
        self.name = name
        self.progress_file = progress_file
        self.checkpoint_seconds = checkpoint_seconds
        self.resumed_at_step = 0
        self.out_of_time = False
        self._before = 0.0  # seconds that a killed training had spent up to its checkpoint
        self._start = self._saved = self._stepped = time.monotonic()
        self._step_seconds = self._save_seconds = 0.0
        self._skipped = 0

    def seconds(self) -> float:
        """Seconds of training, those before a resumed checkpoint included."""
        return self._before + time.monotonic() - self._start

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take up step and clock of the checkpoint."""
        self.resumed_at_step = state.global_step
        spent = [entry["seconds"] for entry in state.log_history if "seconds" in entry]
        self._before = spent[-1] if spent else 0.0
        self._start = self._saved = self._stepped = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop at a loss that is no number; else report where the training stands."""
        entry = state.log_history[-1]
        if "loss" not in entry:
            return
        loss = float(entry["loss"])
        # Gradients may overflow in float16: the step is skipped and their scale halved.
        if not math.isfinite(loss) or not (args.fp16 or math.isfinite(float(entry["grad_norm"]))):
            self._diverged(f"its loss is {loss}", args, state)
        entry["seconds"] = self.seconds()
        if state.is_world_process_zero:
            line = {"adapter": self.name, "step": state.global_step, "steps": state.max_steps}
            line |= {"loss": loss, "seconds": round(entry["seconds"], 1)}
            with open(self.progress_file, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Ask for a checkpoint when it is time, at a step that is logged: what a log entry
        averages is then never torn apart."""
        skipped = getattr(given.get("optimizer"), "step_was_skipped", False)
        self._skipped = self._skipped + 1 if skipped else 0
        if self._skipped > MOST_SKIPPED:
            self._diverged(f"its gradients overflowed in {self._skipped} steps", args, state)
        now = time.monotonic()
        self._step_seconds = max(now - self._stepped, 0.5 * self._step_seconds)
        logged = state.global_step % int(args.logging_steps) == 0
        due = logged and now - self._saved >= self.checkpoint_seconds
        stop = self._is_late(logged, int(args.logging_steps), state)
        if args.world_size > 1:  # all must save and stop at one step: by the first one's clock
            due, stop = broadcast_object_list([due, stop])
        if due or stop:
            control.should_save = True
            self._saving = time.monotonic()
        if stop:
            self.out_of_time = control.should_training_stop = control.should_log = True
        self._stepped = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the checkpoint, once every process has written its part; count from here, so
        that slow disks do not save all the time."""
        if args.world_size > 1:
            wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir), f"checkpoint-{state.global_step}")
            (folder / settings.COMPLETE).touch()
        self._saved = self._stepped = time.monotonic()
        self._save_seconds = max(self._save_seconds, self._saved - self._saving)

    def _is_late(self, logged: bool, interval: int, state: Any) -> bool:
        """Whether there is no time for what comes before the next chance to save.

        That is the next logged step; where not even one more step fits, it is this one.
        """
        left = deadline.seconds_left()
        to_do = state.max_steps - state.global_step
        if left is None or to_do <= 0:
            return False
        steps = min(interval, to_do) if logged else 1
        return left < steps * self._step_seconds + self._save_seconds

    def _diverged(self, how: str, args: Any, state: Any) -> None:
        raise CutoffError(
            f"The training of {self.name} diverged: {how} at step {state.global_step} of "
            f"{state.max_steps}. Choose a smaller learning_rate (now {args.learning_rate:g})."
        )
