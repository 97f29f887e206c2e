"""What the pages refuse, over plain HTTP."""

from __future__ import annotations

import hashlib
import http.client
import json
from urllib.parse import quote, urlsplit

import pytest

from tests.integration.pages.folders_of_the_test import make_benchmark, make_run, record

KEY = "a-key-of-the-test-0123456789"
KEYS = {"alice": hashlib.sha256(KEY.encode()).digest()}


def get(url: str, path: str, **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


@pytest.fixture
def folder(tmp_path):
    make_run(tmp_path / "shown" / "run")
    make_benchmark(tmp_path / "shown" / "bench", [record(0)])
    make_run(tmp_path / "secret")
    return tmp_path / "shown"


@pytest.mark.parametrize("path", ["/trajectories", "/pages/static/main.js", "/pages/about", "/pages/static/nothing"])
def test_every_reply_forbids_what_a_page_does_not_need(view, folder, path):
    reply = get(view(folder), path)
    if reply.status == 404:
        return
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    ["../secret", "..%2fsecret", "%2e%2e/secret", "/etc", "run/../../secret", "secret", "run%00", ""],
)
def test_a_folder_is_found_by_its_name_in_the_listing_only(view, folder, name):
    for path in (f"/pages/curves?run={name}", f"/pages/config-difference?first={name}&second=run"):
        reply = get(view(folder), path)
        assert reply.status == 404
        assert b"lr" not in reply.read()
    assert get(view(folder), "/pages/curves?run=run").status == 200


@pytest.mark.parametrize(
    "path", ["/pages/static/../api.py", "/pages/static/..%2fapi.py", "/pages/static//etc/passwd", "/pages/static/"]
)
def test_a_static_file_is_one_of_a_list(view, folder, path):
    assert get(view(folder), path).status == 404


def test_a_link_out_of_a_folder_is_not_followed(view, folder):
    (folder / "link").symlink_to(folder.parent / "secret")
    runs = json.load(get(view(folder), "/pages/runs"))["runs"]
    assert [run["name"] for run in runs] == ["run"]


def test_where_keys_are_asked_for_the_files_are_open_and_nothing_else_is(view, folder):
    url = view(folder, keys=KEYS)
    assert get(url, "/runs").status == 200
    assert get(url, "/pages/static/main.js").status == 200
    names = ("about", "runs", "curves?run=run", "benchmarks", "comparison", "trajectories?shelf=folders")
    for name in names:
        assert get(url, f"/pages/{name}").status == 401
        assert get(url, f"/pages/{name}", Authorization="Bearer another-key-0123456789").status == 401
        assert get(url, f"/pages/{name}", Authorization=f"Bearer {KEY}").status == 200


def test_a_page_of_another_site_is_refused(view, folder):
    url = view(folder)
    assert get(url, "/pages/runs", Host="evil.example").status == 403
    assert get(url, "/pages/runs", Origin="http://evil.example").status == 403


@pytest.mark.parametrize(
    "query",
    ["", "shelf=nowhere", "shelf=server", "shelf=folders&sort=drop+table", "shelf=folders&offset=-1",
     "shelf=folders&least_raw_cost=much", "shelf=folders&right=perhaps"],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_no_fault(view, folder, query):
    assert 400 <= get(view(folder), f"/pages/trajectories?{query}").status < 500


@pytest.mark.parametrize("text", ["%", "_", "'; drop table trajectories; --", "\\"])
def test_a_search_is_for_the_characters_as_they_stand(view, folder, text):
    reply = get(view(folder), f"/pages/trajectories?shelf=folders&text={quote(text)}")
    assert reply.status == 200
    assert json.load(reply)["total"] == 0
