"""Questions as vectors: what fitted routers see of a question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from router_r1.errors import ConfigError

if TYPE_CHECKING:
    from sklearn.random_projection import SparseRandomProjection

_NUM_WORDS = 2**15  # that words and pairs are hashed to


class Encoder(Protocol):
    """Fixed before any score is seen, and the same for every router of a comparison."""

    name: str
    """Says which encoder it is: with the texts, all that its vectors depend on; a key for caches and files."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """float32, rows of length 1. [num_texts, num_features]"""
        ...


class HashedWords:
    """Words and pairs of words, hashed to a few thousand signed counts, and those projected at random.

    Nothing is fitted and nothing is downloaded, so that it is there where no embedding model is: it sees the words of a
    question, not what they mean. The random projection keeps angles (Johnson and Lindenstrauss, 1984).
    """

    def __init__(self, num_features: int = 384) -> None:
        self.name = f"words-{num_features}"
        self._num_features = num_features

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.preprocessing import normalize

        counts = HashingVectorizer(n_features=_NUM_WORDS, ngram_range=(1, 2), token_pattern=r"\w+").transform(texts)
        return np.asarray(normalize(self._projection.transform(counts)), dtype=np.float32)

    @cached_property
    def _projection(self) -> SparseRandomProjection:
        """It depends on the numbers of features alone, and takes longer to draw than hundreds of texts to encode."""
        from scipy.sparse import csr_matrix
        from sklearn.random_projection import SparseRandomProjection

        projection = SparseRandomProjection(self._num_features, dense_output=True, random_state=0)
        return projection.fit(csr_matrix((1, _NUM_WORDS)))


class SentenceModel:
    """A sentence embedding model, by sentence-transformers.

    Args:
        model: a folder, or an id on the hub.

    Raises:
        ConfigError: the package or the model is not there.
    """

    def __init__(self, model: str) -> None:
        self.name = model
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            remedy = "needs sentence-transformers: pip install 'router-r1[methods]'"
            raise ConfigError("command line", "--encoder", model, remedy) from None
        try:
            self._model = SentenceTransformer(model, device="cpu")
        except (OSError, ValueError) as fault:
            words = " ".join(str(fault).split())
            raise ConfigError("command line", "--encoder", model, f"cannot be loaded: {words}") from None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        vectors = self._model.encode(list(texts), normalize_embeddings=True, batch_size=64, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)


WORDS = "words"


@lru_cache(maxsize=4)
def load_encoder(written: str = WORDS) -> Encoder:
    """The encoder that `--encoder` names: `words`, or a sentence embedding model (a folder, or an id on the hub)."""
    return HashedWords() if written == WORDS else SentenceModel(written)
