"""Small random models with the true structure of each family, and llama.cpp to run them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import peft
import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from cutoff.engines import llama_cpp as engine

VOCABULARY = 768  # rows of the embedding; the tokenizers have fewer tokens
LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
OTHERS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# What the splitting rules treat differently: digits, contractions, scripts, blanks.
ODD_TEXTS = (
    "In 1234567 cases, 89.5% (n = 12) of 3000; 0x1F + 1e-10",
    "It's, we'll, I'd, THEY'RE, don't'nt 'tis O'Neill's",
    "大规模语言模型的训练。日本語のテキスト、한국어",
    "naïve café Ünïcödé Привет мир שלום العربية हिन्दी",
    "🙂👩‍🚀 emoji🙂🙂 and flags 🇩🇪",
    "lines\n\n\nand\r\n  blanks   \t tabs \n  end  ",
    "def f(x):\n    return x**2  # comment\n",
    "½ Ⅷ ٣٤٥ x² a_b-c/d\\e",
    " leading blank, trailing blank ",
    "a <think> b</think>\n\nc <|im_end|> <|eot_id|>d",
)
SENTENCES = [*ODD_TEXTS, "The quick brown fox jumps over the lazy dog; it has seen 2025 papers."]

# Own templates that behave as those on the hub do (tools left out).
QWEN2_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>system\\nYou are a test model.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message.role != 'system' or not loop.first %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
QWEN3_TEMPLATE = (
    "{%- for message in messages %}"
    "{%- if message.role == 'assistant' and loop.last %}"
    "{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}"
    "{{- message.content + '<|im_end|>\\n' }}"
    "{%- else %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
LLAMA_TEMPLATE = (
    "{{- bos_token }}"
    "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- endif %}"
    "{%- if messages[0]['role'] == 'system' %}"
    "{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}"
    "{%- else %}{%- set system_message = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
    "{{- 'Cutting Knowledge Date: December 2023\\n' }}"
    "{{- 'Today Date: ' + date_string + '\\n\\n' }}{{- system_message }}{{- '<|eot_id|>' }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{- message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA_TOKENS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|finetune_right_pad_id|>",
]


def qwen_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """Splits as Qwen2, 2.5 and 3 do; has no BOS, and tokens that are added but not special."""
    bpe = _train(LETTERS + r"\p{N}" + OTHERS, QWEN_TOKENS, whole_words_first=False)
    bpe.normalizer = normalizers.NFC()
    bpe.add_tokens([AddedToken(text, normalized=False) for text in ("<think>", "</think>")])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=template,
    )


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """Splits as Llama 3 does and puts a BOS before every plain text."""
    bpe = _train(LETTERS + r"\p{N}{1,3}" + OTHERS, LLAMA_TOKENS, whole_words_first=True)
    bos = LLAMA_TOKENS[0]
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, bpe.token_to_id(bos))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=bos,
        eos_token="<|eot_id|>",
        pad_token="<|finetune_right_pad_id|>",
        chat_template=LLAMA_TEMPLATE,
    )


def _train(pattern: str, special: list[str], whole_words_first: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=whole_words_first))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 40,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    return tokenizer


def build(family: str, tied: bool, folder: Path, **changes: Any) -> Path:
    """Save a random model of ``family`` (qwen2, qwen3, llama) with its tokenizer.

    Weights are large enough for attention and positions to matter, norms and biases are not
    at their initial 1 and 0: what an export leaves out shows in the logits.
    """
    dimensions: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
        "rms_norm_eps": 1e-5,
    }
    tokenizer = {
        "qwen2": lambda: qwen_tokenizer(QWEN2_TEMPLATE),
        "qwen3": lambda: qwen_tokenizer(QWEN3_TEMPLATE),
        "llama": llama_tokenizer,
    }[family]()
    dimensions |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(5)
    model: torch.nn.Module
    if family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**dimensions | changes))
    elif family == "qwen3":  # heads wider than hidden_size / heads
        model = Qwen3ForCausalLM(Qwen3Config(**dimensions | {"head_dim": 128} | changes))
    else:
        dimensions["rope_parameters"] = {
            "rope_type": "llama3",
            "rope_theta": 5000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        }
        model = LlamaForCausalLM(LlamaConfig(**dimensions | changes))
    for name, weight in model.named_parameters():
        with torch.no_grad():
            if "norm" in name:
                weight.normal_(1.0, 0.3)
            else:
                weight.normal_(0.0, 0.5 if name.endswith("bias") else 0.12)
    model.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[operator]
    tokenizer.save_pretrained(folder)
    return folder


def random_adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """A LoRA adapter of ``base`` with random updates, large enough to change every answer."""
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **settings
    )
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.08)
    model.save_pretrained(folder)
    return folder


class LlamaCpp:
    """A running server: what it makes of texts, chats and token ids."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def post(self, path: str, **body: Any) -> Any:
        response = self._client.post(path, json=body)
        assert response.status_code == httpx.codes.OK, response.text
        return response.json()

    def tokenize(self, text: str, add_special: bool = False) -> list[int]:
        body = {"content": text, "add_special": add_special, "parse_special": True}
        return list(self.post("/tokenize", **body)["tokens"])

    def logprobs(self, prompt: Sequence[int]) -> torch.Tensor:
        """Log probability of every token of the vocabulary after ``prompt``."""
        # An end token or half a character would come without probabilities, so the answer is
        # made to be "a"; the probabilities are those before that.
        reply = self.post(
            "/completion",
            prompt=list(prompt),
            n_predict=1,
            n_probs=VOCABULARY,
            logit_bias=[["a", 1e6]],
            temperature=0,
            cache_prompt=False,
        )
        values = torch.full((VOCABULARY,), float("nan"))
        for entry in reply["completion_probabilities"][0]["top_logprobs"]:
            values[entry["id"]] = entry["logprob"]
        return values


@contextmanager
def llama_cpp(weights: Path, lora: Path | None = None) -> Iterator[LlamaCpp]:
    """llama.cpp serving ``weights``, with a LoRA adapter over them unless ``None``."""
    with (
        engine.serve(weights, 512, 1, lora, threads=1) as endpoint,
        httpx.Client(
            base_url=endpoint.base_url,
            headers={"Authorization": f"Bearer {endpoint.api_key}"},
            timeout=60,
            trust_env=False,
        ) as client,
    ):
        yield LlamaCpp(client)
