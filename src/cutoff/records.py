"""The records that travel between stages: one line of a JSONL file each.

They are plain dicts at run time; the types say which fields there are, their units and
meaning. Missing is ``None``, never 0 or an empty text that would mean something else.
"""

from typing import Any, Literal, NotRequired, TypedDict

Message = dict[str, str]  # role, content
Verdict = Literal["correct", "incorrect", "not_attempted", "judge_failed"]


class Section(TypedDict):
    """Part of a paper: ``heading`` is "" before the first one, ``page`` where it begins (from 1),
    ``page_breaks`` the words of ``text`` (by number, from 0) that begin another page."""

    heading: str
    page: int
    text: str
    page_breaks: list[int]


class Paper(TypedDict):
    """``papers.jsonl``: one paper as it was read. ``period`` is ``post`` or ``control`` (before
    the cutoff), ``first_version`` an ISO date or None, ``source`` phantom, folder or arxiv,
    ``file`` relative to the data set's folder. Papers that are not the phantom's also have
    ``licence`` (its name or address), ``version`` (arXiv's), ``quality`` (0 to 1) and why it is
    not 1."""

    paper_id: str
    title: str
    period: str
    first_version: str | None
    source: str
    file: str
    sha256: str
    n_pages: int
    sections: list[Section]
    licence: NotRequired[str | None]
    version: NotRequired[str | None]
    quality: NotRequired[float]
    quality_reasons: NotRequired[list[str]]


class Passage(TypedDict):
    """``passages.jsonl``: whole sentences of one section; ``n_tokens`` of the embedding model."""

    passage_id: str
    paper_id: str
    section: str
    page: int | None
    text: str
    n_tokens: int


class Fact(TypedDict):
    """``facts.jsonl``: ``evidence`` is a sentence that stands whole in every gold passage;
    ``trained`` and ``asked`` say where its questions go. A generated fact also has the ``task`` and
    the passage for which it was written, its ``question``, and ``paraphrases`` of that."""

    fact_id: str
    paper_id: str
    attribute: str
    subject: str
    value: str
    statement: str
    evidence: str
    gold_passage_ids: list[str]
    stratum: NotRequired[str]
    trained: NotRequired[bool]
    asked: NotRequired[bool]
    task: NotRequired[str]
    passage_id: NotRequired[str]
    question: NotRequired[str]
    paraphrases: NotRequired[list[str]]


class Wording(TypedDict):
    """``questions.jsonl``: one wording of a fact's question; ``split`` is ``train`` or ``eval``."""

    question_id: str
    fact_id: str
    paper_id: str
    stratum: str
    split: str
    question: str


class Ranking(TypedDict):
    """``retrieval.jsonl``: the passages that retrieval found for a question, best first, and how
    near in meaning each is."""

    question_id: str
    passage_ids: list[str]
    cosines: list[float]


class Question(TypedDict):
    """``eval.jsonl``: a question as every condition is asked it, with the passages that
    retrieval found, in the order of their numbers in the prompt."""

    question_id: str
    fact_id: str
    paper_id: str
    stratum: str
    attribute: str
    subject: str
    question: str
    reference: str
    statement: str
    gold_passage_ids: list[str]
    context_passage_ids: list[str]
    context: list[str]
    extra_contexts: NotRequired[dict[str, Any]]  # context -> context, context_passage_ids


class Example(TypedDict):
    """``train.jsonl``: one example of one variant, prompt (``messages``) and ``completion``."""

    example_id: str
    variant: str
    fact_id: str
    question_id: str
    messages: list[Message]
    completion: str
    context_passage_ids: list[str]


class Response(TypedDict):
    """``responses*.jsonl``: an answer. ``key`` is ``condition|question_id``; latency is that of
    the try that succeeded; ``finish_reason`` is ``stop``, ``length`` or ``refused``."""

    key: str
    condition: str
    question_id: str
    paper_id: str
    stratum: str
    response: str
    prompt_tokens: int
    completion_tokens: int
    latency_seconds: float
    finish_reason: str
    retries: int


class Judgement(TypedDict):
    """``judgements*.jsonl``: the verdict on an answer. ``passed`` is computed in code, None where
    the judge failed; ``rule`` names what decided, ``verdicts`` those of every judge. The last
    three are diagnostics: None where the condition has no passages or nothing was cited."""

    key: str
    judge: str
    condition: str
    question_id: str
    paper_id: str
    stratum: str
    verdict: Verdict
    passed: bool | None
    rule: str
    scores: dict[str, int] | None
    detail: str
    verdicts: dict[str, str]
    retrieval_hit: bool | None
    citation_present: bool | None
    citation_right: bool | None
