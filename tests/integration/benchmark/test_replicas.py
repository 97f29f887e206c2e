"""One policy behind several servers: the same results for the same seed, whatever their number."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack

import pytest

from router_r1.benchmark.records import read_records
from router_r1.errors import ConfigError
from router_r1.rollout.policy import Generation
from router_r1.rollout.ray_policy import engine_resources
from router_r1.rollout.replicas import ReplicatedPolicy, shortest
from tests.doubles.commands import bench as main
from tests.integration.conftest import CAPITALS, PolicyServer, write_questions


@pytest.fixture
def servers(model_folder):
    with ExitStack() as stack:
        yield [stack.enter_context(PolicyServer(model_folder).running()) for _ in range(3)]


def run(servers, folder, pool_file, model_folder, questions, *extra):
    named = ["--model_path", str(model_folder), "--pool", str(pool_file), "--data", str(questions)]
    return main(["--base_url", *(s.url for s in servers), *named, "--out", str(folder), *extra])


def told(folder) -> dict:
    """Trajectories without what depends on the clock."""
    found = {}
    for record in read_records(folder / "trajectories.jsonl"):
        for turn in record["turns"]:
            if turn["route"]:
                del turn["route"]["latency_s"]
        found[record["data_source"], record["index"], record["sample"]] = {**record, "latency_s": 0}
    return found


@pytest.mark.slow
def test_three_servers_share_the_work_and_change_nothing(servers, tmp_path, pool_file, model_folder):
    questions = write_questions(tmp_path / "q.parquet", dict.fromkeys(("a", "b", "c", "d"), CAPITALS))
    options = (pool_file, model_folder, questions, "--temperature", "0.7", "--n", "2", "--seed", "3")
    assert run(servers[:1], tmp_path / "one", *options) == 0
    alone = sorted((str(r["prompt"]), r["seed"]) for r in servers[0].requests)
    servers[0].requests.clear()
    assert run(servers, tmp_path / "three", *options) == 0
    together = [r for server in servers for r in server.requests]
    assert sorted((str(r["prompt"]), r["seed"]) for r in together) == alone, "same contexts, same seeds"
    assert all(len(server.requests) > 10 for server in servers)
    assert told(tmp_path / "one") == told(tmp_path / "three")


@pytest.mark.nightly
@pytest.mark.slow
def test_two_engines_in_a_ray_cluster_change_nothing(tiny_checkpoint, pool_file, tmp_path):
    """The benchmark as a user starts it, with one engine of its own and with two."""
    questions = write_questions(tmp_path / "q.parquet", {"a": CAPITALS, "b": CAPITALS})
    command = [sys.executable, "-m", "router_r1", "bench", "--model_path", tiny_checkpoint, "--template", "tiny"]
    command += ["--pool", pool_file, "--data", questions, "--temperature", "1", "--seed", "3", "--out"]
    for folder, options in (("one", []), ("two", ["--replicas", "2"])):
        done = subprocess.run([*command, tmp_path / folder, *options], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "mean" in done.stdout
        mean = json.loads((tmp_path / folder / "results.json").read_text())["mean"]
        assert mean["n"] == 2 * len(CAPITALS)
        assert mean["routes"] > 0
    assert told(tmp_path / "one") == told(tmp_path / "two")


def test_another_seed_is_another_draw(servers, tmp_path, pool_file, model_folder):
    questions = write_questions(tmp_path / "q.parquet", {"a": CAPITALS})
    for seed in ("1", "2"):
        options = ("--temperature", "1", "--seed", seed)
        assert run(servers[:1], tmp_path / seed, pool_file, model_folder, questions, *options) == 0
    seeds = [r["seed"] for r in servers[0].requests]
    assert len(set(seeds)) == len(seeds)


def test_servers_of_different_policies_are_refused(servers, tmp_path, pool_file, model_folder, capfd):
    questions = write_questions(tmp_path / "q.parquet", {"a": CAPITALS})
    servers[1].models["data"][0]["id"] = "another"
    assert run(servers, tmp_path / "out", pool_file, model_folder, questions) == 2
    assert "serves another" in capfd.readouterr().err


async def test_all_turns_of_a_trajectory_go_to_one_replica():
    class Counting:
        def __init__(self):
            self.ids = []

        async def generate(self, token_ids, *, max_tokens, stop, request_id):
            self.ids.append(request_id)
            return Generation([1], "stop")

    replicas = [Counting() for _ in range(4)]
    policy = ReplicatedPolicy(replicas, max_model_len=None)
    for number in range(400):
        for _ in range(3):
            await policy.generate([1], max_tokens=1, stop=(), request_id=f"nq-{number}-0")
    assert sum(len(set(r.ids)) for r in replicas) == 400
    assert all(60 <= len(set(r.ids)) <= 140 for r in replicas), "about a quarter each"


def test_the_shortest_known_length_bounds_them_all():
    assert shortest([100, None, 50]) == 50
    assert shortest([None, None]) is None


def test_more_engines_than_the_clusters_gpus_are_refused_before_any_is_started():
    with pytest.raises(ConfigError, match=r"--replicas = 3: need 6 GPUs, and the cluster has 4"):
        engine_resources({"GPU": 4.0, "CPU": 8.0}, 3, 2)
    assert engine_resources({"GPU": 4.0}, 2, 2)["num_gpus"] == 2
    assert engine_resources({"CPU": 2.0}, 4, 1)["num_cpus"] == 0.5


def test_replicas_and_servers_exclude_each_other(servers, tmp_path, pool_file, model_folder, capfd):
    questions = write_questions(tmp_path / "q.parquet", {"a": CAPITALS})
    assert run(servers, tmp_path / "out", pool_file, model_folder, questions, "--replicas", "2") == 2
    assert "--replicas" in capfd.readouterr().err
