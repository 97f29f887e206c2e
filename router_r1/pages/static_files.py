"""The files of the front end, and the headers that keep a page to itself.

All of them are read once, when the server starts: a request names one of a fixed list, and never a path on the disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from importlib import resources
from importlib.resources.abc import Traversable

from fastapi import Request
from fastapi.responses import Response

from router_r1.serving.api_errors import ApiError

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data:",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}

HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every response of the pages. The policy (w3.org/TR/CSP3) lets a page load its own files and ask its own server,
and nothing else: no inline script, no style in markup, no frame, no form."""


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    tag: str


class StaticFiles:
    """What is under `static/`, by its name (`vendor/preact.mjs`)."""

    def __init__(self) -> None:
        self._files = dict(_files(resources.files("router_r1.pages") / "static"))

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def response(self, name: str, request: Request) -> Response:
        """A file, or 304 if the browser has it.

        Raises:
            ApiError: 404; there is none of this name.
        """
        file = self._files.get(name)
        if file is None:
            raise ApiError(HTTPStatus.NOT_FOUND, "there is no such file", code="not_found")
        headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": file.tag}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)


def _files(folder: Traversable, prefix: str = "") -> list[tuple[str, _File]]:
    found: list[tuple[str, _File]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _files(entry, f"{prefix}{entry.name}/")
        elif media_type := next((kind for ending, kind in _TYPES.items() if entry.name.endswith(ending)), None):
            content = entry.read_bytes()
            found.append((f"{prefix}{entry.name}", _File(content, media_type, _tag(content))))
    return found


def _tag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:20]}"'
