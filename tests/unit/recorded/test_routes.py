"""Routes answered from a file."""

from __future__ import annotations

import asyncio
import copy

import pytest

from router_r1.errors import ConfigError
from router_r1.recorded import RecordedRoutes, load_recorded
from router_r1.scores import Sample, write_scores
from tests.doubles.recorded import PRICES, sum_lines, write_lines

LINES = sum_lines(4)


def test_a_known_question_gets_the_reply_and_its_price_and_another_a_failed_route(tmp_path):
    recorded = load_recorded(write_lines(tmp_path / "sums.jsonl.gz", LINES), PRICES)
    routes = RecordedRoutes(recorded)
    route = asyncio.run(routes.route("Large-70B", LINES[2]["question"]))
    said = LINES[2]["candidates"]["Large-70B"]["reply"]
    assert route.reply == said
    assert route.raw_cost == -(-len(said) // 4) * 20.0
    assert asyncio.run(routes.route("Large-70B", "Who sang it?")).failed


def test_who_asks_again_gets_the_next_sample(tmp_path):
    pytest.importorskip("pyarrow")
    shared = {"id": "1", "data_source": "sums", "question": "1 + 1?", "metric": "correct", "score": 1.0}
    rows = [
        Sample(**shared, candidate=name, sample=number, reply=f"reply {number}", raw_cost=1.0, spend_usd=1e-6)
        for name in ("A", "B")
        for number in range(2)
    ]
    write_scores(rows, tmp_path / "scores.parquet", provenance={})
    routes = RecordedRoutes(load_recorded(tmp_path / "scores.parquet"))

    def ask(trajectory_id):
        return asyncio.run(routes.route("A", "1 + 1?", trajectory_id=trajectory_id)).reply

    assert [ask("a"), ask("a"), ask("a"), ask("b")] == ["reply 0", "reply 1", "reply 0", "reply 0"]


def test_scores_alone_answer_nothing(tmp_path):
    lines = copy.deepcopy(LINES)
    for line in lines:
        for said in line["candidates"].values():
            del said["reply"]
    with pytest.raises(ConfigError, match="reply: is nowhere: only scores are known"):
        RecordedRoutes(load_recorded(write_lines(tmp_path / "sums.jsonl.gz", lines), PRICES))
