"""Is what a language model says about a passage a fact, and can it be asked? Rules in code.

The first rule that fails is the named reason (``rejections.Reason``). Quotes are compared without
case, white space, kinds of dash and of quotation mark. An answer is in its quote word for word,
or if every number and every content word of it is there (endings, number words, ``%`` and
thousands separators aside; of a summary's content words, four in five). Words cannot tell that a
quote *denies* the answer; the data set judge is there for that.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Any

from cutoff.generate.facts.rejections import Reason

FIELDS = ("quote", "subject", "question", "answer", "statement")
LONGEST_FIELD = 2_000  # characters
MOST_PARAPHRASES = 50
LONGEST_ANSWER = {"qa": 20, "summary": 40, "citation": 25}  # words
SHORTEST_SUMMARY = 5  # words
SHARE_OF_SUMMARY = 0.8  # of its content words that must stand in the quote
QUESTION_WORDS = (4, 60)
FEWEST_QUOTE_WORDS = 3

STOP_WORDS = frozenset(
    "a an the of in on at to for from by with as and or is are was were be been being has have had "
    "do does did that which who whom whose what when where why how it its their they this these "
    "those there than then into over under about can could will would may might not no".split()
)
GENERIC = frozenset(
    "model method approach paper study work article author experiment result dataset data set "
    "system framework algorithm technique baseline evaluation analysis research table figure "
    "section equation furthermore moreover however since using although because thus hence "
    "therefore also finally additionally similarly note consider let given following proposed our "
    "new first second it they we he she i you us them".split()
)
NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}

DOCUMENT = (
    "papers?|study|studies|articles?|authors?|manuscripts?|publications?|researchers|excerpts?"
)
THING = (
    "models?|methods?|approach(?:es)?|techniques?|algorithms?|frameworks?|systems?|datasets?|"
    "data|experiments?|results?|findings?|analys[ie]s|evaluations?|figures?|tables?"
)
ADJECTIVE = r"(?:(?-i:[a-z]+)\s+)?"  # "the same study", but "the Framingham study" is a name
AWAY_FROM_PAPER = re.compile(
    rf"\b(?:(?:that|the|present|current|their)\s+{ADJECTIVE}(?:{DOCUMENT})\b"
    rf"|(?:proposed|presented|described|aforementioned)\s+{ADJECTIVE}(?:{THING})\b"
    r"|(?:our|ours|we|us|my|this|these|those|here|he|she|his|her)\b"
    r"|(?:table|figure|fig\.?|section|sec\.?|appendix|equation|eq\.?|algorithm|theorem|lemma)"
    r"\s*\(?(?:\d+|[ivx]+\b|[a-z]\b(?=[\s?.,]*$))"
    r"|(?:mentioned|described|shown|given|discussed|listed|reported|introduced)\s+"
    r"(?:above|below|earlier|previously)\b"
    r"|in the (?:text|passage)\b|the (?:above|following)\b)",
    re.IGNORECASE,
)
PRONOUN = re.compile(r"\b(?:it|its|they|their|theirs|them|itself|themselves)\b", re.IGNORECASE)
SPEAKS_TO_MODEL = re.compile(
    r"\b(?:ignore|disregard|forget)\b.{0,40}\b(?:instructions?|prompts?|rules|above|previous)\b"
    r"|\byou (?:are|must|should|will)\b.{0,60}\b(?:answer|reply|respond|output|write|rate)\b"
    r"|\bsystem prompt\b|\b(?:language|ai|chat) ?(?:model|bot|assistant)s?\b.{0,30}\bmust\b",
    re.IGNORECASE,
)
CITES = re.compile(
    r"\[\s*\d+(?:\s*[,;–-]\s*\d+)*\s*\]"  # [12], [3, 5-7]
    r"|\bet al\b|\b(?:19|20)\d\d[a-z]?\b"  # Smith et al. (2020a)
    r"|\[[A-Z][A-Za-z+]*\d\d\]"  # [Smi20]
)
ONE_FORM = str.maketrans(
    {**dict.fromkeys("‐‑‒–—−", "-"), **dict.fromkeys('‘’‚′“”„″«»"', "'"), "\u00ad": ""}
)


# --- texts -------------------------------------------------------------------------------


def normalise(text: str) -> str:
    """Text for comparison: one form of each character, of case, and of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def clean(text: str) -> str:
    """One line without control and formatting characters (right-to-left marks, surrogates)."""
    dropped = ("Cc", "Cf", "Cs", "Co", "Cn")
    kept = (c if not c.isspace() else " " for c in text)
    return " ".join("".join(c for c in kept if unicodedata.category(c) not in dropped).split())


def fields(entry: Any) -> dict[str, Any] | None:
    """The texts of a fact in a reply, cleaned; ``None`` if one is missing or absurd."""
    if not isinstance(entry, dict) or not isinstance(entry.get("paraphrases"), list):
        return None
    texts = {name: entry.get(name) for name in FIELDS}
    told = {k: clean(t[: 2 * LONGEST_FIELD]) for k, t in texts.items() if isinstance(t, str)}
    if len(told) < len(FIELDS) or not all(0 < len(t) <= LONGEST_FIELD for t in told.values()):
        return None
    others = [clean(t) for t in entry["paraphrases"][:MOST_PARAPHRASES] if isinstance(t, str)]
    return told | {"paraphrases": [text for text in others if 0 < len(text) <= LONGEST_FIELD]}


# --- words -------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Words and numbers for comparison: ``1,000`` is ``1000``, ``84.0`` is ``84``, ``%`` is
    ``percent``, ``three`` is ``3``."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", normalise(text)).replace("%", " percent ")
    found = re.findall(r"\d+(?:\.\d+)?|[^\W\d_]+", text)
    found = [re.sub(r"\.?0+$", "", word) if "." in word else word for word in found]
    return [NUMBER_WORDS.get(word, word) for word in found]


def stem(word: str) -> str:
    """A word without a common English ending."""
    return re.sub(r"(?:ing|ied|ies|ed|es|s|ly)$", "", word) if len(word) > 4 else word


def content(text: str) -> list[str]:
    """Stems of the words that carry meaning, and numbers."""
    return [stem(word) for word in words(text) if word not in STOP_WORDS]


def numbers(text: str) -> set[str]:
    """The numbers of a text, as ``words`` writes them."""
    return {word for word in words(text) if word[0].isdigit()}


@lru_cache(maxsize=4096)
def in_line(text: str) -> str:
    """The ``words`` of a text, each between blanks."""
    return f" {' '.join(words(text))} "


def holds(text: str, part: str) -> bool:
    """Whether the words of ``part`` stand in ``text`` next to each other."""
    return bool(words(part)) and in_line(part) in in_line(text)


@lru_cache(maxsize=512)
def _squeezed(text: str) -> str:
    return "".join(normalise(text.translate(ONE_FORM)).split())


def quotes(passage: str, quote: str) -> bool:
    """Whether ``quote`` stands in ``passage``, white space, dashes and quotation marks aside."""
    return _squeezed(quote).strip("'.…") in _squeezed(passage)


# --- rules -------------------------------------------------------------------------------


def needs_paper(question: str, subject: str) -> bool:
    """Whether a reader without the paper cannot tell what a question is about.

    "This paper", "the authors", "the study", "our", "the proposed method", "Table 3", and a
    pronoun before the subject is named.
    """
    without = re.sub(re.escape(subject), "NAME", question, flags=re.IGNORECASE)
    pronoun = PRONOUN.search(without.partition("NAME")[0])
    return bool(pronoun or AWAY_FROM_PAPER.search(without))


def is_name(subject: str, paper: str) -> bool:
    """Whether ``subject`` is a name: neither generic words ("the proposed model") nor an ordinary
    word at the beginning of a sentence, which the paper mostly writes in small letters."""
    meaning = [word for word in words(subject) if word not in STOP_WORDS]
    if all(stem(word) in GENERIC or word in GENERIC for word in meaning):
        return False
    if not re.fullmatch(r"[A-Z][a-z]+", subject):
        return True
    small, large = (len(re.findall(rf"\b{word}\b", paper)) for word in (subject.lower(), subject))
    return small <= 2 * large


def in_quote(answer: str, quote: str, subject: str, share: float = 1.0) -> bool:
    """Whether the quote holds the answer, word for word or content word by content word."""
    if holds(quote, answer):
        return True
    wanted = content(answer)
    known = set(content(quote)) | set(content(subject))
    if not wanted or not numbers(answer) <= numbers(quote) | numbers(subject):
        return False
    return sum(word in known for word in wanted) >= share * len(wanted)


def wording_fault(question: str, fact: dict[str, Any]) -> Reason | None:
    """Why a wording cannot be asked: it does not name the subject, needs the paper, or gives
    the answer away."""
    subject, answer = fact["subject"], fact["answer"]
    if not holds(question, subject) or normalise(subject) not in normalise(question):
        return Reason.NOT_NAMED
    shortest, longest = QUESTION_WORDS
    if not shortest <= len(question.split()) <= longest:
        return Reason.BAD_LENGTH
    if needs_paper(question, subject):
        return Reason.NEEDS_PAPER
    meant = set(content(answer))
    if holds(question, answer) or (meant and meant <= set(content(question))):
        return Reason.GIVEN_AWAY
    return None


def fault(fact: dict[str, Any], task: str, passage: str, paper: str) -> Reason | None:
    """The first rule that a fact (from ``fields``) breaks; ``None`` if it may be asked.

    ``paper`` is the text in which its subject may stand: title and passages of the paper.
    """
    quote, subject, answer = fact["quote"], fact["subject"], fact["answer"]
    if len(quote.split()) < FEWEST_QUOTE_WORDS or not quotes(passage, quote):
        return Reason.NO_QUOTE
    if SPEAKS_TO_MODEL.search(quote):
        return Reason.ORDERS
    if not holds(paper, subject):
        return Reason.NO_SUBJECT
    if not is_name(subject, paper):
        return Reason.NO_NAME
    if reason := wording_fault(fact["question"], fact):
        return reason
    fewest = SHORTEST_SUMMARY if task == "summary" else 0
    if not fewest <= len(answer.split()) <= LONGEST_ANSWER[task]:
        return Reason.TOO_LONG
    if not in_quote(answer, quote, subject, SHARE_OF_SUMMARY if task == "summary" else 1.0):
        return Reason.NOT_IN_QUOTE
    if task == "citation" and not (CITES.search(quote) and re.search(r"[A-Z]\w", answer)):
        return Reason.NO_CITATION
    return None if states(fact) else Reason.BAD_STATEMENT


def states(fact: dict[str, Any]) -> bool:
    """Whether the statement names the subject, gives the answer, and adds no number."""
    text, subject, answer = fact["statement"], fact["subject"], fact["answer"]
    known = numbers(f"{fact['quote']} {fact['question']} {subject}")
    given = holds(text, answer) or set(content(answer)) <= set(content(text))
    alone = holds(text, subject) and not needs_paper(text, subject)
    return given and alone and numbers(text) <= known
