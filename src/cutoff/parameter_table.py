"""Every parameter of the experiment: name, type, stage, allowed values.

Defaults and meanings stand in ``params/defaults.yaml``.
"""

from dataclasses import dataclass

# A parameter belongs to the first stage it affects: changing it repeats that stage and
# all later ones. "none" changes where results go, never what they are.
SECRETS = ("api_key", "generator_api_key", "dataset_judge_api_key", "judge_api_key")
CHAT_PROVIDERS = ("ollama", "openai", "anthropic")
PROVIDERS = ("auto", "llama_cpp", "ollama", "transformers", "openai")


@dataclass(frozen=True)
class Parameter:
    """One row of the table. ``low`` and ``high`` are inclusive; ``optional`` allows null."""

    name: str
    type: type
    stage: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False

    def allowed(self) -> str:
        """Allowed values in words, for help and error messages."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        text = words[self.type]
        if self.low is not None and self.high is not None:
            text += f" from {self.low:g} to {self.high:g}"
        elif self.low is not None:
            text += f" of at least {self.low:g}"
        return text + (" or null" if self.optional else "")


TABLE = {
    parameter.name: parameter
    for parameter in (
        Parameter("size", str, "none"),
        Parameter("seed", int, "generate", low=0),
        Parameter("limit", int, "generate", low=1, optional=True),
        Parameter("output_dir", str, "none"),
        Parameter("paper_source", str, "generate", choices=("arxiv", "folder", "phantom")),
        Parameter("papers_folder", str, "generate", optional=True),
        Parameter("arxiv_categories", str, "generate"),
        Parameter("arxiv_contact", str, "none", optional=True),
        Parameter("post_from", str, "generate"),
        Parameter("post_until", str, "generate", optional=True),
        Parameter("control_from", str, "generate"),
        Parameter("control_until", str, "generate"),
        Parameter("min_extraction_quality", float, "generate", low=0, high=1),
        Parameter("n_post_papers", int, "generate", low=2),
        Parameter("n_control_papers", int, "generate", low=0),
        Parameter("n_unseen_papers", int, "generate", low=1),
        Parameter("seen_facts_per_paper", int, "generate", low=1),
        Parameter("fact_source", str, "generate", choices=("generator", "truth")),
        Parameter("generator_provider", str, "generate", choices=CHAT_PROVIDERS),
        Parameter("generator_model", str, "generate"),
        Parameter("generator_base_url", str, "none", optional=True),
        Parameter("generator_api_key", str, "none"),
        Parameter("qa_per_paper", int, "generate", low=1),
        Parameter("summary_per_paper", int, "generate", low=0),
        Parameter("citation_per_paper", int, "generate", low=0),
        Parameter("dataset_judge_provider", str, "generate", choices=CHAT_PROVIDERS),
        Parameter("dataset_judge_model", str, "generate", optional=True),
        Parameter("dataset_judge_base_url", str, "none", optional=True),
        Parameter("dataset_judge_api_key", str, "none"),
        Parameter("judge_min_rating", float, "generate", low=0, high=1),
        Parameter("judge_min_core_sum", float, "generate", low=0, high=2),
        Parameter("exposures", int, "generate", low=1),
        Parameter("gold_in_context", float, "generate", low=0, high=1),
        Parameter("passage_tokens", int, "generate", low=16, high=8192),
        Parameter("embedding_model", str, "generate"),
        Parameter("retriever", str, "generate", choices=("dense", "bm25", "hybrid")),
        Parameter("reranker_model", str, "generate", optional=True),
        Parameter("rerank_candidates", int, "generate", low=1, high=200),
        Parameter("top_k", int, "generate", low=1, high=50),
        Parameter("context_tokens", int, "generate", low=32),
        Parameter("n_eval_seen", int, "generate", low=0),
        Parameter("n_eval_unseen_fact", int, "generate", low=0),
        Parameter("n_eval_unseen_paper", int, "generate", low=0),
        Parameter("n_eval_control", int, "generate", low=0),
        Parameter("n_eval_unanswerable", int, "generate", low=0),
        Parameter("base_model", str, "finetune"),
        Parameter("base_model_revision", str, "finetune", optional=True),
        Parameter("load_in_4bit", bool, "finetune"),
        Parameter("lora_rank", int, "finetune", low=1, high=1024),
        Parameter("lora_alpha", int, "finetune", low=1),
        Parameter("lora_dropout", float, "finetune", low=0, high=0.9),
        Parameter("learning_rate", float, "finetune", low=1e-8, high=1),
        Parameter("lr_scheduler", str, "finetune", choices=("cosine", "linear", "constant")),
        Parameter("warmup_ratio", float, "finetune", low=0, high=1),
        Parameter("epochs", int, "finetune", low=1),
        Parameter("batch_size", int, "finetune", low=1),
        Parameter("micro_batch_size", int, "finetune", low=1, optional=True),
        Parameter("gradient_checkpointing", str, "finetune", choices=("auto", "on", "off")),
        Parameter("training_processes", int, "finetune", low=1, high=64, optional=True),
        Parameter("training_seed", int, "finetune", low=0),
        Parameter("training_seeds", int, "finetune", low=1, high=20),
        Parameter("loss_eval_questions", int, "finetune", low=0),
        Parameter("deadline_minutes", float, "none", low=0.1, optional=True),
        Parameter("export_mode", str, "export", choices=("merged", "adapter")),
        Parameter("export_dtype", str, "export", choices=("F16", "BF16")),
        Parameter("quantization", str, "export", choices=("Q4_K_M", "Q8_0", "F16")),
        Parameter("compare_quantizations", str, "export", optional=True),
        Parameter("compare_conditions", str, "export"),
        Parameter("provider", str, "export", choices=PROVIDERS),
        Parameter("base_url", str, "export", optional=True),
        Parameter("api_key", str, "none"),
        Parameter("base_source", str, "export", choices=("export", "ollama")),
        Parameter("ollama_base_model", str, "export", optional=True),
        Parameter("num_ctx", int, "export", low=128),
        Parameter("max_new_tokens", int, "export", low=1),
        Parameter("temperature", float, "export", low=0, high=2),
        Parameter("top_p", float, "export", low=0.01, high=1),
        Parameter("repeat_penalty", float, "export", low=0.5, high=2),
        Parameter("parity_prompts", int, "export", low=1),
        Parameter("parity_min_f16_agreement", float, "export", low=0, high=1),
        Parameter("parity_min_quantised_agreement", float, "export", low=0, high=1),
        Parameter("parity_max_f16_kl", float, "export", low=0),
        Parameter("parity_max_quantised_kl", float, "export", low=0),
        Parameter("parity_min_stop_rate", float, "export", low=0, high=1),
        Parameter("parallel", int, "evaluate", low=1, high=256),
        Parameter("extra_contexts", str, "evaluate", optional=True),
        Parameter("judge_model", str, "evaluate"),
        Parameter("judge_provider", str, "evaluate", choices=("auto", *CHAT_PROVIDERS)),
        Parameter("judge_base_url", str, "none", optional=True),
        Parameter("judge_api_key", str, "none", optional=True),
        Parameter("judge_think", bool, "evaluate"),
        Parameter("judge_max_new_tokens", int, "evaluate", low=64),
        Parameter("judge_min_golden", float, "evaluate", low=0, high=1),
        Parameter("pairwise_conditions", str, "evaluate"),
        Parameter("pairwise_questions", int, "evaluate", low=1, optional=True),
        Parameter("calibration_sample", int, "evaluate", low=0),
        Parameter("bootstrap_replicates", int, "evaluate", low=100),
    )
}
