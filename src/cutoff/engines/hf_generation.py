"""Answers from weights in this process: transformers, a PEFT adapter beside them if there is one.

    with hf_generation.load(base_folder, adapter_folder) as engine: ...

Requests of like length share a batch. On a GPU the sums of a batch come out differently in
the last bits than those of a single request, so that a close decision may fall otherwise;
where every answer must be the same every time, ``llama_cpp`` is the engine.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from cutoff.chat_template import load_tokenizer
from cutoff.engines import chat, failures
from cutoff.errors import CutoffError

GPU_BATCH_TOKENS = 32_768  # prompts and answers of a batch with their padding
CPU_BATCH_TOKENS = 4_096


class Engine:
    """A model in memory. ``batch_tokens``: size of a batch, padding and answers included."""

    where = "The model in this process"

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens
        known = model.generation_config.eos_token_id
        known = known if isinstance(known, list) else [known]
        self.end_ids = sorted({i for i in [*known, tokenizer.eos_token_id] if i is not None})
        pad_id = tokenizer.pad_token_id  # masked: any token will do
        self.pad_id = self.end_ids[0] if pad_id is None else pad_id
        # What the publisher of the weights recommends (top_k 20, a repetition penalty, ...)
        # would otherwise fill in whatever the options leave at their defaults.
        model.generation_config = GenerationConfig(
            eos_token_id=self.end_ids, pad_token_id=self.pad_id
        )

    def batches(
        self, requests: Sequence[chat.Request], options: chat.Options
    ) -> list[list[chat.Request]]:
        """Batches of like length, longest first: what does not fit shows at once."""
        lengths: dict[str, int] = {}
        for request in requests:
            if request.schema is not None:
                raise CutoffError(
                    "Provider transformers cannot hold an answer to a JSON schema; use llama_cpp, "
                    "ollama or openai where a schema is needed."
                )
            lengths[request.key] = len(self._prompt_ids(request))
            request.check_length(lengths[request.key], options.num_ctx)
        made: list[list[chat.Request]] = []
        for request in sorted(requests, key=lambda r: -lengths[r.key]):
            if made:
                width = lengths[made[-1][0].key] + max(r.token_limit for r in [*made[-1], request])
            if not made or width * (len(made[-1]) + 1) > self.batch_tokens:
                made.append([])
            made[-1].append(request)
        return made

    def ask_together(
        self, batch: Sequence[chat.Request], options: chat.Options
    ) -> list[chat.Reply]:
        """The answers to one batch; halves it where the GPU's memory does not hold it."""
        try:
            return self._generate(batch, options)
        except torch.cuda.OutOfMemoryError:
            if len(batch) == 1:
                raise CutoffError(
                    f"The GPU's memory does not hold one request ({batch[0].key}); lower num_ctx, "
                    "or use provider llama_cpp with the quantised model."
                ) from None
        torch.cuda.empty_cache()
        half = len(batch) // 2
        return self.ask_together(batch[:half], options) + self.ask_together(batch[half:], options)

    @torch.inference_mode()
    def _generate(self, batch: Sequence[chat.Request], options: chat.Options) -> list[chat.Reply]:
        prompts = [self._prompt_ids(request) for request in batch]
        longest = max(map(len, prompts))
        padding = [longest - len(prompt) for prompt in prompts]
        padded_rows = zip(padding, prompts, strict=True)
        tokens = torch.tensor([[self.pad_id] * n + prompt for n, prompt in padded_rows])
        padded = torch.tensor(padding).unsqueeze(1)
        mask = (torch.arange(longest) >= padded).long()
        settings: dict[str, Any] = {"do_sample": options.temperature > 0}
        if options.temperature > 0:
            torch.manual_seed(options.seed)
            settings |= {"temperature": options.temperature, "top_p": options.top_p, "top_k": 0}
        if options.repeat_penalty != 1:
            penalty = RepeatPenalty(options.repeat_penalty, padded.to(self.model.device))
            settings["logits_processor"] = LogitsProcessorList([penalty])
        written = self.model.generate(
            input_ids=tokens.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            max_new_tokens=max(request.token_limit for request in batch),
            **settings,
        )[:, longest:].tolist()
        rows = zip(batch, prompts, written, strict=True)
        return [self._reply(request, len(prompt), ids) for request, prompt, ids in rows]

    def _reply(self, request: chat.Request, n_prompt: int, ids: list[int]) -> chat.Reply:
        ids = ids[: request.token_limit]
        ends = [place for place, i in enumerate(ids) if i in self.end_ids]
        ids = ids[: ends[0] + 1] if ends else ids
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return chat.Reply(text, n_prompt, len(ids), "stop" if ends else "length")

    def _prompt_ids(self, request: chat.Request) -> list[int]:
        thinking = {} if request.think is None else {"enable_thinking": request.think}
        return self.tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, return_dict=False, **thinking
        )


class RepeatPenalty(LogitsProcessor):
    """llama.cpp's ``repeat_penalty``: on every token among the last 64, prompt included.

    transformers' own ``repetition_penalty`` looks at the whole text. ``padding`` is the
    number of padding tokens on the left of each row, as a column.
    """

    def __init__(self, penalty: float, padding: torch.Tensor) -> None:
        self.penalty = penalty
        self.padding = padding

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        first = max(0, input_ids.shape[1] - chat.REPEAT_LAST_N)
        window = input_ids[:, first:]
        position = torch.arange(first, input_ids.shape[1], device=input_ids.device)
        # Padding becomes the last token, which is in the window anyway.
        window = torch.where(position >= self.padding, window, window[:, -1:])
        found = scores.gather(1, window)
        lowered = torch.where(found > 0, found / self.penalty, found * self.penalty)
        return scores.scatter(1, window, lowered)


@contextmanager
def load(base: Path, adapter: Path | None, batch_tokens: int | None = None) -> Iterator[Engine]:
    """The model of the folder ``base``, on the GPU where there is one, until the block ends.

    16 bits on a GPU (bfloat16 from compute capability 8.0), 32 bits on a CPU.
    """
    gpu = torch.cuda.is_available()
    new = gpu and torch.cuda.get_device_capability()[0] >= 8
    dtype = torch.float32 if not gpu else torch.bfloat16 if new else torch.float16
    size = batch_tokens or (GPU_BATCH_TOKENS if gpu else CPU_BATCH_TOKENS)
    try:
        tokenizer = load_tokenizer(base)
        model: Any = AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, device_map="auto" if gpu else None, use_safetensors=True
        )
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter)
    except torch.cuda.OutOfMemoryError:
        raise CutoffError(
            f"The GPU's memory does not hold {base} in 16 bits; use provider llama_cpp with the "
            "quantised model, or a larger GPU."
        ) from None
    except (OSError, ValueError) as error:
        wanted = base if adapter is None else f"{base} with {adapter}"
        raise CutoffError(
            f"transformers cannot load {wanted} ({failures.plain(str(error))})."
        ) from None
    try:
        yield Engine(model.eval(), tokenizer, size)
    finally:
        del model
        if gpu:
            torch.cuda.empty_cache()
