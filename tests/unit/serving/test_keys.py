"""API keys: who is let in, and what a file of them may hold."""

from __future__ import annotations

import hashlib

import pytest

from router_r1.errors import ConfigError
from router_r1.serving.api_errors import ApiError
from router_r1.serving.keys import Keys, load_keys
from router_r1.serving.options import ServingOptions

KEY = "0123456789abcdef-one"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


def test_without_keys_everybody_is_let_in():
    assert not Keys({})
    assert Keys({}).who("") == Keys({}).who("Bearer whatever") == "local"


@pytest.mark.parametrize("written", [f"Bearer {KEY}", f"bearer {KEY}", f"Bearer  {KEY} "])
def test_a_key_is_known_by_its_name(written):
    assert Keys({"other": b"x" * 32, "one": bytes.fromhex(DIGEST)}).who(written) == "one"


@pytest.mark.parametrize(
    "written", ["", KEY, f"Basic {KEY}", "Bearer", "Bearer ", f"Bearer {KEY}x", f"Bearer {DIGEST}"]
)
def test_anything_else_is_refused_and_a_hash_is_no_key(written):
    with pytest.raises(ApiError) as caught:
        Keys({"one": bytes.fromhex(DIGEST)}).who(written)
    assert caught.value.status == 401
    assert KEY not in caught.value.message


def test_a_file_holds_a_name_and_a_hash_per_line(tmp_path, monkeypatch):
    file = tmp_path / "keys"
    file.write_text(f"# who is who\n\none: {DIGEST}\ntwo:{'AB' * 32}\n")
    monkeypatch.setenv("SERVE_KEY", "another-key-of-16-letters")
    keys = load_keys(file, "SERVE_KEY")
    assert (keys.who(f"Bearer {KEY}"), keys.who("Bearer another-key-of-16-letters")) == ("one", "SERVE_KEY")
    assert "another" not in repr(keys)
    assert DIGEST not in repr(keys)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no key"),
        (f"one: {KEY}\n", ":1.*SHA-256"),
        (f"one: {DIGEST}\none: {DIGEST}\n", ":2: one: is there twice"),
        (f"a b: {DIGEST}\n", ":1.*must be NAME"),
    ],
)
def test_a_file_with_something_else_is_refused_with_its_line_and_without_its_text(tmp_path, text, told):
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        load_keys(file, None)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("value", [None, "", "short"])
def test_a_variable_without_a_key_worth_the_name_is_refused(monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("SERVE_KEY", value)
    with pytest.raises(ConfigError, match=r"--client-key-variable = 'SERVE_KEY'.*at least 16"):
        load_keys(None, "SERVE_KEY")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--client-keys"):
        load_keys(tmp_path / "nowhere", None)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_the_loopback_interface_needs_no_key(host):
    ServingOptions(host=host).check(Keys({}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", ""])
def test_any_other_address_needs_one(host):
    with pytest.raises(ConfigError, match=r"--host.*--client-keys"):
        ServingOptions(host=host).check(Keys({}))
    ServingOptions(host=host).check(Keys({"one": b"x" * 32}))
