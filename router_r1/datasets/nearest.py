"""Known questions, found by what somebody has made of them.

A policy that copies a question into a search makes small errors, so a question is found exactly if it can be, else as
the one most alike among those that share its rarest words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from difflib import SequenceMatcher
from heapq import nsmallest

MIN_SIMILARITY = 0.8
_MAX_CONSIDERED = 200
_NUM_COMPARED = 8


class QuestionIndex:
    """Finds one of some texts.

    Args:
        texts: normalised (`normalise_question`).
        min_similarity: of a text that is not found exactly: the share of characters that stand in both in the same
            order (Ratcliff and Obershelp 1988), in [0, 1].
    """

    def __init__(self, texts: Iterable[str], min_similarity: float = MIN_SIMILARITY) -> None:
        self._texts, self._min_similarity = frozenset(texts), min_similarity
        self._by_word: dict[str, list[str]] = defaultdict(list)
        for text in sorted(self._texts):
            for word in set(text.split()):
                self._by_word[word].append(text)

    def find(self, query: str) -> str | None:
        """The known text most like `query` (normalised); None if none is alike enough."""
        if query in self._texts:
            return query
        words = sorted((w for w in set(query.split()) if w in self._by_word), key=lambda w: (len(self._by_word[w]), w))
        shared: dict[str, float] = defaultdict(float)
        for word in words:
            if len(shared) >= _MAX_CONSIDERED:
                break
            for text in self._by_word[word]:
                shared[text] += 1 / len(self._by_word[word])
        compared = nsmallest(_NUM_COMPARED, shared, key=lambda text: (-shared[text], text))
        ratio, text = max(((self._similarity(query, text), text) for text in compared), default=(0.0, ""))
        return text if ratio >= self._min_similarity else None

    def _similarity(self, a: str, b: str) -> float:
        """0 where it is surely below the minimum."""
        matcher = SequenceMatcher(None, a, b, autojunk=False)
        # The quick ratios are upper bounds, by length and by letters.
        if min(matcher.real_quick_ratio(), matcher.quick_ratio()) < self._min_similarity:
            return 0.0
        return matcher.ratio()
