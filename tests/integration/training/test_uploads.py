"""Copies of checkpoints: whole or not there, never in the training's way, in every kind of store."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from router_r1 import runs
from router_r1.errors import ConfigError
from router_r1.training import stores
from router_r1.training.uploads import CheckpointsConfig, Uploads, checkpoints_settings

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def run_dir(tmp_path) -> Path:
    folder = tmp_path / "runs" / "mine"
    (folder / "data").mkdir(parents=True)
    for name in ("run.json", "config.yaml", "data/train.parquet", "train.log"):
        (folder / name).write_text(name)
    return folder


def save(run_dir: Path, step: int) -> Path:
    folder = run_dir / "checkpoints" / f"global_step_{step}"
    (folder / "actor" / "huggingface").mkdir(parents=True)
    for name in ("data.pt", "actor/model_world_size_1_rank_0.pt", "actor/huggingface/model.safetensors"):
        (folder / name).write_text(f"{name} of step {step}")
    (folder / runs.COST_WINDOW_FILE).write_text("{}")  # the last one
    return folder


def files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def upload(run_dir: Path, url: str, *what: str | Path) -> int:
    return stores.main([str(run_dir), url, *map(str, what)])


# ---------------------------------------------------------------- what is copied


def test_a_copy_has_the_layout_of_the_runs_folder_so_that_it_can_be_resumed(run_dir, tmp_path):
    url = f"file://{tmp_path}/store"
    checkpoint = save(run_dir, 2)

    assert upload(run_dir, url, "--facts") == 0
    assert upload(run_dir, url, "--checkpoint", checkpoint) == 0

    copied = tmp_path / "store" / "mine"
    assert files(copied) == files(run_dir) - {"train.log"}
    assert runs.latest_checkpoint(copied) == copied / "checkpoints" / "global_step_2"


def test_the_cost_window_is_copied_last_so_that_half_a_copy_is_not_whole(run_dir):
    assert stores.checkpoint_files(save(run_dir, 2), "all")[-1].name == runs.COST_WINDOW_FILE


def test_the_policy_alone_if_that_is_asked_for(run_dir, tmp_path):
    checkpoint = save(run_dir, 2)
    assert upload(run_dir, f"file://{tmp_path}/store", "--checkpoint", checkpoint, "--contents", "policy") == 0

    huggingface = "mine/checkpoints/global_step_2/actor/huggingface"
    assert files(tmp_path / "store") == {f"{huggingface}/model.safetensors"}


def test_the_store_keeps_as_many_as_the_run(run_dir, tmp_path):
    for step in (2, 4, 10):
        assert upload(run_dir, f"file://{tmp_path}/store", "--checkpoint", save(run_dir, step), "--keep", "2") == 0

    kept = tmp_path / "store" / "mine" / "checkpoints"
    assert sorted(folder.name for folder in kept.iterdir()) == ["global_step_10", "global_step_4"]


# ---------------------------------------------------------------- beside a training


def uploads_to(run_dir: Path, url: str | None) -> Uploads:
    return Uploads(run_dir, CheckpointsConfig(upload=url), keep=2)


@pytest.mark.slow
def test_each_new_checkpoint_is_copied_and_told(run_dir, tmp_path):
    save(run_dir, 2)  # by an earlier start
    uploads = uploads_to(run_dir, f"file://{tmp_path}/store")
    uploads.begin()
    assert uploads.finish() == []

    save(run_dir, 4)

    assert uploads.finish() == [f"uploaded global_step_4 to file://{tmp_path}/store"]
    assert runs.latest_checkpoint(tmp_path / "store" / "mine").name == "global_step_4"


@pytest.mark.slow
def test_a_failed_copy_is_told_and_the_next_checkpoint_is_tried(run_dir, tmp_path):
    uploads = uploads_to(run_dir, f"file://{tmp_path}/store")
    uploads.begin()
    in_the_way = tmp_path / "store" / "mine" / "checkpoints"
    in_the_way.write_text("no folder")
    save(run_dir, 2)

    (told,) = uploads.finish()
    assert told.startswith("the upload of global_step_2 failed: ")
    assert told.endswith("the training goes on, and the next checkpoint is uploaded")

    in_the_way.unlink()
    save(run_dir, 4)
    assert uploads.finish() == [f"uploaded global_step_4 to file://{tmp_path}/store"]


@pytest.mark.slow
def test_a_store_that_cannot_be_written_to_is_refused_before_anything_is_paid(run_dir, tmp_path):
    (tmp_path / "store").write_text("no folder")
    with pytest.raises(ConfigError, match=r"router_r1\.checkpoints\.upload = 'file://.*cannot be written to: \w+Error"):
        uploads_to(run_dir, f"file://{tmp_path}/store").begin()


def test_without_an_address_nothing_is_copied(run_dir):
    uploads = uploads_to(run_dir, None)
    uploads.begin()
    save(run_dir, 2)
    assert uploads.finish() == []
    assert not (run_dir / "upload.log").exists()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("bucket/prefix", "is no address: s3://BUCKET/PREFIX"),
        ("nowhere://bucket", "no store is known for nowhere://"),
        ("hf://me", "must name a repository: hf://NAMESPACE/REPOSITORY"),
        ("hf://me/mine/deeper", "must name a repository"),
    ],
)
def test_an_address_that_is_none_is_refused(url, words):
    with pytest.raises(ConfigError, match=words):
        checkpoints_settings(OmegaConf.create({"router_r1": {"checkpoints": {"upload": url, "contents": "all"}}}))


def test_a_store_whose_package_is_missing_is_refused_with_the_command_that_installs_it():
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"not installed here: \.venv/bin/python -m pip install s3fs"):
            stores.check_address("s3://bucket/prefix")
    else:
        stores.check_address("s3://bucket/prefix")


# ---------------------------------------------------------------- against servers


@pytest.mark.slow
def test_s3_keeps_the_newest_and_what_it_keeps_is_whole(run_dir, monkeypatch):
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "ACCESS_KEY_ID": "made-up",
        "SECRET_ACCESS_KEY": "made-up",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    try:
        bucket = fsspec.filesystem("s3")
        bucket.mkdir("bucket")
        assert upload(run_dir, "s3://bucket/router", "--facts") == 0
        for step in (2, 4, 10):
            assert upload(run_dir, "s3://bucket/router", "--checkpoint", save(run_dir, step), "--keep", "2") == 0
        bucket.invalidate_cache()

        there = {name.removeprefix("bucket/router/mine/") for name in bucket.find("bucket/router")}
        step_2 = {name for name in files(run_dir) if "global_step_2/" in name}
        assert there == files(run_dir) - {"train.log"} - step_2
        assert upload(run_dir, "s3://not-a-bucket/router", "--facts") == 1
    finally:
        server.stop()


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face Hub as takes small files: a repository is made, and commits are told."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub = self.server
        repository = f"http://127.0.0.1:{hub.server_port}/me/router"
        answer: object = {"url": repository}
        if self.path.endswith("/preupload/main"):
            asked = json.loads(body)["files"]
            answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]}
        elif self.path.endswith("/commit/main"):
            lines = [json.loads(line)["value"] for line in body.splitlines()]
            hub.commits.append(
                (lines[0]["summary"], {one["path"]: base64.b64decode(one["content"]) for one in lines[1:]})
            )
            answer = {"commitUrl": f"{repository}/commit/0123", "commitOid": "0123"}
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[SimpleNamespace]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.commits = []
    Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", commits=server.commits)
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_hub_gets_a_commit_for_the_facts_and_one_for_each_checkpoint(run_dir, hub):
    checkpoint = save(run_dir, 2)
    for what in (["--facts"], ["--checkpoint", str(checkpoint)]):
        done = subprocess.run(
            [sys.executable, "-m", "router_r1.training.stores", str(run_dir), "hf://me/router", *what],
            env=os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_made_up"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    (facts, first), (saved, second) = hub.commits
    assert (facts, saved) == ("mine: config.yaml, data, run.json", "mine: checkpoints/global_step_2")
    assert {f"mine/{name}" for name in files(run_dir) - {"train.log"}} == first.keys() | second.keys()
    assert second["mine/checkpoints/global_step_2/data.pt"] == b"data.pt of step 2"
