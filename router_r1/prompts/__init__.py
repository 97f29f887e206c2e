"""Prompt templates, and the text of observations that no candidate wrote."""

from router_r1.prompts.observations import failed_route, invalid_search
from router_r1.prompts.rendering import (
    Template,
    checked_question,
    load_template,
    render_messages,
    template_names,
    with_question_mark,
)

__all__ = [
    "Template",
    "checked_question",
    "failed_route",
    "invalid_search",
    "load_template",
    "render_messages",
    "template_names",
    "with_question_mark",
]
