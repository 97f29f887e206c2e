"""Pages of other sites, kept away from a server that needs no key.

A page in a user's browser can send requests to the loopback interface, and one whose name was made to resolve to it
(DNS rebinding) can read the replies. Both show themselves: by a `Host` that is no name of this machine, or by an
`Origin` other than it. Where a key is asked for, a page would have to know it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from router_r1.serving.api_errors import ApiError


def check_origin(headers: Mapping[str, str]) -> None:
    """See that a request comes from this machine's own programs or pages.

    Raises:
        ApiError: 403; it does not.
    """
    host = headers.get("host", "")
    if not _is_loopback(host):
        message = "this server answers to localhost only; for other names start it with API keys"
        raise ApiError(HTTPStatus.FORBIDDEN, message, code="foreign_host")
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        raise ApiError(HTTPStatus.FORBIDDEN, "pages of other sites may not ask this server", code="foreign_origin")


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
