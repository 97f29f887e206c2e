"""Who may ask: API keys, kept as hashes.

A key is compared as its SHA-256 digest, in constant time, with every key there is. Plain SHA-256 is enough for random
keys (`openssl rand -hex 32`), of which nobody can try enough; it is none for words that a person would think of.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from router_r1.errors import ConfigError
from router_r1.serving.api_errors import ApiError

NO_KEYS = "local"
"""Who asks where no key is asked for."""

_LEAST_LENGTH = 16
_LINE = re.compile(r"([\w.-]{1,64})\s*:\s*([0-9a-fA-F]{64})")


class Keys:
    """The keys of a server; without any, whoever reaches it may ask.

    Args:
        hashes: name -> SHA-256 of the key. A name stands for its key in limits, log and metrics.
    """

    def __init__(self, hashes: Mapping[str, bytes]) -> None:
        self._hashes = dict(hashes)

    def __repr__(self) -> str:
        return f"Keys({', '.join(self._hashes)})"

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def who(self, authorization: str) -> str:
        """The name of the key in an `Authorization` header.

        Raises:
            ApiError: 401; there is none, or a wrong one.
        """
        if not self._hashes:
            return NO_KEYS
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            message = "no API key was given: send it as the header 'Authorization: Bearer KEY'"
            raise ApiError(HTTPStatus.UNAUTHORIZED, message, code="missing_api_key")
        given = hashlib.sha256(key.strip().encode("latin-1", "replace")).digest()
        found = ""
        for name, known in self._hashes.items():  # all of them: how long it takes tells nothing of which
            if hmac.compare_digest(given, known):
                found = name
        if not found:
            raise ApiError(HTTPStatus.UNAUTHORIZED, "the API key is not one of this server's", code="invalid_api_key")
        return found


def load_keys(file: Path | None, variable: str | None) -> Keys:
    """The keys of a file of hashes, and the one in an environment variable, which is named after it.

    Args:
        file: a line `NAME: SHA256` per key, in hex; blank lines and those that begin with # are passed over.

    Raises:
        ConfigError: the file cannot be read, holds no key or a line that is none; the variable is unset or short.
    """
    hashes: dict[str, bytes] = {}
    if file is not None:
        hashes |= _read(file)
    if variable is not None:
        key = os.environ.get(variable, "").strip()
        if len(key) < _LEAST_LENGTH:
            remedy = f"this environment variable must hold a key of at least {_LEAST_LENGTH} characters"
            raise ConfigError("command line", "--client-key-variable", variable, remedy)
        hashes[variable] = hashlib.sha256(key.encode()).digest()
    return Keys(hashes)


def _read(file: Path) -> dict[str, bytes]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError("command line", "--client-keys", str(file), f"cannot be read: {fault}") from None
    hashes: dict[str, bytes] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None:  # the line is not shown: somebody may have written the key itself
            remedy = 'must be NAME: and the key\'s SHA-256 in hex, as `printf %s "$KEY" | sha256sum` prints it'
            raise ConfigError(f"{file}:{number}", "", None, remedy)
        if found[1] in hashes:
            raise ConfigError(f"{file}:{number}", found[1], None, "is there twice; give each key a name of its own")
        hashes[found[1]] = bytes.fromhex(found[2])
    if not hashes:
        raise ConfigError(file, "", None, "holds no key")
    return hashes
