"""The replies that a pool file names, and the questions that they part into."""

from __future__ import annotations

import os
import re
from pathlib import Path

from router_r1.errors import ConfigError
from router_r1.pool import NO_ADDRESS, RoutingPool, load_pool
from router_r1.recorded.replies import RecordedReplies, load_recorded
from router_r1.scores import split


def recorded_pool(path: str | Path) -> RoutingPool:
    """A pool file that has replies.

    Raises:
        ConfigError: it has none, or something in it is wrong.
    """
    pool = load_pool(path, base_url=NO_ADDRESS)
    if pool.recorded is None:
        raise ConfigError(path, "recorded", None, "is missing; give the file of what the candidates said")
    return pool


def recorded_file(pool: RoutingPool) -> Path:
    """Where the pool's replies are.

    Raises:
        ConfigError: a variable in the path is not set, or there is no such file.
    """
    assert pool.recorded is not None
    written, source = pool.recorded.file, pool.source or pool.name
    for variable in re.findall(r"\$\{?(\w+)\}?", written):
        if variable not in os.environ:
            remedy = f"the environment variable {variable} is not set; export {variable}=<folder of recorded replies>"
            raise ConfigError(source, "recorded.file", written, remedy)
    file = Path(pool.source).parent / Path(os.path.expandvars(written)).expanduser()
    if not file.is_file():
        raise ConfigError(source, "recorded.file", str(file), "is no file; give one of recorded replies")
    return file


def load_recorded_pool(pool: RoutingPool) -> RecordedReplies:
    """The replies of a pool's candidates.

    Raises:
        ConfigError: the file cannot be read, has no replies, or lacks a candidate.
    """
    assert pool.recorded is not None
    prices = {candidate.name: candidate.price for candidate in pool.candidates}
    recorded = load_recorded(recorded_file(pool), prices, min_similarity=pool.recorded.threshold)
    source = pool.source or pool.name
    if not recorded.has_replies:
        remedy = "holds scores without replies, so nobody can be asked; they serve bench --scores"
        raise ConfigError(source, "recorded.file", recorded.source, remedy)
    return recorded


def split_recorded(recorded: RecordedReplies) -> tuple[RecordedReplies, RecordedReplies]:
    """Training and test questions, parted as every table of scores is: by the words of a question (`scores.split`).

    Raises:
        ConfigError: there are too few questions.
    """
    train, test = split(recorded.table())
    return recorded.with_ids(train), recorded.with_ids(test)
