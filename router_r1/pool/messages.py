"""What a candidate is sent for a sub-query: templates of the pool file, filled in.

`{query}` is the sub-query, `{name}` the candidate's name. Other braces are text, so that a template may hold JSON or
LaTeX; a literal `{word}` is written `{{word}}`. What is filled in is never read as a template again.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

Message = dict[str, str]
"""One chat message: `role` (system or user) and `content`."""

_WORD_IN_BRACES = re.compile(r"\{(?P<literal>\{\s*\w+\s*\})\}|\{(?P<placeholder>\s*\w+\s*)\}")
_PLACEHOLDERS = ("query", "name")


def _placeholders(template: str) -> set[str]:
    """Those of a template.

    Raises:
        PydanticCustomError: one is unknown.
    """
    found = {match["placeholder"] for match in _WORD_IN_BRACES.finditer(template)} - {None}
    for placeholder in sorted(found - set(_PLACEHOLDERS)):
        raise PydanticCustomError(
            "placeholder",
            "unknown placeholder {found}; known are {known}, and a literal {found} is written {literal}",
            {
                "found": f"{{{placeholder}}}",
                "known": ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS),
                "literal": f"{{{{{placeholder}}}}}",
            },
        )
    return found


def _message_template(template: str) -> str:
    if "query" not in _placeholders(template):
        raise PydanticCustomError(
            "placeholder", "{query} is missing; write it where the sub-query goes", {"query": "{query}"}
        )
    return template


def _system_template(template: str) -> str:
    if not template.strip():
        raise PydanticCustomError("empty", "must not be empty; leave it out for no system message")
    _placeholders(template)
    return template


MessageTemplate = Annotated[str, AfterValidator(_message_template)]
SystemTemplate = Annotated[str, AfterValidator(_system_template)]


def fill(template: str, *, query: str, name: str) -> str:
    """A checked template with its placeholders filled in."""
    values = {"query": query, "name": name}
    filled = _WORD_IN_BRACES.sub(lambda match: match["literal"] or values[match["placeholder"]], template)
    return filled.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be sent
