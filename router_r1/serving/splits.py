"""A/B: requests for the model `auto` are divided among other models, each user always to the same one.

Invariants:

- who falls to which arm depends on the names of the arms and on the user alone: not on the order of requests, the
  process, or the replica;
- when shares change, nobody changes arms but those whom the boundary passes over.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

from router_r1.errors import ConfigError

AUTO = "auto"
"""The model whose requests are divided; the others stay what they are called."""


@dataclass(frozen=True)
class Split:
    """Arms, and their shares of all users."""

    shares: Mapping[str, float]
    """Model -> share, above 0; in sum 1."""

    def arm(self, who: str) -> str:
        """The model that answers a user."""
        arms = list(self.shares)
        drawn = int.from_bytes(hashlib.sha256("\n".join([*arms, who]).encode()).digest()[:8]) / 2**64
        passed = 0.0
        for arm in arms[:-1]:
            passed += self.shares[arm]
            if drawn < passed:
                return arm
        return arms[-1]


def read_split(written: str) -> Split:
    """The split that `--split MODEL=SHARE,MODEL=SHARE` names.

    Raises:
        ConfigError: it names less than two models, or one twice; or shares that are none, or are not 1 in sum.
    """
    shares: dict[str, float] = {}
    for part in written.split(","):
        name, _, share = part.strip().rpartition("=")
        number = _number(share)
        if not name or not number > 0:
            raise _refused(written, f"{part.strip()!r} is no arm; write MODEL=SHARE, such as knn@0.3=0.1")
        if name in shares:
            raise _refused(written, f"names {name} twice")
        if name == AUTO:
            raise _refused(written, f"names {AUTO}, which is what is divided")
        shares[name] = number
    if len(shares) < 2:
        raise _refused(written, "divides nothing; name two models or more")
    if not math.isclose(total := math.fsum(shares.values()), 1.0, abs_tol=1e-6):
        raise _refused(written, f"has shares of {total:g} in sum; they must come to 1")
    return Split(shares)


def _number(written: str) -> float:
    try:
        return float(written)
    except ValueError:
        return math.nan


def _refused(written: str, remedy: str) -> ConfigError:
    return ConfigError("command line", "--split", written, remedy)
