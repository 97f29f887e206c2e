"""The pages alone, for folders: what `router-r1 view` serves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from router_r1.pages.api import Pages
from router_r1.pages.folders import Folders
from router_r1.serving.app import answer_errors_in_openai_form
from router_r1.serving.keys import Keys


class Viewer:
    """An ASGI application with nothing but the pages, and without a policy to ask. It costs nothing to end it."""

    in_flight = 0

    def __init__(self, folders: Folders, keys: Keys) -> None:
        self.is_draining = False
        self.api = FastAPI(title="Router-R1", docs_url=None, redoc_url=None, openapi_url=None)
        Pages(folders, keys).add_to(self.api)
        answer_errors_in_openai_form(self.api)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.api(scope, receive, send)
