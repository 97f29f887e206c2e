"""Scores gathered from real servers: who is asked what, what is kept, and how it goes on after an interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from router_r1.cli import main
from router_r1.datasets import write_parquet
from router_r1.exit_codes import ExitCode
from router_r1.pool import Deal, Shown, load_pool
from router_r1.project_files import pool_file as pool_called
from router_r1.prompts import load_template, render_messages
from router_r1.scores import read_replies, read_samples, read_score_provenance, read_scores
from router_r1.sim.world.facts import World
from router_r1.sim.world.question_files import world_rows
from tests.integration.conftest import CAPITALS, question_of, write_pool, write_questions

BOTH = ("Atlas-7B", "Borealis-70B")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_questions(tmp_path / "val.parquet", {"capitals": CAPITALS, "europe": {"Italy": "Milan"}})


@pytest.fixture
def collect(tmp_path, pool_file, data, capfd):
    """Run the command; returns exit code, results and messages."""

    def run(*options: object, out: str = "scores.parquet") -> tuple[int, str, str]:
        given = ["scores", "collect", "--pool", pool_file, "--data", data, "--out", tmp_path / out, *options]
        code = main([str(word) for word in given])
        printed = capfd.readouterr()
        return code, printed.out, printed.err

    return run


def test_every_candidate_is_asked_every_question_and_what_it_says_is_kept(collect, candidates, tmp_path):
    assert collect()[0] == ExitCode.DONE

    assert len(candidates.asked) == 2 * 6
    table, file = read_scores(tmp_path / "scores.parquet"), tmp_path / "scores.parquet"
    assert table.candidates == BOTH
    assert table.offered.all()
    assert [question.id for question in table.questions][:2] == ["capitals/capitals-France", "capitals/capitals-Italy"]
    assert table.score[:, 0].tolist() == [1.0] * 5 + [0.0], "Rome is not Milan"
    one = read_replies(file)["capitals/capitals-France", "Atlas-7B"][0]
    assert (one.question, one.reply, one.metric) == (question_of("France"), "It is Paris.", "cover_em")
    assert (one.prompt_tokens, one.completion_tokens, one.raw_cost) == (10, 4, 2.0)
    assert one.spend_usd == pytest.approx((10 * 1.0 + 4 * 0.5) / 1e6)
    assert one.f1 == pytest.approx(0.5)
    assert one.latency_s is not None
    facts = read_score_provenance(file)
    assert (facts["source"], facts["pool"], facts["temperature"]) == ("collect", "two", dict.fromkeys(BOTH, 0.0))
    assert facts["prices_usd_per_1m_tokens"]["Atlas-7B"] == {"input": 1.0, "output": 0.5}


def test_samples_are_asked_for_at_the_temperature_that_was_given(collect, candidates, tmp_path):
    assert collect("--n", 3, "--temperature", 0.7, "--limit", 1)[0] == ExitCode.DONE
    assert {request["temperature"] for request in candidates.asked} == {0.7}
    samples = read_samples(tmp_path / "scores.parquet").samples
    assert [(one.data_source, one.candidate, one.sample) for one in samples] == [
        (source, name, number) for source in ("capitals", "europe") for name in BOTH for number in range(3)
    ]


def test_more_may_be_asked_later_and_what_was_answered_is_not_asked_again(collect, candidates, tmp_path):
    collect("--temperature", 1, "--limit", 1)
    before = len(candidates.asked)

    assert collect("--temperature", 1, "--n", 2, "--limit", 2, "--resume")[0] == ExitCode.DONE

    assert len(candidates.asked) - before == 2 * 2 * 3 - before
    assert len(read_samples(tmp_path / "scores.parquet").samples) == 12


def test_a_spent_budget_keeps_what_was_paid_for_and_the_rest_is_asked_later(collect, candidates, tmp_path):
    write_pool(tmp_path / "pool.yaml", candidates.url, max_concurrency=1)
    code, _, messages = collect("--budget-usd", 4e-5)
    assert code == ExitCode.BUDGET_SPENT
    assert f"go on with --resume --out {tmp_path / 'scores.parquet'}" in messages
    assert not (tmp_path / "scores.parquet").exists()
    paid = len((tmp_path / "scores.jsonl").read_text().splitlines())
    before = len(candidates.asked)

    assert collect("--resume")[0] == ExitCode.DONE

    assert 0 < paid < 12
    late = 1  # the other candidate's request that was under way, and given up, may reach the server after `before`
    assert 12 - paid <= len(candidates.asked) - before <= 12 - paid + late
    assert len(read_samples(tmp_path / "scores.parquet").samples) == 12


def test_a_failed_route_is_kept_as_failed_and_asked_again(collect, candidates, tmp_path):
    candidates.broken.add(question_of("Spain"))
    code, _, messages = collect("--limit", 5)
    assert code == ExitCode.FAILED, "2 of 12 are more than a tenth"
    assert "routes failed" in messages

    candidates.broken.clear()
    assert collect("--limit", 5, "--resume")[0] == ExitCode.DONE
    assert not any(one.failed for one in read_samples(tmp_path / "scores.parquet").samples)


def test_spend_is_as_if_nothing_had_come_from_the_cache(collect, tmp_path):
    cached = ("--cache", "readwrite", "--cache-file", tmp_path / "cache.sqlite")
    for out in ("scores.parquet", "again.parquet"):
        code, _, messages = collect(*cached, out=out)
        assert code == ExitCode.DONE, messages
    first, second = read_scores(tmp_path / "scores.parquet"), read_scores(tmp_path / "again.parquet")
    assert second.spend_usd.tolist() == first.spend_usd.tolist()
    assert first.spend_usd.min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "2"], "--n = 2: replies of Atlas-7B are all alike at temperature 0; give a --temperature above 0"),
        (["--n", "0"], "--n = 0: must be at least 1"),
        (["--limit", "0"], "--limit = 0: must be at least 1"),
        (["--temperature", "3"], "--temperature = 3.0: must be a number in [0, 2]"),
        (["--data", "nowhere.parquet"], "nowhere.parquet: cannot be read as parquet"),
        (["--out", "scores.csv"], "must end in .parquet"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_before_anything_is_asked(collect, candidates, options, message):
    code, _, messages = collect(*options)
    assert code == ExitCode.REFUSED
    assert message in messages
    assert candidates.requests == []


def test_a_question_that_two_files_ask_is_refused(collect, data, tmp_path):
    again = write_questions(tmp_path / "again.parquet", {"capitals": {"Spain": "Madrid"}})
    code, _, messages = collect("--data", data, again)
    assert code == ExitCode.REFUSED
    assert "again.parquet: row 0: extra_info.id = 'capitals-Spain': is that of " in messages


def test_what_is_there_is_neither_overwritten_nor_gone_on_with_unasked(collect, data, tmp_path):
    collect("--limit", 1)
    code, _, messages = collect("--limit", 1)
    assert (code, "there is scores.jsonl already" in messages) == (ExitCode.REFUSED, True)

    write_questions(data, {"capitals": {"Spain": "Madrid"}})
    code, _, messages = collect("--resume")
    assert (code, "questions_sha256 differs" in messages) == (ExitCode.REFUSED, True)


def test_an_attempt_that_asked_nobody_is_not_in_the_way(collect, candidates):
    candidates.refuses_after = -1
    code, _, messages = collect()
    assert (code, candidates.asked) == (ExitCode.REFUSED, []), messages

    candidates.refuses_after = None
    assert collect()[0] == ExitCode.DONE


def test_without_a_pool_it_is_asked_for(capfd, data):
    assert main(["scores", "collect", "--data", str(data), "--out", "scores.parquet"]) == ExitCode.REFUSED
    assert "--pool: is needed: it says whom to ask" in capfd.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_it_in_one_line_and_it_goes_on_from_there(candidates, data, tmp_path):
    pool = write_pool(tmp_path / "pool.yaml", candidates.url, max_concurrency=1, rpm=60)
    command = [sys.executable, "-m", "router_r1", "scores", "collect", "--skip-preflight"]
    command += ["--pool", str(pool), "--data", str(data), "--out", str(tmp_path / "scores.parquet")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as asking:
        while not (tmp_path / "scores.jsonl").exists() or not (tmp_path / "scores.jsonl").read_text():
            assert asking.poll() is None
            time.sleep(0.01)
        asking.send_signal(signal.SIGINT)
        _, messages = asking.communicate(timeout=60)
    assert asking.returncode == ExitCode.INTERRUPTED
    assert messages.splitlines()[-1].startswith("interrupted; go on with --resume --out ")
    assert "Traceback" not in messages


# ---------------------------------------------------------------- the simulated world


def test_of_a_dealt_pool_everybody_is_asked_and_the_deal_says_who_is_offered(tmp_path, capfd):
    pool = load_pool(pool_called("dealt"))
    deal = lambda split, index: Deal((Shown("Nova", "film-expert"), Shown("Vega", "all-tiny")))  # noqa: E731
    rows = world_rows(
        World(0), "val", 3, 0, render=partial(render_messages, load_template("tiny"), pool), deal=deal, cost_weights=()
    )
    write_parquet(rows, tmp_path / "val.parquet")
    words = ["--pool", "dealt", "--data", tmp_path / "val.parquet", "--out", tmp_path / "scores.parquet"]

    assert main(["scores", "collect", *map(str, words)]) == ExitCode.DONE

    table = read_scores(tmp_path / "scores.parquet")
    assert table.score.shape == (3, 36)
    offered = [name for name, one in zip(table.candidates, table.offered[0], strict=True) if one]
    assert sorted(offered) == ["all-tiny", "film-expert"]
    assert (table.offered == table.offered[0]).all()
    assert "3 questions of" in capfd.readouterr().out


def test_show_tells_the_constants_and_the_oracle(collect, tmp_path, capfd):
    collect()
    assert main(["scores", "show", str(tmp_path / "scores.parquet")]) == ExitCode.DONE
    told = capfd.readouterr().out
    assert "6 questions of 2 data sets, 2 candidates, 1 sample(s) each; 12 replies, 0 failed" in told
    assert "best constant: Atlas-7B, score 0.833, raw cost 2\n" in told
    assert "from: collect val.parquet" in told


def test_import_tells_what_was_left_out(tmp_path, capfd):
    rows = [{"id": f"q{n}", "task": "t", "question": "?", "scores": {"a": 1, "b": 0}} for n in range(3)]
    del rows[2]["scores"]["b"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    words = [tmp_path / "a.jsonl", "--format", "shared", "--prices", "a=1/1", "b=2/2", "--complete-only"]

    assert main(["scores", "import", *map(str, words), "--out", str(tmp_path / "s.parquet")]) == ExitCode.DONE

    told = capfd.readouterr().out
    assert "2 questions of 1 data sets, 2 candidates" in told
    assert "note: 1 questions left out that lack a candidate" in told
    assert "note: 2 rows that said the same once more" in told
