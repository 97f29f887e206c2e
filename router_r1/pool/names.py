"""When two written names are the same name.

Models write a name as they have read it elsewhere: `Qwen 2.5 7B Instruct` for `Qwen2.5-7B-Instruct`, in quotes, or in
Markdown's bold. Names are therefore compared in a canonical form. Invariants:

- letters, digits and the numbers that they form are kept: no part of a name is enough, and no name is "close";
- a separator counts between two digits, and nowhere else: `2.5` is `2 5` and `2-5`, but never `25`.
"""

from __future__ import annotations

import unicodedata

# Besides white space and what Unicode calls dashes, connectors, and opening and closing quotes.
_SEPARATORS = frozenset(".*\"'`´„‚″′＂＇「」『』")
_MARK = "."  # what a separator between two digits becomes
_SEPARATOR_CATEGORIES = ("Pd", "Pc", "Pi", "Pf")


def canonical(name: str) -> str:
    """A name as it is compared: case folded, without separators but for one mark between two digits."""
    form: list[str] = []
    is_separated = False
    for ch in name.casefold():
        if _is_separator(ch):
            is_separated = True
            continue
        if is_separated and ch.isdigit() and form and form[-1].isdigit():
            form.append(_MARK)
        form.append(ch)
        is_separated = False
    return "".join(form)


def _is_separator(ch: str) -> bool:
    return ch.isspace() or ch in _SEPARATORS or unicodedata.category(ch) in _SEPARATOR_CATEGORIES
