"""The one error that user input can raise."""

from __future__ import annotations


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

    def __reduce__(self):  # keeps the arguments when Ray pickles the error
        return type(self), (self.source, self.key, self.value, self.remedy)


def _shorten(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."
