"""Is what a language model says about a passage a fact, and can it be asked? Rules in code.

A fact counts only if all of this holds; the first rule that fails is the named reason:

* the quote stands in the passage (compared without case, white space, kinds of dash and of
  quotation mark) and does not speak to a model ("ignore your instructions");
* the subject is a name, and stands in the paper;
* the question names the subject and needs no paper at hand (``needs_paper``);
* the answer is in the quote: word for word, or every number and every content word of it
  (endings, number words, ``%`` and thousands separators aside); of a summary's content
  words, four in five;
* the question does not hold the answer already;
* the statement names the subject, gives the answer, and adds no number;
* a citation names the cited work, and its quote cites one.

Words cannot tell that a quote *denies* the answer; the data set judge is there for that.
"""

import json
import re
import unicodedata
from functools import lru_cache
from typing import Any

from cutoff.generate.questions.evidence import normalise

FIELDS = ("quote", "subject", "question", "answer", "statement")
LONGEST_FIELD = 2_000  # characters
MOST_PARAPHRASES = 50
LONGEST_ANSWER = {"qa": 20, "summary": 40, "citation": 25}  # words
SHORTEST_SUMMARY = 5  # words
SHARE_OF_SUMMARY = 0.8  # of its content words that must stand in the quote
QUESTION_WORDS = (4, 60)

# Reasons, in the order of the checks.
NO_ANSWER = "the generator did not answer"
NOT_JSON = "the reply is no JSON of the asked form"
NOTHING = "no fact was found in the passage"
BAD_FIELD = "a field is missing, empty or too long"
NO_QUOTE = "the quote is not in the passage"
ORDERS = "the quote speaks to a model"
NO_SUBJECT = "the subject is not in the paper"
NO_NAME = "the subject is no name"
NOT_NAMED = "the question does not name its subject"
NEEDS_PAPER = "the question needs the paper"
BAD_LENGTH = "the question is too short or too long"
TOO_LONG = "the answer is too short or too long"
NOT_IN_QUOTE = "the answer is not in the quote"
GIVEN_AWAY = "the question gives the answer away"
BAD_STATEMENT = "the statement does not give the answer"
NO_CITATION = "no cited work is named"
FEW_WORDINGS = "too few different wordings"
REPEATED = "the question was asked before"
ALIKE = "nearly the same question was asked before"
SAME_MEANING = "the same was asked before in other words"
MORE_THAN_ASKED = "more facts than asked for"

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
FEWEST_QUOTE_WORDS = 3


def parse(text: str) -> list[Any]:
    """The entries of ``facts`` in a model's reply, whatever stands around the JSON.

    Raises ``ValueError`` if there is no whole JSON of that form. The entries are not checked.
    """
    content = first_json(text)
    if isinstance(content, dict):
        content = content.get("facts")
    if not isinstance(content, list):
        raise ValueError("no list of facts")
    return content


def first_json(text: str) -> Any:
    """The first JSON object or list in ``text``; raises ``ValueError`` if it is not whole."""
    place = re.search(r"[{\[]", text)
    if not place:
        raise ValueError("no JSON")
    try:
        return json.JSONDecoder().raw_decode(text, place.start())[0]
    except RecursionError:
        raise ValueError("nested too deeply") from None


def clean(text: str) -> str:
    """One line without control and formatting characters (right-to-left marks, surrogates)."""
    dropped = ("Cc", "Cf", "Cs", "Co", "Cn")
    kept = (c if not c.isspace() else " " for c in text)
    return " ".join("".join(c for c in kept if unicodedata.category(c) not in dropped).split())


def fields(entry: Any) -> dict[str, Any] | None:
    """The texts of one entry of ``parse``, cleaned; ``None`` if one is missing or absurd."""
    if not isinstance(entry, dict):
        return None
    others = entry.get("paraphrases")
    result: dict[str, Any] = {}
    for name in FIELDS:
        text = entry.get(name)
        if not isinstance(text, str):
            return None
        result[name] = clean(text[: 2 * LONGEST_FIELD])
    if not isinstance(others, list):
        return None
    if not all(0 < len(text) <= LONGEST_FIELD for text in result.values()):
        return None
    others = [clean(t) for t in others[:MOST_PARAPHRASES] if isinstance(t, str)]
    return result | {"paraphrases": [text for text in others if 0 < len(text) <= LONGEST_FIELD]}


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
    return {word for word in words(text) if word[0].isdigit()}


def holds(text: str, part: str) -> bool:
    """Whether the words of ``part`` stand in ``text`` next to each other."""
    return bool(words(part)) and _in_line(part) in _in_line(text)


@lru_cache(maxsize=512)
def _in_line(text: str) -> str:
    return f" {' '.join(words(text))} "


def quotes(passage: str, quote: str) -> bool:
    """Whether ``quote`` stands in ``passage``, white space and kinds of dashes and quotation
    marks aside."""
    return _squeezed(quote).strip("'.…") in _squeezed(passage)


@lru_cache(maxsize=512)
def _squeezed(text: str) -> str:
    return "".join(normalise(text.translate(ONE_FORM)).split())


def needs_paper(question: str, subject: str) -> bool:
    """Whether a reader without the paper cannot tell what a question is about.

    "This paper", "the authors", "the study", "our", "the proposed method", "Table 3", and a
    pronoun before the subject is named.
    """
    without = re.sub(re.escape(subject), "NAME", question, flags=re.IGNORECASE)
    pronoun = PRONOUN.search(without)
    named = without.find("NAME")
    early = pronoun is not None and (named < 0 or pronoun.start() < named)
    return early or bool(AWAY_FROM_PAPER.search(without))


def is_name(subject: str) -> bool:
    """Whether ``subject`` is more than generic words: "the proposed model" is none."""
    meaning = [word for word in words(subject) if word not in STOP_WORDS]
    return any(stem(word) not in GENERIC and word not in GENERIC for word in meaning)


def is_common(subject: str, paper: str) -> bool:
    """Whether ``subject`` is an ordinary word at the beginning of a sentence ("Different"): one
    that the paper mostly writes in small letters."""
    if not re.fullmatch(r"[A-Z][a-z]+", subject):
        return False
    small, large = (len(re.findall(rf"\b{word}\b", paper)) for word in (subject.lower(), subject))
    return small > 2 * large


def in_quote(answer: str, quote: str, subject: str, share: float = 1.0) -> bool:
    """Whether the quote holds the answer, word for word or content word by content word."""
    if holds(quote, answer):
        return True
    wanted = content(answer)
    known = set(content(quote)) | set(content(subject))
    if not wanted or not numbers(answer) <= numbers(quote) | numbers(subject):
        return False
    return sum(word in known for word in wanted) >= share * len(wanted)


def wording_fault(question: str, fact: dict[str, Any]) -> str | None:
    """Why a wording cannot be asked: it does not name the subject, needs the paper, or gives
    the answer away."""
    if not holds(question, fact["subject"]) or normalise(fact["subject"]) not in normalise(
        question
    ):
        return NOT_NAMED
    shortest, longest = QUESTION_WORDS
    if not shortest <= len(question.split()) <= longest:
        return BAD_LENGTH
    if needs_paper(question, fact["subject"]):
        return NEEDS_PAPER
    asked, answer = set(content(question)), set(content(fact["answer"]))
    if holds(question, fact["answer"]) or (answer and answer <= asked):
        return GIVEN_AWAY
    return None


def fault(fact: dict[str, Any], task: str, passage: str, paper: str) -> str | None:
    """The first rule that a fact (from ``fields``) breaks; ``None`` if it may be asked.

    ``paper`` is the text in which its subject may stand: title and passages of the paper.
    """
    quote, subject, answer = fact["quote"], fact["subject"], fact["answer"]
    if len(quote.split()) < FEWEST_QUOTE_WORDS or not quotes(passage, quote):
        return NO_QUOTE
    if SPEAKS_TO_MODEL.search(quote):
        return ORDERS
    if not holds(paper, subject):
        return NO_SUBJECT
    if not is_name(subject) or is_common(subject, paper):
        return NO_NAME
    if reason := wording_fault(fact["question"], fact):
        return reason
    n_words = len(answer.split())
    if n_words > LONGEST_ANSWER[task] or (task == "summary" and n_words < SHORTEST_SUMMARY):
        return TOO_LONG
    if not in_quote(answer, quote, subject, SHARE_OF_SUMMARY if task == "summary" else 1.0):
        return NOT_IN_QUOTE
    if task == "citation" and not (CITES.search(quote) and re.search(r"[A-Z]\w", answer)):
        return NO_CITATION
    return None if states(fact) else BAD_STATEMENT


def states(fact: dict[str, Any]) -> bool:
    """Whether the statement names the subject, gives the answer, and adds no number."""
    text = fact["statement"]
    known = numbers(fact["quote"]) | numbers(fact["question"]) | numbers(fact["subject"])
    given = holds(text, fact["answer"]) or set(content(fact["answer"])) <= set(content(text))
    return (
        given
        and holds(text, fact["subject"])
        and numbers(text) <= known
        and not needs_paper(text, fact["subject"])
    )
