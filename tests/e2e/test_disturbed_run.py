"""A run in which everything goes wrong, and what is seen of it: lost weight syncs, candidates that go away.

One run for both, since starting a trainer takes a minute or more; in a file of its own, so that another worker of
pytest-xdist may take it. The engine takes the first weights it is sent and no later ones. The pool server is ended in
mid-step, once in good order and once by kill -9, and started again; then it is ended for good.
"""

from __future__ import annotations

import json
import signal
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from router_r1 import runs
from router_r1.sim.server.process import pool_server
from tests.e2e import runner
from tests.e2e.conftest import BATCH, cost_window

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

OVERRIDES = (
    "algorithm.adv_estimator=gae",
    "trainer.total_training_steps=30",
    "trainer.save_freq=1",
    "trainer.test_freq=-1",
    "trainer.val_before_train=false",
    "router_r1.sim.latency_scale=1",  # slow, so that routes are in flight when the server ends
    "actor_rollout_ref.actor.optim.lr=3e-3",  # a step that is missed can be seen
    "actor_rollout_ref.rollout.engine_kwargs.vllm.worker_extension_cls=tests.e2e.deaf_worker.DeafWorkerExtension",
)


@dataclass(frozen=True)
class DisturbedRun:
    folder: Path
    survived: int  # steps that were finished when the server was ended for good
    done: runner.Finished


@pytest.fixture(scope="module")
def disturbed(runs_dir: Path) -> DisturbedRun:
    folder, trace = runs_dir / "disturbed", runs_dir / "disturbed.jsonl"
    command = ["bash", "train.sh", f"runs_dir={runs_dir}", "name=disturbed", *runner.SMALL, *runner.PROBED, *OVERRIDES]
    process = runner.start([*command, f"router_r1.routing.trace_file={trace}"])
    with ExitStack() as stack:
        stack.callback(runner.kill_tree, process.pid)
        for end in (signal.SIGTERM, signal.SIGKILL):
            routes, waited = len(routes_in(trace)), tried_again(trace)
            runner.wait_until(lambda n=routes: len(routes_in(trace)) > n, process, timeout=900)
            runner.end_pool_server(folder, end, process)
            port = (folder / "pool_server.port").read_text()
            turn_somebody_away(int(port))
            stack.enter_context(pool_server(folder / f"pool_server_after_{end.name}.log", options=["--port", port]))
            runner.wait_until(lambda n=waited: tried_again(trace) > n, process, timeout=300)
            steps = len(runner.steps_of(folder))  # the next one, or the last of these, is the one that had to wait
            runner.wait_until(lambda n=steps: len(runner.steps_of(folder)) > n, process, timeout=300)
        survived = len(runner.steps_of(folder))
        runner.end_pool_server(folder, signal.SIGKILL, process)
        return DisturbedRun(folder, survived, runner.finish(process, timeout=600))


def turn_somebody_away(port: int) -> None:
    """Stand where the server stood until a route is asked for, and hang up: the outage did meet a route."""
    with socket.create_server(("127.0.0.1", port)) as door:
        door.settimeout(300)
        door.accept()[0].close()


def tried_again(trace: Path) -> int:
    return sum(route["attempts"] > 1 and route["status"] == "finished" for route in routes_in(trace))


def routes_in(trace: Path) -> list[dict]:
    if not trace.exists():
        return []
    *whole, _ = trace.read_text().split("\n")
    return [json.loads(line) for line in whole]


def test_a_pool_that_is_restarted_costs_time_and_no_trajectory(disturbed):
    rows = runner.steps_of(disturbed.folder)
    steps = range(1, disturbed.survived + 1)

    assert all(rows[step]["train/failed_routes"] == 0 for step in steps)
    assert all(len(runner.rollout_questions(disturbed.folder, step)) == BATCH for step in steps)


def test_a_pool_that_stays_away_ends_the_run_and_what_was_saved_is_whole(disturbed):
    done, last = disturbed.done, runs.latest_checkpoint(disturbed.folder)

    assert done.code == 3, done.out + done.err
    assert "pool unreachable" in done.err
    assert runs.step_of(last) <= disturbed.survived + 2
    assert f"last whole checkpoint: {last}" in done.err
    assert len(cost_window(last)) == runs.step_of(last) * BATCH


def test_a_skipped_weight_sync_shows_in_the_difference_of_log_probabilities(disturbed):
    """The control of the test that engine and trainer agree: with a sync that was missed, the difference jumps."""
    rows = runner.steps_of(disturbed.folder)

    assert rows[1]["training/rollout_log_probs_diff_max"] < 1e-2
    assert rows[2]["training/rollout_log_probs_diff_max"] > 1e-2
