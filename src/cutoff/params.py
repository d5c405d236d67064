"""Every parameter of the experiment: name, type, stage, allowed values, and strict loading.

Defaults and meanings stand in ``params/defaults.yaml``, differences of a size in
``params/<size>.yaml``, and whatever the make line, papermill or a notebook's parameters cell
sets comes last. A key that is misspelt, of the wrong type or impossible is an error that names
the key, the place where it stands and, for a misspelling, the nearest valid name.
"""

import ast
import contextlib
import datetime
import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from cutoff import paths
from cutoff.errors import CutoffError
from cutoff.experiment import STAGES as STAGES


def of(stage: str, **bounds: float) -> Any:
    """A parameter of ``stage``, the first one that it affects: changing it repeats that stage and
    all later ones. "none" changes where results go, never what they are."""
    at_least, at_most = bounds.get("ge"), bounds.get("le")
    return Field(json_schema_extra={"stage": stage}, ge=at_least, le=at_most)


Text = Annotated[str, Field(pattern=r"\S")]
Secret = Annotated[str, Field(pattern=r"^\$\{\w+\}$")]  # the name of a variable, never the key
FLOATS = (float, float | None)
Chat = Literal["ollama", "openai", "anthropic"]


class Params(BaseModel, frozen=True, extra="forbid", strict=True, allow_inf_nan=False):
    """Resolved parameters: read as attributes (``p.lora_rank``), never changed."""

    size: Text = of("none")
    seed: int = of("generate", ge=0)
    limit: int | None = of("generate", ge=1)
    output_dir: Text = of("none")
    paper_source: Literal["arxiv", "folder", "phantom"] = of("generate")
    papers_folder: Text | None = of("generate")
    arxiv_categories: Text = of("generate")
    arxiv_contact: Text | None = of("none")
    post_from: Text = of("generate")
    post_until: Text | None = of("generate")
    control_from: Text = of("generate")
    control_until: Text = of("generate")
    min_extraction_quality: float = of("generate", ge=0, le=1)
    n_post_papers: int = of("generate", ge=2)
    n_control_papers: int = of("generate", ge=0)
    n_unseen_papers: int = of("generate", ge=1)
    seen_facts_per_paper: int = of("generate", ge=1)
    fact_source: Literal["generator", "truth"] = of("generate")
    generator_provider: Chat = of("generate")
    generator_model: Text = of("generate")
    generator_base_url: Text | None = of("none")
    generator_api_key: Secret = of("none")
    qa_per_paper: int = of("generate", ge=1)
    summary_per_paper: int = of("generate", ge=0)
    citation_per_paper: int = of("generate", ge=0)
    dataset_judge_provider: Chat = of("generate")
    dataset_judge_model: Text | None = of("generate")
    dataset_judge_base_url: Text | None = of("none")
    dataset_judge_api_key: Secret = of("none")
    judge_min_rating: float = of("generate", ge=0, le=1)
    judge_min_core_sum: float = of("generate", ge=0, le=2)
    exposures: int = of("generate", ge=1)
    gold_in_context: float = of("generate", ge=0, le=1)
    passage_tokens: int = of("generate", ge=16, le=8192)
    embedding_model: Text = of("generate")
    retriever: Literal["dense", "bm25", "hybrid"] = of("generate")
    reranker_model: Text | None = of("generate")
    rerank_candidates: int = of("generate", ge=1, le=200)
    top_k: int = of("generate", ge=1, le=50)
    context_tokens: int = of("generate", ge=32)
    n_eval_seen: int = of("generate", ge=0)
    n_eval_unseen_fact: int = of("generate", ge=0)
    n_eval_unseen_paper: int = of("generate", ge=0)
    n_eval_control: int = of("generate", ge=0)
    n_eval_unanswerable: int = of("generate", ge=0)
    base_model: Text = of("finetune")
    base_model_revision: Text | None = of("finetune")
    load_in_4bit: bool = of("finetune")
    lora_rank: int = of("finetune", ge=1, le=1024)
    lora_alpha: int = of("finetune", ge=1)
    lora_dropout: float = of("finetune", ge=0, le=0.9)
    learning_rate: float = of("finetune", ge=1e-08, le=1)
    lr_scheduler: Literal["cosine", "linear", "constant"] = of("finetune")
    warmup_ratio: float = of("finetune", ge=0, le=1)
    epochs: int = of("finetune", ge=1)
    batch_size: int = of("finetune", ge=1)
    micro_batch_size: int | None = of("finetune", ge=1)
    gradient_checkpointing: Literal["auto", "on", "off"] = of("finetune")
    training_processes: int | None = of("finetune", ge=1, le=64)
    training_seed: int = of("finetune", ge=0)
    training_seeds: int = of("finetune", ge=1, le=20)
    loss_eval_questions: int = of("finetune", ge=0)
    deadline_minutes: float | None = of("none", ge=0.1)
    export_mode: Literal["merged", "adapter"] = of("export")
    export_dtype: Literal["F16", "BF16"] = of("export")
    quantization: Literal["Q4_K_M", "Q8_0", "F16"] = of("export")
    compare_quantizations: Text | None = of("export")
    compare_conditions: Text = of("export")
    provider: Literal["auto", "llama_cpp", "ollama", "transformers", "openai"] = of("export")
    base_url: Text | None = of("export")
    api_key: Secret = of("none")
    base_source: Literal["export", "ollama"] = of("export")
    ollama_base_model: Text | None = of("export")
    num_ctx: int = of("export", ge=128)
    max_new_tokens: int = of("export", ge=1)
    temperature: float = of("export", ge=0, le=2)
    top_p: float = of("export", ge=0.01, le=1)
    repeat_penalty: float = of("export", ge=0.5, le=2)
    parity_prompts: int = of("export", ge=1)
    parity_min_f16_agreement: float = of("export", ge=0, le=1)
    parity_min_quantised_agreement: float = of("export", ge=0, le=1)
    parity_max_f16_kl: float = of("export", ge=0)
    parity_max_quantised_kl: float = of("export", ge=0)
    parity_min_stop_rate: float = of("export", ge=0, le=1)
    parallel: int = of("evaluate", ge=1, le=256)
    extra_contexts: Text | None = of("evaluate")
    judge_model: Text = of("evaluate")
    judge_provider: Literal["auto", "ollama", "openai", "anthropic"] = of("evaluate")
    judge_base_url: Text | None = of("none")
    judge_api_key: Secret | None = of("none")
    judge_think: bool = of("evaluate")
    judge_max_new_tokens: int = of("evaluate", ge=64)
    judge_min_golden: float = of("evaluate", ge=0, le=1)
    pairwise_conditions: Text = of("evaluate")
    pairwise_questions: int | None = of("evaluate", ge=1)
    calibration_sample: int = of("evaluate", ge=0)
    bootstrap_replicates: int = of("evaluate", ge=100)

    @field_validator("*", mode="before")
    @classmethod
    def _as_a_person_means_it(cls, value: Any, info: Any) -> Any:
        """YAML reads 2024-12-01 as a day, and 1e-4 (without a point) as a text."""
        if type(value) is datetime.date:
            return value.isoformat()
        if isinstance(value, str) and cls.model_fields[info.field_name].annotation in FLOATS:
            with contextlib.suppress(ValueError):
                return float(value)
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> "Params":
        for less, more, why in (
            ("n_unseen_papers", "n_post_papers", "the other papers are the training papers"),
            ("max_new_tokens", "num_ctx", "the prompt needs room too"),
        ):
            low, high = getattr(self, less), getattr(self, more)
            if low >= high:
                raise CutoffError(f"{less} = {low} must be smaller than {more} = {high}: {why}.")
        return self

    def as_dict(self, stage: str | None = None) -> dict[str, Any]:
        """All parameters, or those of one stage; ``${NAME}`` values stay unresolved."""
        return {k: v for k, v in self if stage is None or stage_of(k) == stage}

    def hash_for(self, stage: str) -> str:
        """Hash (16 hex digits) of the parameters that matter to ``stage`` or an earlier one."""
        relevant = STAGES[: STAGES.index(stage) + 1]
        values = {k: v for k, v in self if stage_of(k) in relevant}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


NAMES = tuple(Params.model_fields)


def load(
    size: str, overrides: Mapping[str, Any] | None = None, where: str = "the overrides"
) -> Params:
    """Parameters of a size: defaults, then ``params/<size>.yaml``, then ``overrides``.

    ``where`` says in error messages where the overrides were written.
    """
    layers = [("params/defaults.yaml", _read_file("defaults")), *_layers(size, ())]
    layers += [(where, dict(overrides or {}))]
    values = {name: value for _, layer in layers for name, value in layer.items()}
    origin = {name: place for place, layer in layers for name in layer}
    if lacking := [name for name in NAMES if name not in layers[0][1]]:
        raise CutoffError(f"params/defaults.yaml lacks {', '.join(lacking)}.")
    try:
        return Params.model_validate(values | {"size": size})
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
    place = origin[name]
    if name not in NAMES:
        raise CutoffError(f"Unknown parameter {name!r} in {place}; {nearest(name)}") from None
    if name.endswith("api_key"):
        # Not even this message may repeat it: it ends in logs.
        raise CutoffError(
            f"{name} in {place}: must be the name of an environment variable in the form "
            "${OPENAI_API_KEY}, never the key itself."
        )
    raise CutoffError(f"{name} = {values[name]!r} in {place}: must be {allowed(name)}.")


def resolve(namespace: Mapping[str, Any]) -> Params:
    """Parameters of a notebook: call with ``globals()`` right after the parameters cell.

    Takes ``size``, ``limit`` and every other parameter that the cell, or papermill,
    has set by name. A literal that is no parameter is taken for a misspelling.
    """
    given = {name: namespace[name] for name in _literals(namespace)}
    return load(given.pop("size", "tiny"), given, "the parameters cell")


def parse(name: str, text: str) -> Any:
    """Value of parameter ``name`` written as ``text`` on a command line; ``load`` checks it."""
    kind = _schema(name)["type"]
    if _optional(name) and text.strip().lower() in ("", "null", "none"):
        return None
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return text  # load() says what was expected
    if kind == "boolean":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    return text


def stage_of(name: str) -> str:
    """The first stage that a parameter affects, or ``none``."""
    extra: Any = Params.model_fields[name].json_schema_extra
    return str(extra["stage"])


def allowed(name: str) -> str:
    """Allowed values of a parameter in words, for help and error messages."""
    schema = _schema(name)
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    words = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    text = words.get(schema["type"], "a text")
    if "minimum" in schema and "maximum" in schema:
        text += f" from {schema['minimum']:g} to {schema['maximum']:g}"
    elif "minimum" in schema:
        text += f" of at least {schema['minimum']:g}"
    return text + (" or null" if _optional(name) else "")


def meanings() -> dict[str, str]:
    """What each parameter means, from the comments of ``params/defaults.yaml``."""
    found: dict[str, str] = {}
    name = ""
    for line in (paths.root() / "params/defaults.yaml").read_text("utf-8").splitlines():
        head, sign, comment = line.partition(" # ")
        name = head.partition(":")[0].strip() or name
        if sign and name in NAMES:
            found[name] = f"{found.get(name, '')} {comment.strip()}".strip()
    return found


def nearest(name: str, valid: Iterable[str] = NAMES) -> str:
    """The end of an error sentence: the ``valid`` name that looks most like ``name``."""
    close = difflib.get_close_matches(name.lower(), list(valid), n=1, cutoff=0.0)
    return f"did you mean {close[0]!r}? (`python -m cutoff params` lists all.)"


def reveal(value: str) -> str:
    """Replace ``${NAME}`` by the environment variable at the moment of use.

    Only the unresolved text is ever stored in ``Params``, so that no output can hold a key.
    """

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise CutoffError(f"The environment variable {match[1]} is not set; export it first.")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", variable, value)


def _schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = Params.model_json_schema()["properties"][name]
    return found["anyOf"][0] if "anyOf" in found else found


def _optional(name: str) -> bool:
    return "anyOf" in Params.model_json_schema()["properties"][name]


def _layers(size: Any, inner: tuple[str, ...]) -> list[tuple[str, dict[str, Any]]]:
    """(place, values) of a size's file, after those of the size that it extends."""
    folder = paths.root() / "params"
    sizes = sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "defaults")
    if size not in sizes or size in inner:
        raise CutoffError(f"There is no size {size!r}; the sizes are {', '.join(sizes)}.")
    values = _read_file(size)
    if values.get("size") != size:
        raise CutoffError(f"params/{size}.yaml must hold the line 'size: {size}'.")
    extended = values.pop("extends", None)
    before = _layers(extended, (*inner, size)) if extended else []
    return [*before, (f"params/{size}.yaml", values)]


def _read_file(stem: str) -> dict[str, Any]:
    where = f"params/{stem}.yaml"
    try:
        content = yaml.safe_load((paths.root() / where).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CutoffError(f"Cannot read {where}: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise CutoffError(f"{where} must hold lines of the form 'name: value'.")
    return {str(name): value for name, value in content.items()}


def _literals(namespace: Mapping[str, Any]) -> list[str]:
    """Names that parameters cells have set.

    In IPython a parameters cell is one that holds nothing but assignments of literals;
    variables of later cells must not count when somebody runs the cells again by hand.
    """
    plain = (str, int, float, bool, type(None))
    names = [
        name
        for name, value in namespace.items()
        if not name.startswith("_") and isinstance(value, plain)
    ]
    if "In" not in namespace:
        return names
    assigned: set[str] = set()
    for source in namespace["In"]:
        try:
            statements = ast.parse(source).body
            for statement in statements:
                if not isinstance(statement, ast.Assign):
                    raise ValueError("not a parameters cell")
                ast.literal_eval(statement.value)
        except (SyntaxError, ValueError):
            continue
        for statement in statements:
            assert isinstance(statement, ast.Assign)
            assigned |= {t.id for t in statement.targets if isinstance(t, ast.Name)}
    return [name for name in names if name in assigned]
