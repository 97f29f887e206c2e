"""What the command line makes of a pool of recorded replies, and cascades behind its server."""

from __future__ import annotations

import pytest

from router_r1.datasets import check_parquet
from router_r1.pool import load_pool
from router_r1.recorded import RecordedRoutes
from router_r1.recorded.pools import load_recorded_pool, split_recorded
from router_r1.routing import RouteService
from router_r1.sim.server.process import pool_server
from tests.doubles.commands import data_recorded, sim
from tests.doubles.recorded import sum_lines, write_recorded_pool

pytest.importorskip("fastapi")
pytest.importorskip("pyarrow")


def test_question_files_are_written_of_what_the_pool_knows(tmp_path, capsys):
    file = write_recorded_pool(tmp_path, sum_lines(30))
    assert data_recorded(["--pool", str(file), "--model", "tiny", "--out", str(tmp_path / "data")]) == 0
    train, val = capsys.readouterr().out.split()
    assert (check_parquet(train), check_parquet(val)) == ({"train"}, {"val"})


def test_a_pool_without_replies_is_told(tmp_path, capsys):
    assert data_recorded(["--pool", "sim", "--out", str(tmp_path)]) == 2
    assert "recorded: is missing; give the file of what the candidates said" in capsys.readouterr().err
    assert sim(["serve", "--port", "0", "--recorded", "sim"]) == 2
    assert "recorded: is missing" in capsys.readouterr().err


def test_questions_of_others_do_not_go_with_recorded_replies(tmp_path, capsys):
    file = write_recorded_pool(tmp_path, sum_lines(3))
    assert sim(["serve", "--port", "0", "--recorded", str(file), "--latency", "Pico-1B=3"]) == 2
    assert "--recorded = " in capsys.readouterr().err


async def test_a_cascade_decides_the_same_behind_http_as_on_the_file(tmp_path):
    pytest.importorskip("sklearn")
    from router_r1.methods.cascades import CASCADES
    from router_r1.methods.encoders import load_encoder

    file = write_recorded_pool(tmp_path, sum_lines(30))
    train, test = split_recorded(load_recorded_pool(load_pool(file)))
    cascade = CASCADES["frugal-gpt"].make()
    cascade.fit(train, load_encoder(), seed=0)
    ready = cascade.at(0.3)
    with pool_server(tmp_path / "server.log", recorded=file) as base_url:
        async with RouteService(load_pool(file, base_url=base_url)) as routes:
            for question in test.questions[:4]:
                served = await ready.decide(question.text, routes, request_id=question.id)
                offline = await ready.decide(question.text, RecordedRoutes(test), request_id=question.id)
                assert (served.reply, served.taken) == (offline.reply, offline.taken)
                assert [r.raw_cost for r in served.routes] == [r.raw_cost for r in offline.routes]
                assert [r.spend_usd for r in served.routes] == pytest.approx([r.spend_usd for r in offline.routes])
