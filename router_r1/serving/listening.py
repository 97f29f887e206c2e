"""Where a server listens, and whom it lets in."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from router_r1 import atomic
from router_r1.errors import ConfigError
from router_r1.serving.keys import Keys


class ListeningOptions(BaseModel):
    """Address, and API keys that are let in."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    host: str = "127.0.0.1"
    """Address to listen on; another than the loopback interface's needs API keys."""
    port: int = Field(default=8000, ge=0, le=65535)
    """0 takes a free one."""
    port_file: Path | None = None
    """Write the port here once the server is ready."""
    client_keys: Path | None = None
    """File of the API keys that are let in: lines NAME: SHA256 (docs/serving.md)."""
    client_key_variable: str | None = None
    """Environment variable that holds an API key that is let in."""

    @property
    def is_loopback(self) -> bool:
        """Only programs on this machine reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def check(self, keys: Keys) -> None:
        """See that no other machine can ask without a key.

        Raises:
            ConfigError: it could.
        """
        if not (self.is_loopback or keys):
            remedy = "is not the loopback interface: give API keys, with --client-keys or --client-key-variable"
            raise ConfigError("command line", "--host", self.host, remedy)

    def forget_port(self) -> None:
        """Before the start: the file of an earlier server would name a dead port."""
        if self.port_file:
            self.port_file.unlink(missing_ok=True)

    def tell_port(self, sock: socket.socket) -> str:
        """Write down which port a bound socket has, for who waits for it; its address, as `http://host:port`."""
        port = sock.getsockname()[1]
        if self.port_file:
            atomic.write_text(self.port_file, f"{port}\n")
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{port}"
