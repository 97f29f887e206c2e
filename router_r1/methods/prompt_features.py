"""Features of a question that a person can read: how long it is, what kind of task it looks like, how it is written.

Each is a number that depends on the question's text alone. Counts of what grows with length are shares, so that a
feature says one thing; lengths are logarithms, so that twice as long means the same step everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
NUMBER = r"\d+(?:[.,]\d+)*"
SENTENCE_END = re.compile(r"[.!?](?=\s|$)|\n+")

TASK_WORDS = {
    "code": (
        "algorithm array boolean class code dictionary element elements function given integer integers list lists "
        "method output parameter print program python regex return returns script sort sql string strings tuple "
        "tuples"
    ),
    "arithmetic": (
        "altogether average cost costs days dollars each earn fewer half hours left many minutes more much paid per "
        "percent price remaining spend spent sum third times total twice week weeks"
    ),
    "mathematics": (
        "angle area circle coefficient compute digits equation evaluate factor fraction integer integers matrix "
        "perpendicular polynomial positive prime probability real root sides simplify solve triangle value vector"
    ),
    "science": (
        "acid atom atoms carbon cell cells chemical compound concentration dna electron electrons energy enzyme field "
        "frequency gas gene genes heat light magnetic mass molecule nuclear orbital particle plant protein quantum "
        "reaction solution species spin star state temperature velocity wavelength"
    ),
    "everyday life": (
        "animal bed buy child children door eat feel food friend good home house kitchen like likely people person "
        "place room school someone store walk want water"
    ),
    "people and works": (
        "actor actress album author award band book born character city country episode film first game king last "
        "movie name named novel played president season series show song star team war winner wins world wrote year"
    ),
    "reading": (
        "according author from infer learn main mainly meaning paragraph passage probably purpose text title "
        "underlined word writer"
    ),
    "puzzle": ("clue clues different directly false following lives next puzzle statement statements true"),
}
"""Kind of task -> words that such questions have more often than others."""

QUESTION_WORDS = ("who", "what", "when", "where", "which", "why", "how")
ORDERS = "calculate compute convert describe determine evaluate explain find give list prove simplify solve write"
CLAUSE_WORDS = "although as because before if since that though unless until when where whether which while who whose"
ENGLISH = "a an and are at by for from how in is it of on or that the to was what when where which who with"


@dataclass(frozen=True)
class Prompt:
    """A question as the features read it."""

    text: str
    words: tuple[str, ...]
    """In small letters."""

    @classmethod
    def of(cls, text: str) -> Prompt:
        return cls(text, tuple(word.lower() for word in WORD.findall(text)))

    def per_word(self, found: int) -> float:
        return found / (len(self.words) + 1)


Feature = Callable[[Prompt], float]


def _log(count: float) -> float:
    return math.log2(1 + count)


def _share(found: float, of: int) -> float:
    return found / of if of else 0.0


def _share_of_words(listed: str) -> Feature:
    listed_words = frozenset(listed.split())
    return lambda prompt: _share(sum(word in listed_words for word in prompt.words), len(prompt.words))


def _has(pattern: str, flags: int = 0) -> Feature:
    compiled = re.compile(pattern, flags)
    return lambda prompt: float(compiled.search(prompt.text) is not None)


def _count(pattern: str, flags: int = 0) -> Feature:
    compiled = re.compile(pattern, flags)
    return lambda prompt: _log(len(compiled.findall(prompt.text)))


def _per_word(pattern: str) -> Feature:
    compiled = re.compile(pattern)
    return lambda prompt: prompt.per_word(len(compiled.findall(prompt.text)))


def _share_of_letters(pattern: str) -> Feature:
    compiled = re.compile(pattern)
    return lambda prompt: _share(len(compiled.findall(prompt.text)), sum(map(str.isalpha, prompt.text)))


def _words_per_sentence(prompt: Prompt) -> float:
    sentences = sum(1 for part in SENTENCE_END.split(prompt.text) if part.strip())
    return _log(_share(len(prompt.words), sentences))


def _starts_with(word: str) -> Feature:
    return _has(rf"\A\W*{word}\b", re.IGNORECASE)


FEATURES: dict[str, Feature] = {
    # length and syntax
    "characters (log2)": lambda prompt: _log(len(prompt.text)),
    "words (log2)": lambda prompt: _log(len(prompt.words)),
    "lines (log2)": _count(r"\n"),
    "words in a sentence (log2)": _words_per_sentence,
    "letters in a word": lambda prompt: _share(sum(map(len, prompt.words)), len(prompt.words)),
    "share of different words": lambda prompt: _share(len(set(prompt.words)), len(prompt.words)),
    "commas per word": _per_word(","),
    "clauses: share of because, if, which, ...": _share_of_words(CLAUSE_WORDS),
    "brackets per word": _per_word(r"[()\[\]{}]"),
    "quotation marks per word": _per_word(r"[\"“”]"),
    # how it asks
    **{f"starts with {word}": _starts_with(word) for word in QUESTION_WORDS},
    "asks how many or how much": _has(r"\bhow (?:many|much)\b", re.IGNORECASE),
    "a question word anywhere": _has(rf"\b(?:{'|'.join(QUESTION_WORDS)})\b", re.IGNORECASE),
    "starts with an order (find, write, ...)": _starts_with(f"(?:{'|'.join(ORDERS.split())})"),
    "question marks (log2)": _count(r"\?"),
    "ends with a question mark": _has(r"\?\W*\Z"),
    "ends with a full stop": _has(r"\.\s*\Z"),
    "ends without a mark": _has(r"[\w$]\s*\Z"),
    "starts with a small letter": lambda prompt: float(prompt.text.strip()[:1].islower()),
    "a gap to fill (___)": _has(r"_{2,}"),
    "choices (A) B. ...": _has(r"(?:^|\s)\(?[A-E][).:]\s"),
    "asks for an answer in a given form": _has(
        r"\\boxed|final answer|answer (?:with|in|only)|step by step", re.IGNORECASE
    ),
    "superlatives (most, best, ...)": _share_of_words(
        "best fewest greatest highest largest least lowest most smallest"
    ),
    "speaks to you": _share_of_words("you your"),
    "he, she, they: share of words": _share_of_words("he her him his she their them they"),
    # numbers, formulas, code
    "numbers per word": _per_word(NUMBER),
    "numbers (log2)": _count(NUMBER),
    "years": _count(r"\b(?:1[0-9]|20)\d\d\b"),
    "money or per cent": _has(r"[$€£]\d|\d ?%"),
    "LaTeX commands per word": _per_word(r"\\[A-Za-z]+"),
    "dollar signs (log2)": _count(r"\$(?!\d)"),
    "operators per word": _per_word(r"[=+*/^<>]"),
    "lines of code": _count(
        r"^\s*(?:def |class |import |from \w+ import|return\b|for .*:$|if .*:$|>>>|#|//)", re.MULTILINE
    ),
    "names_with_underscores": _count(r"\b\w+_\w+\b"),
    # who and what it speaks of
    "capitalised words inside sentences": _per_word(r"(?<=[a-z,;] )[A-Z][a-z]+"),
    **{f"words of {kind}": _share_of_words(words) for kind, words in TASK_WORDS.items()},
    # language
    "small words of English": _share_of_words(ENGLISH),
    "letters beyond ASCII": _share_of_letters(r"[^\W\d_a-zA-Z]"),
    "letters of Chinese, Japanese or Korean": _share_of_letters(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]"),
}
"""Name, as a report shows it -> the feature."""

FEATURE_NAMES = tuple(FEATURES)


def features(questions: Sequence[str]) -> np.ndarray:
    """float32. [num_questions, len(FEATURE_NAMES)]"""
    prompts = [Prompt.of(question) for question in questions]
    table = [[feature(prompt) for feature in FEATURES.values()] for prompt in prompts]
    return np.array(table, dtype=np.float32).reshape(len(questions), len(FEATURES))
