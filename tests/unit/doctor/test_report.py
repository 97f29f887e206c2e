"""The doctor's report: whole, and without secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from router_r1.doctor.check import failure, ok, warning
from router_r1.doctor.report import as_json, as_lines, without_secrets

CHECKS = [ok("GPUs", "4"), warning("open files", "1,024", "ulimit -n 65536"), failure("disk", "1 GB", "free some")]


def test_a_line_tells_how_a_check_ended_what_was_found_and_what_to_do():
    assert as_lines(CHECKS) == [
        "ok       GPUs        4",
        "warning  open files  1,024; ulimit -n 65536",
        "failure  disk        1 GB; free some",
    ]


def test_the_json_report_holds_every_check_and_the_versions():
    report = json.loads(as_json(CHECKS))
    assert report["sound"] is False
    assert {"python", "packages", "commit"} <= report.keys()
    assert report["checks"][2] == {"name": "disk", "status": "failure", "found": "1 GB", "remedy": "free some"}
    assert json.loads(as_json(CHECKS[:2]))["sound"] is True


@pytest.mark.parametrize("variable", ["NVIDIA_API_KEY", "HF_TOKEN", "RAY_AUTH_TOKEN", "DB_PASSWORD"])
def test_a_secret_that_got_into_a_text_is_replaced_by_its_name(monkeypatch, variable):
    monkeypatch.setenv(variable, "nvapi-s3cr3t\n")
    assert without_secrets("Bearer nvapi-s3cr3t was refused") == f"Bearer <{variable}> was refused"


def test_a_login_in_an_address_goes_and_the_home_folder_is_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert Path.home() == Path("/home/ada")
    assert without_secrets("http://ada:pw@host:1/v1") == "http://<login>@host:1/v1"
    assert without_secrets("/home/ada/runs and /home/adam") == "~/runs and /home/adam"
