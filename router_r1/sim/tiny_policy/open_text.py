"""Questions and short answers about nothing, as varied in spelling as real ones.

The tiny policy learns from them to copy any text.
"""

from __future__ import annotations

import random

from router_r1.sim.tiny_policy.words import WORDS

__all__ = ["WORDS", "draw_answer", "draw_question", "draw_word"]

_FUNCTION_WORDS = ("the", "of", "in", "a", "is", "was", "and", "to", "for", "did", "by", "on", "that", "which", "who")
_OPENINGS = ("who", "what", "when", "where", "which", "how many", "in which year", "are", "were", "name of the")
_LETTERS = "eeeeaaaaiiooouttnnssrrhlldcumfpgwybvkxjqz"
_ACCENTED = "áàâäãåçéèêëíïñóôöøšúüžß"


def draw_word(rng: random.Random) -> str:
    """A word: mostly a common one, else letters that no dictionary holds, or a number."""
    kind = rng.random()
    if kind < 0.7:
        word = rng.choice(WORDS)
    elif kind < 0.9:
        word = "".join(rng.choices(_LETTERS, k=rng.randint(2, 10)))
        if rng.random() < 0.08:
            at = rng.randrange(len(word))
            word = word[:at] + rng.choice(_ACCENTED) + word[at + 1 :]
    else:
        return str(rng.randint(1000, 2030) if rng.random() < 0.6 else rng.randint(0, 10 ** rng.randint(1, 6)))
    shape = rng.random()
    return word.capitalize() if shape < 0.4 else word.upper() if shape < 0.43 else word


def draw_question(rng: random.Random) -> str:
    """3 to 25 words and a question mark."""
    words = [rng.choice(_OPENINGS)]
    for _ in range(rng.randint(2, 24) if rng.random() < 0.4 else rng.randint(5, 12)):
        word = rng.choice(_FUNCTION_WORDS) if rng.random() < 0.4 else draw_word(rng)
        words.append(word + _draw_mark(rng))
    if rng.random() < 0.5:
        words[0] = words[0].capitalize()
    return " ".join(words).rstrip(",;:") + "?"


def draw_answer(rng: random.Random) -> str:
    """1 to 6 words."""
    words = [draw_word(rng) for _ in range(rng.choice((1, 1, 2, 2, 2, 3, 3, 4, 5, 6)))]
    if rng.random() < 0.6:
        words = [word[:1].upper() + word[1:] for word in words]
    for at in range(len(words) - 1):
        words[at] += _draw_mark(rng)
    return " ".join(words)


def _draw_mark(rng: random.Random) -> str:
    """What follows a word: mostly nothing."""
    kind = rng.random()
    return "," if kind < 0.04 else "'s" if kind < 0.07 else f"-{rng.choice(WORDS)}" if kind < 0.09 else ""
