"""What tests/conftest.py promises to every test."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest


def test_a_connection_that_would_leave_the_machine_is_refused() -> None:
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError, match="stay on this machine"):
        sock.connect(("192.0.2.1", 80))  # TEST-NET-1 (RFC 5737): never anyone's address


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_connection_to_this_machine_is_made(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        sock.connect((host, server.getsockname()[1]))
        assert sock.getpeername() == server.getsockname()


@pytest.fixture(scope="module")
def _a_key_in_the_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "not to be used")
        yield


@pytest.mark.usefixtures("_a_key_in_the_environment")
def test_no_test_sees_an_api_key_of_the_environment() -> None:
    assert "OPENAI_API_KEY" not in os.environ
