"""Routes that are answered from a file: cascades and other methods run on recorded replies without any endpoint."""

from __future__ import annotations

from collections import Counter

from router_r1.errors import ConfigError
from router_r1.protocol import Route
from router_r1.recorded.replies import RecordedReplies

UNKNOWN = "no question like it was recorded"


class RecordedRoutes:
    """Satisfies `rollout.policy.Dispatcher`.

    A trajectory that asks a candidate the same again gets its next sample, as from a candidate with a temperature; of
    one that has no more samples, the first again. A question that nothing is known of is a failed route.

    Args:
        reads_replies: whether whoever asks reads what it is told. If not, scores alone will do: replies are empty then.

    Raises:
        ConfigError: there are no replies to read.
    """

    def __init__(self, recorded: RecordedReplies, *, reads_replies: bool = True) -> None:
        if reads_replies and not recorded.has_replies:
            remedy = "is nowhere: only scores are known, so nothing can be read; choose by the question alone"
            raise ConfigError(recorded.source, "reply", None, remedy)
        self._recorded = recorded
        self._asked: Counter[tuple[str, str, str]] = Counter()

    async def route(self, candidate: str, query: str, *, trajectory_id: str = "") -> Route:
        question = self._recorded.find(query)
        if question is None:
            return Route(candidate, query, "", failed=True, error=UNKNOWN)
        key = (trajectory_id, candidate, question.id)
        said = question.sample(candidate, self._asked[key])
        self._asked[key] += 1
        return Route(
            candidate=candidate,
            query=query,
            reply=said.text,
            prompt_tokens=said.prompt_tokens,
            completion_tokens=said.completion_tokens,
            raw_cost=said.raw_cost,
            spend_usd=said.spend_usd,
        )
