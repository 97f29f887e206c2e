"""What `model` may be: the trained router, other methods with the same policy, or one candidate alone.

router-r1           the policy routes by itself, at the cost weight that the server was started with
router-r1@0.6       at another cost weight, where its prompts tell one
direct, cot, ...    a method of `methods.catalogue` that needs no scores to be fitted on
knn@0.3, ...        one that was fitted before the server was ready
candidate:NAME      one candidate of the pool, asked as the pool file says
auto                with a split, whichever of its arms the user falls to
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus

from router_r1.errors import ConfigError
from router_r1.methods.catalogue import Contender, contenders, every_name
from router_r1.pool import RoutingPool
from router_r1.serving.api_errors import ApiError
from router_r1.serving.fitted import NO_MORE, MoreMethods
from router_r1.serving.splits import AUTO, Split
from router_r1.settings import RouterSettings

ROUTER = "router-r1"
_CANDIDATE = "candidate:"


@dataclass(frozen=True)
class ServedModel:
    """Who answers."""

    name: str
    """Without a cost weight: one of the list, for labels."""
    cost_weight: float
    contender: Contender | None = None
    """None for a candidate alone."""
    candidate: str | None = None

    is_weighted: bool = False
    """The cost weight was asked for."""
    arm: str = ""
    """The arm of the split that it was chosen as; "" if it was asked for by its own name."""

    @property
    def id(self) -> str:
        """As it is asked for."""
        return f"{self.name}@{self.cost_weight:g}" if self.is_weighted else self.name

    @property
    def samples(self) -> bool:
        """The policy writes its answers, so that parameters of sampling mean something."""
        return self.contender is not None and self.contender.is_in_loop


class ServedModels:
    """The models of a server by name.

    Args:
        more: methods beyond those that are always there.
        split: what requests for `auto` are divided among.

    Raises:
        ConfigError: one of `more` was fitted on scores of other candidates; an arm of the split is no model.
    """

    def __init__(
        self,
        settings: RouterSettings,
        pool: RoutingPool,
        *,
        more: MoreMethods = NO_MORE,
        split: Split | None = None,
    ) -> None:
        more.check(pool)
        self._settings, self._pool = settings, pool
        named = [c for c in contenders(",".join(every_name(pool)), pool) if c.fits is None]
        self._contenders = {contender.name: contender for contender in (*named, *more.contenders)}
        self._split = split
        for arm in split.shares if split else ():
            try:
                self.find(arm)
            except ApiError as fault:
                raise ConfigError("command line", "--split", arm, fault.message) from None

    @property
    def names(self) -> list[str]:
        """All of them, at the server's own cost weight."""
        divided = [AUTO] if self._split else []
        return [*divided, *self._contenders, *(f"{_CANDIDATE}{name}" for name in self._pool.names)]

    @property
    def candidates(self) -> list[str]:
        """The names of the pool."""
        return list(self._pool.names)

    @property
    def cost_weight(self) -> float:
        """The server's own."""
        return self._settings.cost_weight

    def follows_cost(self, name: str) -> bool:
        """Whether one of `names` may be asked at another cost weight."""
        contender = self._contenders.get(name)
        return contender is not None and contender.follows_cost(told=self._settings.template.tells_cost_weight)

    def find(self, written: str, *, who: str = "") -> ServedModel:
        """The model that is meant.

        Args:
            who: asks; it decides which arm `auto` is.

        Raises:
            ApiError: 404, with the list; there is no such model, or it does not follow a cost weight.
        """
        if written == AUTO and self._split is not None:
            arm = self._split.arm(who)
            return replace(self.find(arm), arm=arm)
        if written.startswith(_CANDIDATE):
            candidate = self._pool.resolve(written.removeprefix(_CANDIDATE))
            if candidate is None:
                raise self._unknown(written)
            return ServedModel(f"{_CANDIDATE}{candidate.name}", 0.0, candidate=candidate.name)
        name, at, weight = written.partition("@")
        contender = self._contenders.get(name)
        if contender is None:
            raise self._unknown(written)
        if not at:
            return ServedModel(name, self._settings.cost_weight, contender)
        if not contender.follows_cost(told=self._settings.template.tells_cost_weight):
            why = f"{name} does the same at every cost weight: its prompts tell none"
            raise ApiError(HTTPStatus.NOT_FOUND, f"{why}; ask {name}", code="model_not_found", param="model")
        return ServedModel(name, self._cost_weight(written, weight), contender, is_weighted=True)

    def _cost_weight(self, written: str, weight: str) -> float:
        try:
            number = float(weight)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            message = f"the model {_short(written)!r} does not exist: a cost weight is a number from 0 to 1"
            raise ApiError(HTTPStatus.NOT_FOUND, message, code="model_not_found", param="model")
        return number

    def _unknown(self, written: str) -> ApiError:
        message = f"the model {_short(written)!r} does not exist; there are {', '.join(self.names)}"
        if self._settings.template.tells_cost_weight:
            message += f", and {ROUTER}@0.6 or any other cost weight from 0 to 1"
        return ApiError(HTTPStatus.NOT_FOUND, message, code="model_not_found", param="model")


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."
