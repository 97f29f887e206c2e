"""The one error that user input can raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


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


def _shorten(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def config_error(source: object, exc: ValidationError) -> ConfigError:
    """The fault that pydantic found in `source`, as one line; further faults are counted.

    A value is shown only where a wrong scalar came. Whole mappings, and what stands under an unknown key or one named
    like an API key, are never shown: people put secrets into the wrong place.
    """
    faults = exc.errors(include_url=False)
    # A misspelt key also shows up as a missing one; the misspelling is the cause.
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    path, value = fault["loc"], fault["input"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
    is_unknown_key = fault["type"] == "extra_forbidden"
    may_be_secret = is_unknown_key or "key" in str(path[-1:]).lower()
    is_shown = isinstance(value, str | int | float) and not may_be_secret
    remedy = "unknown key" if is_unknown_key else fault["msg"].removeprefix("Value error, ")
    if len(faults) > 1:
        remedy += f" (and {len(faults) - 1} more)"
    return ConfigError(source, key, value if is_shown else None, remedy)
