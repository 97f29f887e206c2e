"""Outcome of an answer against the golden answers: exact match and token F1, the best over the golden answers.

A candidate's reply is a sentence, not an answer: it is right if it holds a golden answer (`holds_answer`).

Definitions: Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", section 6.1, and its
evaluation script; the rule for yes, no and noanswer is HotpotQA's (Yang et al. 2018).
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_CLOSED_ANSWERS = {"yes", "no", "noanswer"}


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, words separated by single spaces."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str | None, golden: Sequence[str]) -> float:
    """1.0 if `answer` equals a golden answer after normalisation, else 0.0; 0.0 without an answer."""
    return 0.0 if answer is None else max((_pair_em(answer, g) for g in golden), default=0.0)


def f1_score(answer: str | None, golden: Sequence[str]) -> float:
    """Token F1 in [0, 1] after normalisation, the best over the golden answers; 0.0 without an answer.

    yes, no and noanswer are right or wrong, never partly right.
    """
    return 0.0 if answer is None else max((_pair_f1(answer, g) for g in golden), default=0.0)


def holds_answer(text: str, golden: Sequence[str]) -> float:
    """1.0 if a golden answer stands in `text` as a whole phrase, both normalised, else 0.0.

    It is the exact match of a reader who takes the answer out of the text and is never wrong about where it stands
    (cover EM; the "accuracy" of Mallen et al. 2023, arXiv:2212.10511). A text that names several answers is right if
    one of them is. For yes, no and noanswer it must hold none of the other two.
    """
    return max((_pair_holds(text, g) for g in golden), default=0.0)


def _pair_holds(text: str, golden: str) -> float:
    t, g = normalize_answer(text), normalize_answer(golden)
    if not t or not g:
        return _pair_em(text, golden)
    if g in _CLOSED_ANSWERS:
        return float(_CLOSED_ANSWERS & set(t.split()) == {g})
    return float(f" {g} " in f" {t} ")


def _pair_em(answer: str, golden: str) -> float:
    a, g = normalize_answer(answer), normalize_answer(golden)
    # Else "the" and "" would match "A": nothing is left of any of them.
    return float(a == g) if a and g else float(_raw(answer) == _raw(golden))


def _pair_f1(answer: str, golden: str) -> float:
    a, g = normalize_answer(answer), normalize_answer(golden)
    if not a or not g or a in _CLOSED_ANSWERS or g in _CLOSED_ANSWERS:
        return _pair_em(answer, golden)
    a_tokens, g_tokens = a.split(), g.split()
    overlap = (Counter(a_tokens) & Counter(g_tokens)).total()
    return 2 * overlap / (len(a_tokens) + len(g_tokens))  # = 2PR / (P + R), P = overlap / |a|, R = overlap / |g|


def _raw(text: str) -> str:
    return text.strip().casefold()
