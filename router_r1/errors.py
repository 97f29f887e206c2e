"""What ends a command: the one error that user input can raise, a spent budget, a candidate that is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails


class ConfigError(ValueError):
    """Something a user wrote is wrong. One line: where, which key, which value, and what would be right.

    Args:
        source: the file, command-line option or environment the value came from.
        key: dotted path of the key inside it; "" if the whole source is wrong.
        value: the offending value; never a secret.
        remedy: what is wrong and what would be right.
    """

    def __init__(self, source: object, key: str, value: object, remedy: str) -> None:
        self.source, self.key, self.value, self.remedy = str(source), key, value, remedy
        where = f"{source}: {key}" if key else str(source)
        shown = "" if value is None else f" = {_shorten(repr(value))}"
        super().__init__(f"{where}{shown}: {remedy}")

    def __reduce__(self) -> tuple[type[ConfigError], tuple[object, ...]]:
        # The default would pass the finished message as the only argument when Ray pickles the error.
        return type(self), (self.source, self.key, self.value, self.remedy)


class BudgetSpent(RuntimeError):
    """The run's budget is spent: no further request is sent. Not a fault; the run ends in good order."""


class CandidateRefused(RuntimeError):
    """A candidate's key or model is refused, which a person must mend: to go on would only collect failures."""


def _shorten(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


Remedy = Callable[["ErrorDetails"], str | None]
"""Better words for a fault than pydantic's; None where there are none."""


Model = TypeVar("Model", bound="BaseModel")


def validated(model: type[Model], source: object, mapping: object) -> Model:
    """What a user configured, as a `model`.

    Args:
        source: where it came from, for the error.
        mapping: keys and values of `model`.

    Raises:
        ConfigError: an unknown key, or a value of a wrong type or out of its range.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(mapping)
    except ValidationError as fault:
        raise config_error(source, fault) from None


def config_error(source: object, exc: ValidationError, remedy: Remedy | None = None) -> ConfigError:
    """The fault that pydantic found in `source`, as one line; further faults are counted.

    A value is shown only where a wrong scalar came. Whole mappings, and what stands under an unknown key or one named
    like an API key, are never shown: people put secrets into the wrong place. A validator of ours may raise a
    `PydanticCustomError` of type `secret`, whose value is never shown, or give key and value in its context.

    Args:
        source: the file or option that was validated.
        exc: what pydantic raised.
        remedy: better words than pydantic's for some faults.
    """
    faults = exc.errors(include_url=False)
    # A misspelt key also shows up as a missing one; the misspelling is the cause.
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    context = fault.get("ctx", {})
    value = context.get("value", fault["input"])
    words = (remedy and remedy(fault)) or _own_words(fault)
    if len(faults) > 1:
        words += f" (and {len(faults) - 1} more)"
    is_shown = isinstance(value, str | int | float) and not _may_be_secret(fault)
    return ConfigError(source, context.get("key") or dotted(fault["loc"]), value if is_shown else None, words)


def dotted(location: Iterable[int | str]) -> str:
    """A pydantic location as users write it: `candidates[2].price.input`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _own_words(fault: ErrorDetails) -> str:
    return "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"].removeprefix("Value error, ")


def _may_be_secret(fault: ErrorDetails) -> bool:
    return fault["type"] in ("extra_forbidden", "missing", "secret") or "key" in str(fault["loc"][-1:]).lower()
