"""A cluster of two Ray nodes on one machine: who runs where, and what a node cannot see is told.

The nodes' processes start in folders of their own, so `/proc/self/cwd` is a path that they do not share: what lies
there on the first is missing on the second, as with a disk that is mounted on one machine only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from router_r1.errors import ConfigError
from router_r1.pool import Candidate, Price, RoutingPool
from router_r1.routing import RoutingConfig

ray = pytest.importorskip("ray")

from router_r1.training import nodes, services  # noqa: E402
from router_r1.training.batches import Cluster  # noqa: E402
from router_r1.training.shared_storage import look_from_every_node, refuse_unshared  # noqa: E402

pytestmark = pytest.mark.slow

UNSHARED = Path("/proc/self/cwd")
POOL = RoutingPool(
    name="two",
    candidates=tuple(
        Candidate(
            name=name,
            model=name.lower(),
            price=Price(input=0.1, output=0.2),
            descriptor="good at all",
            base_url="http://127.0.0.1:9/v1",
            api_key_env=None,
        )
        for name in ("A-1B", "B-2B", "C-3B")
    ),
)


@dataclass(frozen=True)
class TwoNodes:
    head: str
    """The driver's; like many head nodes it offers no CPU."""
    other: str
    folder: Path
    """Where the head's processes start."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[TwoNodes]:
    from ray.cluster_utils import Cluster as RayCluster

    folder, others, before = tmp_path_factory.mktemp("head"), tmp_path_factory.mktemp("other"), Path.cwd()
    sizes = {"object_store_memory": 100_000_000, "include_dashboard": False}
    # Ray writes down where its cluster is, for whatever this machine starts next: not for the tests beside these.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("RAY_TMPDIR", tempfile.mkdtemp(prefix="two"))  # short: sockets lie below it
    ray_nodes = RayCluster()
    try:
        os.chdir(folder)
        head = ray_nodes.add_node(num_cpus=0, num_gpus=0, **sizes)
        os.chdir(others)
        other = ray_nodes.add_node(num_cpus=8, num_gpus=2, **sizes)
        os.chdir(before)
        ray.init(address=ray_nodes.address, log_to_driver=False, logging_level="ERROR")
        assert ray.get_runtime_context().get_node_id() == head.node_id
        yield TwoNodes(head.node_id, other.node_id, folder)
    finally:
        os.chdir(before)
        ray.shutdown()
        ray_nodes.shutdown()
        shutil.rmtree(os.environ["RAY_TMPDIR"], ignore_errors=True)
        monkeypatch.undo()


def node_of(actor: object) -> str:
    return ray.get(actor.__ray_call__.remote(lambda self: ray.get_runtime_context().get_node_id()))


def test_route_services_and_cost_window_are_on_the_node_of_the_trainer(cluster):
    @ray.remote(num_cpus=1)  # which only the second node has
    class Trainer:
        def start(self) -> tuple[str, list[str]]:
            routes, window = services.start(POOL, RoutingConfig(shards=3), None)
            return ray.get_runtime_context().get_node_id(), [node_of(actor) for actor in [*routes, window]]

    trainer, actors = ray.get(Trainer.remote().start.remote(), timeout=60)

    assert trainer == cluster.other
    assert actors == [trainer] * 4


def test_a_key_that_the_route_service_lacks_is_told_at_its_start(cluster, monkeypatch):
    """The command's own environment may have it: the actors have that of `ray start`."""
    monkeypatch.setenv("ONLY_WITH_THE_COMMAND", "made-up")
    secret = POOL.candidates[0].model_copy(update={"api_key_env": "ONLY_WITH_THE_COMMAND"})
    with pytest.raises(ConfigError, match=r"ONLY_WITH_THE_COMMAND.* is not set.*in the shell of `ray start`"):
        services.start(POOL.model_copy(update={"candidates": (secret,)}), RoutingConfig(), None)


def test_the_trainer_is_on_the_node_of_the_command_even_if_that_offers_no_cpu(cluster, tmp_path):
    @ray.remote
    class TaskRunner:
        pass

    config = nodes.OmegaConf.create({"run_dir": str(tmp_path), "trainer": {"nnodes": 1, "n_gpus_per_node": 2}})
    runner = nodes.TaskRunnerHere(TaskRunner, config).options(max_concurrency=2).remote()

    assert node_of(runner) == cluster.head


def test_a_folder_that_both_nodes_see_is_shared_and_left_as_it_was(cluster, tmp_path):
    model = tmp_path / "model"
    model.mkdir()

    assert look_from_every_node(tmp_path / "runs", [model]) == []
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_of_one_node_alone_is_refused_with_node_path_and_remedy(cluster, monkeypatch):
    monkeypatch.chdir(cluster.folder)

    (unseen,) = look_from_every_node(UNSHARED)
    assert (unseen.path, unseen.why) == (UNSHARED, "a file that the driver wrote there is not seen on this node")
    address = ray.util.get_node_ip_address()
    with pytest.raises(ConfigError, match=rf"node {address}: {UNSHARED}: a file .* is not seen .*; share it"):
        refuse_unshared(UNSHARED, remedy="share it")
    assert list(cluster.folder.iterdir()) == []


def test_a_model_of_one_node_alone_is_refused_before_anything_is_loaded(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(cluster.folder)
    (cluster.folder / "my_model").mkdir()
    config = nodes.OmegaConf.create(
        {
            "run_dir": str(tmp_path),
            "trainer": {"nnodes": 1, "n_gpus_per_node": 2},
            "actor_rollout_ref": {"model": {"path": str(UNSHARED / "my_model")}},
        }
    )
    with pytest.raises(ConfigError, match=r"/proc/self/cwd/my_model: is not there on this node; .*storage"):
        nodes.check_nodes(config)


def test_more_nodes_than_the_cluster_has_are_refused_instead_of_waited_for(cluster, tmp_path):
    config = nodes.OmegaConf.create({"run_dir": str(tmp_path), "trainer": {"nnodes": 2, "n_gpus_per_node": 2}})
    with pytest.raises(ConfigError, match=r"trainer\.nnodes = 2: .*not so many nodes of 2 GPUs each .*: 0, .*: 2\)"):
        nodes.check_nodes(config)


def test_gpus_count_by_node_and_not_in_all():
    found = [("10.0.0.1", 4), ("10.0.0.2", 4), ("10.0.0.3", 8)]
    nodes.check_gpus(Cluster(4, 4), found)
    nodes.check_gpus(Cluster(1, 8), found)
    with pytest.raises(ConfigError, match=r"10\.0\.0\.1: 4, 10\.0\.0\.2: 4, 10\.0\.0\.3: 8"):
        nodes.check_gpus(Cluster(2, 8), found)
