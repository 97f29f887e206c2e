"""Prompt templates: text files with placeholders, filled from a routing pool and a question.

Placeholders:

- `{question}`: the question, verbatim, with a final question mark; required;
- `{pool_inline}`: `Name: descriptor; Name: descriptor`, on one line;
- `{pool_lookup}`: `descriptor Name; descriptor Name`, on one line: who copies a descriptor is led to the name;
- `{pool_list}`: one bullet per candidate with aliases, prices and descriptor; one of the three pool forms is required;
- `{candidates}`: the names alone, `Name, Name`;
- `{cost_weight}`: how much cost counts, in one word (`cost_words`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from router_r1.errors import ConfigError
from router_r1.pool import Candidate, Deal, RoutingPool, offered
from router_r1.prompts.cost_words import cost_word

_PLACEHOLDER = re.compile(r"\{([^{}\n]*)\}")


def _inline(pool: RoutingPool) -> str:
    return "; ".join(f"{c.name}: {c.descriptor}" for c in pool.candidates)


def _lookup(pool: RoutingPool) -> str:
    return "; ".join(f"{c.descriptor} {c.name}" for c in pool.candidates)


def _bullet(candidate: Candidate) -> str:
    also = f"also {', '.join(candidate.aliases)}; " if candidate.aliases else ""
    price = candidate.price
    return f"- {candidate.name} ({also}{price.input:g} input, {price.output:g} output): {candidate.descriptor}"


_POOL_FORMS: dict[str, Callable[[RoutingPool], str]] = {
    "pool_inline": _inline,
    "pool_lookup": _lookup,
    "pool_list": lambda pool: "\n".join(map(_bullet, pool.candidates)),
}
_COST_WEIGHT = "cost_weight"
_PLACEHOLDERS = ("question", "candidates", *_POOL_FORMS, _COST_WEIGHT)


@dataclass(frozen=True)
class Template:
    """A checked prompt template.

    Raises:
        ConfigError: a placeholder is unknown, or one that is needed is missing.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        found = [m[1] for m in _PLACEHOLDER.finditer(self.text)]
        for placeholder in found:
            if placeholder not in _PLACEHOLDERS:
                raise ConfigError(
                    self.name, f"{{{placeholder}}}", None, f"unknown placeholder; known are {_listed(_PLACEHOLDERS)}"
                )
        if "question" not in found:
            raise ConfigError(
                self.name, "{question}", None, "the placeholder is missing; add it where the question goes"
            )
        if not set(found) & set(_POOL_FORMS):
            raise ConfigError(
                self.name, "{pool_list}", None, f"no placeholder for the candidates; add one of {_listed(_POOL_FORMS)}"
            )

    @property
    def tells_cost_weight(self) -> bool:
        """Its prompts say how much cost counts."""
        return f"{{{_COST_WEIGHT}}}" in self.text


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


def template_names() -> list[str]:
    """The names of the templates that come with the package."""
    files = _shipped().iterdir()
    return sorted(f.name.removesuffix(".txt") for f in files if f.name.endswith(".txt"))


def load_template(name_or_path: str | Path) -> Template:
    """A template of the package by its name (`tiny`, `qwen`, `llama`), or any text file by its path.

    Raises:
        ConfigError: there is no such template, or its placeholders are wrong.
    """
    written = str(name_or_path)
    if written in template_names():
        return Template(written, _shipped().joinpath(f"{written}.txt").read_text(encoding="utf-8").strip())
    try:
        text = Path(written).read_text(encoding="utf-8")
    except OSError as fault:
        raise ConfigError(
            written,
            "",
            None,
            f"cannot be read as a prompt template: {fault.strerror}; give the path of a text file or one of "
            f"{', '.join(template_names())}",
        ) from fault
    except UnicodeDecodeError as fault:
        raise ConfigError(written, "", None, f"is not UTF-8 text: byte {fault.start} cannot be decoded") from fault
    return Template(written, text.strip())


def _shipped() -> Traversable:
    return resources.files("router_r1.prompts").joinpath("templates")


def checked_question(question: str, source: object, key: str) -> str:
    """The question itself.

    Raises:
        ConfigError: it is empty, or no text at all.
    """
    if not question.strip():
        raise ConfigError(source, key, question, "is empty; ask something")
    try:
        question.encode("utf-8")
    except UnicodeEncodeError:
        raise ConfigError(source, key, None, "is no valid UTF-8 text") from None
    return question


def with_question_mark(question: str) -> str:
    """The question without surrounding white space, ending in a question mark."""
    question = question.strip()
    return question if question.endswith(("?", "？")) else f"{question}?"


def render_messages(
    template: Template,
    pool: RoutingPool,
    question: str,
    *,
    deal: Deal | None = None,
    cost_weight: float | None = None,
) -> list[dict[str, str]]:
    """The prompt as one user message, for a chat template.

    What is filled in is never read as a template again: braces in a question or a descriptor stay as they are.

    Args:
        deal: the candidates that this question may ask; None for the whole pool.
        cost_weight: alpha of the reward, in [0, 1], for a template that tells it; None is told like 0.

    Raises:
        ConfigError: the pool lacks a candidate of the deal.
    """
    pool = offered(pool, deal)
    values = {name: form(pool) for name, form in _POOL_FORMS.items()}
    values |= {"candidates": ", ".join(pool.names), "question": with_question_mark(question)}
    values[_COST_WEIGHT] = cost_word(cost_weight)
    content = _PLACEHOLDER.sub(lambda match: values[match[1]], template.text)
    return [{"role": "user", "content": content}]
