"""What a method is: one asynchronous call, question in, trajectory out.

The benchmark, its comparison, single questions and the server take a method wherever they take a trained router.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from router_r1.errors import ConfigError
from router_r1.plugins import check_call
from router_r1.prompts.observations import failed_route
from router_r1.protocol import (
    Answer,
    Route,
    Search,
    Status,
    Trajectory,
    Turn,
    render_answer,
    render_observation,
    render_search,
)


class Method(Protocol):
    """Answers questions with the candidates of a pool."""

    async def answer(self, question: str, *, request_id: str) -> Trajectory:
        """Answer one question; any number may be asked at once.

        Args:
            question: as the user, or the data set, wrote it.
            request_id: names the trajectory; goes with every route, for a trace.
        """
        ...


MethodFactory = Callable[..., Method]
"""A class, or a function that makes a method. It is called with those of these that it asks for: `pool` (`RoutingPool`:
the candidates), `routes` (`rollout.policy.Dispatcher`: asks them), `settings` (`RouterSettings`)."""

METHOD_ARGUMENTS = ("pool", "routes", "settings")

METHODS: dict[str, MethodFactory] = {}
"""Methods by name. The trained router is what there is without one (`router.Router`)."""


def trajectory_of(routes: Sequence[Route], answer: str | None) -> Trajectory:
    """The trajectory of a method without a policy: its routes in order, then its answer, with no tokens of its own.

    Args:
        answer: None if it found none.
    """
    turns = []
    for route in routes:
        text = render_search(route.candidate, route.query)
        turn = Turn([], [], text, Search(route.candidate, route.query), route=route)
        turn.observation = render_observation(failed_route(route.candidate) if route.failed else route.reply)
        turns.append(turn)
    if answer is None:
        return Trajectory([], turns, Status.NO_ACTION)
    turns.append(Turn([], [], render_answer(answer), Answer(answer)))
    return Trajectory([], turns, Status.ANSWERED)


def check_method(method: object) -> None:
    """See that a method, or the class of one, has the asynchronous call `answer(question, *, request_id)`.

    Raises:
        ConfigError: it has not.
    """
    check_call("command line", "--method", method, "answer", arguments=("question", "request_id="), waits=True)


class CheckedMethod:
    """A user's method: what it returns is seen to.

    Args:
        method: what a factory made.
        written: how the user named it.

    Raises:
        ConfigError: as `check_method`.
    """

    def __init__(self, method: Method, written: str | None) -> None:
        check_method(method)
        self._method, self._written = method, written

    async def answer(self, question: str, *, request_id: str) -> Trajectory:
        """As `Method.answer`.

        Raises:
            ConfigError: what it returned is no trajectory.
        """
        trajectory: object = await self._method.answer(question, request_id=request_id)
        if not isinstance(trajectory, Trajectory):
            remedy = f"answer returned {_kind(trajectory)}; must return a Trajectory, as trajectory_of makes one"
            raise ConfigError("command line", "--method", self._written, remedy)
        return trajectory


def _kind(value: object) -> str:
    return "None" if value is None else f"an object of the class {type(value).__qualname__}"
