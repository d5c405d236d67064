"""The deterministic ``reference`` judge: is the reference answer what the response says?

It knows no list of possible answers. Rules, in this order:

* Text is compared without citation markers, case, accents, punctuation and articles.
* An empty response, or one that declines and does not hold the reference, is not attempted.
* A quantity counts by its value (``84``, ``84.0``, ``84 %`` agree, ``7B`` is ``7 billion``).
  Another quantity of the same kind contradicts it, unless the question mentions it. A number
  inside a name (``CIFAR-10``) is no quantity.
* Any other reference counts when its words stand in the response as whole words, and are not
  denied ("not ring"), in a list or before an alternative ("ring or mesh"), and the same sentence
  is not said again with another ending. So "Paris, France" is not counted: the rule is strict,
  and the same for every condition.
"""

import re
import unicodedata
from typing import NamedTuple

CITATION = re.compile(r"\[\s*(?:passages?\s*)?\d+(?:\s*[,;–-]\s*\d+)*\s*\]", re.IGNORECASE)

REFUSAL = re.compile(
    r"\b(?:i (?:do not|don t|cannot|can t|could not) (?:know|say|tell|answer|find|determine)"
    r"|i (?:am|m) not (?:sure|aware|certain)|i have no (?:information|idea)"
    r"|(?:is|are|was|were) (?:not (?:mentioned|stated|specified|provided|given|known|available"
    r"|disclosed|reported)|unknown|unclear|unspecified)"
    r"|(?:does|do|did) not (?:mention|state|specify|say|provide|contain|include|report|disclose)"
    r"|unable to (?:answer|determine|find|say)|no (?:information|answer|mention)"
    r"|(?:cannot|can not) be (?:determined|answered|found)|not enough information)\b"
)

ARTICLES = frozenset({"a", "an", "the"})
DENIALS = frozenset("not no never nor neither without except isn wasn aren doesn cannot".split())
# Words that cannot be an item of a list: after "and", they begin a new statement.
FUNCTION_WORDS = frozenset(
    "is are was were be been it its they their he she we our i you this that these those which "
    "who what where when while as at by for from in into of on to with via using uses use used has "
    "have had does do did can could may might will would should because since so if than then "
    "also only not no but runs run made trained reaches scores comes called named".split()
)
CONJUNCTIONS = frozenset({"or", "and", "nor", "versus", "vs"})
LONGEST_ITEM_WORDS = 3

SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "b": 1e9, "bn": 1e9,
          "billion": 1e9, "t": 1e12, "trillion": 1e12}  # fmt: skip
QUANTITY = re.compile(
    # neither inside a word nor tied to one by a hyphen: that is a name, like CIFAR-10
    r"(?<![\w.])(?<![a-z]-)(?P<number>-?\d+(?:\.\d+)?)"
    r"(?:[ -]?(?P<unit>percentage|percent|per cent|thousand|million|billion|trillion)\b"
    r"|(?P<letters>[a-z]{1,3})\b| (?P<spaced>[kmbt]|bn)\b)?(?!\w|\.\d)"
)
SHARES_UNIT = re.compile(r"\s*(?:-|/|,|,?\s*(?:or|and|to))\s*")


class Quantity(NamedTuple):
    """A number times its scale; ``unit`` is "percent", "scaled" (7B), letters, or nothing."""

    value: float
    unit: str


def decide(question: str, reference: str, response: str) -> tuple[str, str]:
    """(verdict, the rule that decided); the verdict is correct, incorrect or not_attempted."""
    text = plain(CITATION.sub(" ", response))
    if not words(text):
        return "not_attempted", "empty"
    expected = whole_quantity(reference)
    if expected is not None:
        verdict, rule = _decide_quantity(expected, text, plain(question))
    elif words(text) == words(plain(reference)):
        return "correct", "the reference itself"
    else:
        verdict, rule = _decide_words(words(plain(reference)), text, set(words(plain(question))))
    if rule in ("absent", "another quantity") and REFUSAL.search(" ".join(words(text))):
        return "not_attempted", "declined"
    return verdict, rule


def plain(text: str) -> str:
    """Lower case without accents; one kind of dash, quote and percent; ``1,000`` as ``1000``."""
    decomposed = unicodedata.normalize("NFKD", text)
    text = "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()
    text = re.sub(r"[\u2010-\u2015\u2212]", "-", text)
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    return re.sub(r"\s*%", " percent", text)


def words(text: str) -> list[str]:
    """Words and numbers of a plain text, without articles; ``84.0`` as ``84``."""
    found = re.findall(r"\d+\.\d+|\w+", text)
    numbers = [re.sub(r"\.?0+$", "", word) if "." in word else word for word in found]
    return [word for word in numbers if word not in ARTICLES]


def quantities(text: str) -> list[Quantity]:
    """Quantities of a plain text, in order; in "80 to 84 percent" both are percentages."""
    found = []
    unit, next_start = "", len(text)
    for match in reversed(list(QUANTITY.finditer(text))):
        own = match["unit"] or match["letters"] or match["spaced"]
        if own:
            unit = own
        elif not SHARES_UNIT.fullmatch(text[match.end() : next_start]):
            unit = ""
        next_start = match.start()
        kind = "scaled" if unit in SCALES else "percent" if unit.startswith("per") else unit
        found.append(Quantity(float(match["number"]) * SCALES.get(unit, 1), kind))
    return found[::-1]


def whole_quantity(reference: str) -> Quantity | None:
    """The quantity that ``reference`` is, or None when it is anything else or more."""
    text = plain(reference).strip(" .")
    return quantities(text)[0] if QUANTITY.fullmatch(text) else None


def _decide_quantity(expected: Quantity, text: str, question: str) -> tuple[str, str]:
    stated = [q for q in quantities(text) if q not in quantities(question) or q == expected]
    explicit = [q for q in stated if q.unit == expected.unit]
    # A number without a unit may stand for a percentage, never for a scaled number: 7 is not 7B.
    bare_counts = expected.unit in ("", "percent") and not explicit
    candidates = [q for q in stated if not q.unit or not expected.unit] if bare_counts else explicit
    values = {q.value for q in candidates}
    if expected.value not in values:
        return "incorrect", "another quantity" if values else "absent"
    if len(values) > 1:
        return "incorrect", "several values"
    return "correct", "the quantity"


def _decide_words(expected: list[str], text: str, asked: set[str]) -> tuple[str, str]:
    """``asked``: words of the question, which are never items of a list of answers."""
    sentences = [s for s in re.split(r"[.!?\n]+(?=\s|$)|\n+", text) if words(s)]
    beginnings: list[list[str]] = []
    for sentence in sentences:
        parts = _parts(sentence)
        if any(_denied(part, start) for part in parts for start in _places(expected, part)):
            return "incorrect", "denied"
        if _in_list(parts, expected, asked):
            return "incorrect", "several values"
        beginnings += [words(sentence)[:start] for start in _places(expected, words(sentence))]
    if not beginnings and not _places(expected, words(text)):  # "U.S. Army" is no two sentences
        return "incorrect", "absent"
    for sentence in sentences:
        said = words(sentence)
        for beginning in beginnings:
            again = said[: len(beginning)] == beginning and len(said) > len(beginning)
            # Without a beginning, a bare word is the same place: "Ring. Mesh."
            alike = bool(beginning) or _is_item(said, asked)
            if again and alike and not _places(expected, said):
                return "incorrect", "several values"
    return "correct", "restated"


def _parts(sentence: str) -> list[list[str]]:
    """Words of a sentence, cut at its commas and the like and around its conjunctions."""
    parts: list[list[str]] = []
    for piece in re.split(r"[,;:/()\[\]|&]|--| - ", sentence):
        parts.append([])
        for word in words(piece):
            if word in CONJUNCTIONS:
                parts += [[word], []]
            else:
                parts[-1].append(word)
    return [part for part in parts if part]


def _places(expected: list[str], said: list[str]) -> list[int]:
    n = len(expected)
    return [i for i in range(len(said) - n + 1) if said[i : i + n] == expected]


def _denied(said: list[str], start: int) -> bool:
    before = said[max(0, start - 4) : start]
    if "but" in before:
        before = before[len(before) - before[::-1].index("but") :]
    instead = "rather than" in " ".join(before) or "instead of" in " ".join(before)
    return instead or not DENIALS.isdisjoint(before)


def _in_list(parts: list[list[str]], expected: list[str], asked: set[str]) -> bool:
    """Does the part that holds the value stand beside another part that could replace it?"""
    n = len(expected)
    for i, part in enumerate(parts):
        if part[-n:] == expected and _is_item(_beside(parts[i + 1 :]), asked):
            return True
        if part[:n] == expected:
            item = _beside(parts[:i][::-1])
            # "the backbone is ring and mesh": the item before "and" follows a function word
            last = max((at for at, word in enumerate(item) if word in FUNCTION_WORDS), default=-1)
            if _is_item(item[last + 1 :], asked):
                return True
    return False


def _beside(parts: list[list[str]]) -> list[str]:
    """The first part that is no conjunction, at most one word away."""
    return next((part for part in parts[:2] if part[0] not in CONJUNCTIONS), [])


def _is_item(item: list[str], asked: set[str]) -> bool:
    """Short, without a word that would make it a statement, and not from the question."""
    return (
        0 < len(item) <= LONGEST_ITEM_WORDS
        and FUNCTION_WORDS.isdisjoint(item)
        and asked.isdisjoint(item)
    )
