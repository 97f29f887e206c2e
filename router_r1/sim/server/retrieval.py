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

from fastapi import FastAPI
from pydantic import BaseModel, Field

from router_r1.errors import ConfigError
from router_r1.sim.world.facts import NAMES, VERBS, World


@dataclass(frozen=True)
class Passage:
    id: str
    contents: str
    """Title and text, or text alone."""


class Bm25:
    """BM25 as Lucene computes it, by the library bm25s, with the constants of Anserini (k1 = 0.9, b = 0.4)."""

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s  # with NumPy half a second, which a server of candidates need not wait for

        self._index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
        self._index.index(_words(texts), show_progress=False)
        self._num_texts = len(texts)

    def best(self, query: str, count: int) -> list[tuple[int, float]]:
        """(text, score) of at most so many that share a word with the query, the best first."""
        rows, scores = self._index.retrieve(_words([query]), k=min(count, self._num_texts), show_progress=False)
        return [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True) if score > 0]


def _words(texts: Sequence[str]) -> Any:
    import bm25s

    return bm25s.tokenize(list(texts), stopwords=[], token_pattern=r"\w+", show_progress=False)


class RetrieveRequest(BaseModel):
    queries: list[str]
    topk: Annotated[int, Field(ge=1)] = 3
    return_scores: bool = False


class Retriever:
    """What answers the requests."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages, self._index = passages, Bm25([passage.contents for passage in passages])

    def answer(self, body: RetrieveRequest) -> dict[str, Any]:
        return {"result": [self._hits(query, body) for query in body.queries]}

    def _hits(self, query: str, body: RetrieveRequest) -> list[dict[str, Any]]:
        passages = self._passages
        found = [
            ({"id": passages[row].id, "contents": passages[row].contents}, score)
            for row, score in self._index.best(query, body.topk)
        ]
        return [{"document": document, "score": score} if body.return_scores else document for document, score in found]


def create_app(passages: Sequence[Passage]) -> FastAPI:
    """The server's application."""
    app = FastAPI(title="Router-R1 retriever", docs_url=None, redoc_url=None, openapi_url=None)
    retriever = Retriever(passages)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/retrieve")
    async def retrieve(body: RetrieveRequest) -> dict[str, Any]:
        return retriever.answer(body)

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
