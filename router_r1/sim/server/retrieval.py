"""A small retriever behind HTTP, with the API of Search-R1's retrieval server: BM25 over the passages of a file.

`POST /retrieve` takes `{"queries": [...], "topk": 3, "return_scores": true}` and answers `{"result": [hits of each
query]}`, a hit being `{"document": {"id", "contents"}, "score"}`, or the document alone without `return_scores`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from router_r1.errors import ConfigError
from router_r1.sim.world.facts import NAMES, VERBS, World


@dataclass(frozen=True)
class Passage:
    id: str
    contents: str
    """Title and text, or text alone."""


class Bm25:
    """BM25 (Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", section 3) with
    Lucene's idf, ln(1 + (N - df + 0.5) / (df + 0.5)), which is never negative. A word of a query counts once.

    Args:
        k1: how soon more of the same word stops to count.
        b: how much long passages are discounted, in [0, 1].
    """

    def __init__(self, texts: Sequence[str], *, k1: float = 0.9, b: float = 0.4) -> None:
        self._vectorizer = CountVectorizer(token_pattern=r"\w+", dtype=np.float32)
        counts = sparse.csc_matrix(self._vectorizer.fit_transform(texts))  # [num_texts, num_words]
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        discount = k1 * (1 - b + b * lengths / lengths.mean())  # [num_texts]
        found_in = np.diff(counts.indptr)  # [num_words]
        idf = np.log1p((len(texts) - found_in + 0.5) / (found_in + 0.5))
        counts.data *= (k1 + 1) / (counts.data + discount[counts.indices])
        self._weights = sparse.csr_matrix(counts.multiply(idf))

    def scores(self, query: str) -> np.ndarray:
        """[num_texts]"""
        asked = self._vectorizer.transform([query])
        asked.data[:] = 1
        return np.asarray((self._weights @ asked.T).todense()).ravel()

    def best(self, query: str, count: int) -> list[tuple[int, float]]:
        """(text, score) of at most so many that share a word with the query, the best first."""
        scores = self.scores(query)
        order = np.argsort(-scores, kind="stable")[:count]
        return [(int(row), float(scores[row])) for row in order if scores[row] > 0]


class RetrieveRequest(BaseModel):
    queries: list[str]
    topk: Annotated[int, Field(ge=1)] = 3
    return_scores: bool = False


def create_app(passages: Sequence[Passage]) -> FastAPI:
    """The server's application."""
    app = FastAPI(title="Router-R1 retriever", docs_url=None, redoc_url=None, openapi_url=None)
    index = Bm25([passage.contents for passage in passages])

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/retrieve")
    async def retrieve(body: RetrieveRequest) -> dict[str, Any]:
        def hits(query: str) -> list[dict[str, Any]]:
            found = [
                ({"id": passages[row].id, "contents": passages[row].contents}, score)
                for row, score in index.best(query, body.topk)
            ]
            return [
                {"document": document, "score": score} if body.return_scores else document for document, score in found
            ]

        return {"result": [hits(query) for query in body.queries]}

    return app


def read_passages(file: Path) -> list[Passage]:
    """A corpus as FlashRAG and Search-R1 have it: JSON lines with `contents` and, if wanted, `id`.

    Raises:
        ConfigError: it cannot be read, or a line is no passage.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(file, "", None, f"cannot be read: {fault}; give JSON lines with contents") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            contents = row["contents"]
        except (ValueError, KeyError, TypeError):
            contents = None
        if not isinstance(contents, str) or not contents.strip():
            raise ConfigError(f"{file}:{number}", "contents", None, "must be the text of a passage, in a JSON object")
        found.append(Passage(str(row.get("id", number - 1)), contents))
    if not found:
        raise ConfigError(file, "", None, "holds no passage")
    return found


def world_passages(seed: int) -> list[Passage]:
    """A sentence for each fact of a simulated world."""
    world = World(seed)
    facts = [(verb, name) for verb in VERBS for name in NAMES]
    return [Passage(f"{verb}-{name}", f"{world.fact(verb, name)} {verb} {name}.") for verb, name in facts]
