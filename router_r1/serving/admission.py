"""Who is let in: by a key where keys are asked for, and else this machine's own programs and pages."""

from __future__ import annotations

from collections.abc import Mapping

from router_r1.serving.keys import Keys
from router_r1.serving.origins import check_origin


def admit(headers: Mapping[str, str], keys: Keys) -> str:
    """The name of the key that asks.

    Raises:
        ApiError: 401 or 403; it may not.
    """
    if not keys:
        check_origin(headers)
    return keys.who(headers.get("authorization", ""))
