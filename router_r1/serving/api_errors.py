"""What the server refuses, or fails at, in the form that the OpenAI API has for errors.

Every error body is `{"error": {"message", "type", "param", "code"}}`, the last piece of a broken stream too, so that a
client of that API raises the exception it has for it (platform.openai.com/docs/guides/error-codes).
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """A request that gets no answer.

    Args:
        status: of the response; within a stream that has begun, only the body is sent.
        message: for a person; holds the numbers, never a key, and no text of another request.
        code: for a program.
        param: the parameter that is wrong, as a dotted path.
        retry_after_s: when asking again may help.
    """

    def __init__(
        self,
        status: HTTPStatus,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> dict[str, Any]:
        kind = _KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        headers = {}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after_s)))
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


_KINDS = {
    HTTPStatus.PAYMENT_REQUIRED: "insufficient_quota",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}


def refused(param: str | None, message: str, code: str | None = None) -> ApiError:
    """A parameter, or the body, that is wrong."""
    return ApiError(HTTPStatus.BAD_REQUEST, message, code=code, param=param)


CLIENT_CLOSED_REQUEST = 499
"""What the access log has for it: nginx's number, since HTTP has none."""


class ClientGone(Exception):
    """Whoever asked has closed the connection: nothing can be answered any more."""
