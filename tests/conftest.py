"""What every test can rely on: slow tests come last and have time, no API keys, no connection to other machines."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PROJECT_ROOT = Path(__file__).resolve().parent.parent

SLOW_TIMEOUT_S = 1200
"""For a test marked slow that names no limit of its own: several times what the slowest needs on two busy cores."""

# No deadline per example: a busy machine makes any example slow now and then. The same examples every time in CI, where
# a find that nobody can reproduce helps nobody; new ones on every run elsewhere.
SLOW_MACHINE = [HealthCheck.too_slow]
settings.register_profile("local", deadline=None, suppress_health_check=SLOW_MACHINE)
settings.register_profile("ci", deadline=None, suppress_health_check=SLOW_MACHINE, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# A shell starts background jobs with Ctrl-C ignored, and programs that the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Loopback servers are asked directly, whatever proxy the environment names.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first, so that a plain mistake shows before an engine is started."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))


@pytest.fixture(scope="session")
def project_root() -> Path:
    return PROJECT_ROOT


@pytest.fixture(autouse=True)
def _without_api_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in the developer's environment is never used by a test, nor does a test pass only because it is there."""
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_API_TOKEN")) or name == "HF_TOKEN"]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _stay_on_this_machine() -> Iterator[None]:
    """Refuse connections from Python code to any but this machine's own addresses; the error names the address."""
    real_connect, real_connect_ex = socket.socket.connect, socket.socket.connect_ex

    def refuse_elsewhere(sock: socket.socket, address: object) -> None:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.type != socket.SOCK_STREAM:
            return
        host = str(address[0]) if isinstance(address, tuple) else str(address)
        if host in ("localhost", "") or _is_own_address(host):
            return
        raise ConnectionRefusedError(f"tests stay on this machine, and {address!r} is elsewhere")

    def connect(sock: socket.socket, address: object) -> None:
        refuse_elsewhere(sock, address)
        real_connect(sock, address)

    def connect_ex(sock: socket.socket, address: object) -> int:
        refuse_elsewhere(sock, address)
        return real_connect_ex(sock, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket.socket, "connect_ex", connect_ex)
        yield


def _is_own_address(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name that is to be looked up
        return False
    if address.is_loopback or address.is_unspecified:
        return True
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))  # only an address of one of this machine's interfaces can be bound
        except OSError:
            return False
    return True
