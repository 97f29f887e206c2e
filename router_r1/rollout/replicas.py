"""Policy back end: several engines that serve the same policy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from router_r1.rollout.policy import Generation, Policy


class ReplicatedPolicy:
    """Gives every trajectory one of the replicas, by its id.

    All turns of a trajectory go to one replica, whose prefix cache then holds the earlier turns. The seed of a sampled
    turn depends on the trajectory's id alone (`sampling.Sampling.seed_of_turn`), never on the replica: how many there
    are changes nothing but the time it takes.
    """

    def __init__(self, replicas: Sequence[Policy], *, max_model_len: int | None) -> None:
        self._replicas = list(replicas)
        self.max_model_len = max_model_len
        """Longest sequence that every replica takes, prompt included, in tokens; None if none says."""

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        """See `Policy.generate`."""
        digest = hashlib.blake2b(request_id.encode(), digest_size=8).digest()
        replica = self._replicas[int.from_bytes(digest) % len(self._replicas)]
        return await replica.generate(token_ids, max_tokens=max_tokens, stop=stop, request_id=request_id)


def shortest(lengths: Sequence[int | None]) -> int | None:
    """The smallest of the lengths that are known."""
    return min((length for length in lengths if length is not None), default=None)
