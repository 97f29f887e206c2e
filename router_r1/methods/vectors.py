"""Vectors of questions, computed once: on disk for the next benchmark, in memory for every router of this one."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from router_r1.atomic import write_bytes
from router_r1.methods.encoders import Encoder


def vectors_folder() -> Path:
    """$XDG_CACHE_HOME/router_r1/vectors, or the same in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "router_r1", "vectors")


class KnownVectors:
    """An encoder that encodes each text once: it knows the vectors of some, and remembers those of others.

    Args:
        encoder: the real one.
        texts: most of what it will be asked for.
        folder: where the vectors are kept, in a file for each encoder and set of texts.

    Attributes:
        name: the real one's.
    """

    def __init__(self, encoder: Encoder, texts: Sequence[str], folder: Path) -> None:
        self.name, self._encoder = encoder.name, encoder
        self._texts, self._folder = list(dict.fromkeys(texts)), folder

    @cached_property
    def _vectors(self) -> dict[str, np.ndarray]:
        """Text -> vector; made when the first is asked for, since bounds ask for none."""
        key = hashlib.sha256(json.dumps([self.name, self._texts]).encode()).hexdigest()
        file = self._folder / f"{key[:32]}.npy"
        vectors = _read(file, len(self._texts))
        if vectors is None:
            vectors = self._encoder.encode(self._texts)
            content = io.BytesIO()
            np.save(content, vectors, allow_pickle=False)
            write_bytes(file, content.getvalue())
        return dict(zip(self._texts, vectors, strict=True))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """As `Encoder.encode`."""
        if new := list(dict.fromkeys(text for text in texts if text not in self._vectors)):
            self._vectors.update(zip(new, self._encoder.encode(new), strict=True))
        return np.stack([self._vectors[text] for text in texts])


def _read(file: Path, num_texts: int) -> np.ndarray | None:
    """None if there is no such file, or one that is no good: it is written anew then."""
    try:
        vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.asarray(vectors) if len(vectors) == num_texts else None
