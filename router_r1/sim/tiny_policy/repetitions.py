"""What the warm start begins with: copying, before there is anything else to learn."""

from __future__ import annotations

import random

from router_r1.sim.tiny_policy.demonstrations import Example


def draw_repetition(rng: random.Random, vocabulary: range, length: int) -> Example:
    """Random phrases of random tokens, repeated at random distances; the third token of a repetition on is trained.

    The phrases share few tokens, so that what comes next depends on more than the last one.

    Args:
        vocabulary: ids to draw from.
        length: of the example, in tokens.
    """
    tokens = rng.sample(vocabulary, rng.choice((12, 25, 50, 200)))
    phrases = [rng.choices(tokens, k=rng.randint(4, 16)) for _ in range(rng.randint(1, 3))]
    ids: list[int] = []
    trained: list[bool] = []
    seen: set[int] = set()
    while len(ids) < length:
        chosen = rng.randrange(len(phrases))
        is_filler = chosen in seen and rng.random() < 0.3
        piece = rng.choices(tokens, k=rng.randint(1, 3)) if is_filler else phrases[chosen]
        ids += piece
        trained += [chosen in seen and not is_filler and at > 1 for at in range(len(piece))]
        seen.add(chosen)
    return Example(ids[:length], trained[:length])
