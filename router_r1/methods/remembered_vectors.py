"""Vectors of questions, computed once for all routers of a process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from router_r1.methods.encoders import Encoder


class RememberedVectors:
    """An encoder that encodes each text once.

    Args:
        encoder: the real one.

    Attributes:
        name: the real one's.
    """

    def __init__(self, encoder: Encoder) -> None:
        self.name, self._encoder = encoder.name, encoder
        self._vectors: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """As `Encoder.encode`."""
        if new := list(dict.fromkeys(text for text in texts if text not in self._vectors)):
            self._vectors.update(zip(new, self._encoder.encode(new), strict=True))
        return np.stack([self._vectors[text] for text in texts])
