"""Scores that others recorded, brought into a file of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from router_r1.errors import ConfigError
from router_r1.runs import provenance
from router_r1.scores.files import write_scores
from router_r1.scores.formats.llmrouter import read_llmrouter
from router_r1.scores.formats.routellm import read_routellm
from router_r1.scores.formats.routerarena import read_routerarena
from router_r1.scores.formats.routerbench import read_routerbench
from router_r1.scores.formats.wide_json import read_wide_json
from router_r1.scores.prices import REPLY_TOKENS, Prices, Pricing
from router_r1.scores.samples import CheckedSamples, Place, Sample, checked_samples

FORMATS: dict[str, Callable[[Path, Pricing], Iterator[tuple[Place, Sample]]]] = {
    "llmrouter": read_llmrouter,
    "routellm": read_routellm,
    "routerarena": read_routerarena,
    "routerbench": read_routerbench,
    "shared": read_wide_json,
}
"""Name of a format -> its reader; what it takes from where is in the reader's docstring."""


def import_scores(
    format: str,
    files: Sequence[Path],
    out: Path,
    *,
    prices: Sequence[str] = (),
    reply_tokens: int = REPLY_TOKENS,
    complete_only: bool = False,
) -> CheckedSamples:
    """Read scores of one of the `FORMATS` and write them as a file of scores.

    Args:
        prices: as `scores.prices` has them.
        reply_tokens: assumed length of a reply of which nothing is known.
        complete_only: leave questions out that not every candidate was asked, rather than refuse them.

    Returns:
        What was written.

    Raises:
        ConfigError: an unknown format, a file that cannot be read, a row that is wrong, a price that is missing.
    """
    if format not in FORMATS:
        raise ConfigError("command line", "--format", format, f"is unknown; known are {', '.join(FORMATS)}")
    if reply_tokens < 1:
        raise ConfigError("command line", "--reply-tokens", reply_tokens, "must be at least 1")
    if out.suffix != ".parquet":
        raise ConfigError("command line", "--out", str(out), "must end in .parquet")
    pricing = Pricing(Prices(prices), reply_tokens)
    rows = (row for file in files for row in FORMATS[format](file, pricing))
    checked = checked_samples(rows, ", ".join(map(str, files)), complete_only=complete_only)
    facts = {
        "source": f"import {format}",
        "files": [file.name for file in files],
        "num_incomplete_left_out": checked.incomplete,
        **pricing.as_json(),
        **provenance(),
    }
    write_scores(checked.samples, out, provenance=facts)
    return checked
