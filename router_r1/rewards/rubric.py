"""The reward of a trajectory: a rubric, which is a sum of weighted terms, and everything that is reported beside it."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from router_r1 import plugins
from router_r1.errors import ConfigError
from router_r1.pool import offered
from router_r1.prompts.cost_words import COST_WEIGHTS, fault_of
from router_r1.protocol import InvalidSearch, Search, Status, Trajectory, Turn
from router_r1.rewards.format import check_format
from router_r1.rewards.outcome import exact_match, f1_score
from router_r1.rewards.terms import ARGUMENTS, BUILT_IN, PAPERS, Term, TermArguments, linear_cost_term

if TYPE_CHECKING:
    from router_r1.pool import Deal, RoutingPool


class RewardConfig(BaseModel):
    """The terms of the reward, and the settings of the paper's three; the defaults are the paper's with alpha = 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    metric: Literal["em", "f1"] = "em"
    """The outcome m: exact match or token F1."""
    cost_coe: float | Literal["sampled"] = 0.0
    """alpha, weight of cost against the outcome in [0, 1]: 0 = accuracy alone; sampled = that of the question."""
    cost_weights: list[float] = list(COST_WEIGHTS)
    """The alphas that questions are given if it is sampled; a prompt has a word for each."""
    cost_gate: Literal["correct_only", "always"] = "correct_only"
    """Who earns for being cheap: trajectories with m > 0, or all."""
    cost_full: float | None = Field(default=None, gt=0.0)
    """Raw cost, in micro-USD of output, from which on the term `linear_cost` is 0."""
    terms: dict[str, str] = Field(default_factory=lambda: {name: name for name in PAPERS}, min_length=1)
    """Name of each term -> a name of `terms.BUILT_IN`, or the dotted path of a function; the reward is their sum."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Name of a term -> what its value is multiplied by; 1 for each that is not here."""

    @field_validator("cost_coe", mode="before")
    @classmethod
    def _check_cost_coe(cls, value: object) -> object:
        # One fault for a value that is neither: pydantic would tell one for each member of the union.
        is_weight = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
        if not is_weight and value != "sampled":
            raise ValueError("must be a number in [0, 1], or sampled")
        return value

    @field_validator("cost_weights")
    @classmethod
    def _check_cost_weights(cls, value: list[float]) -> list[float]:
        if fault := fault_of(value):
            raise ValueError(fault)
        return value

    @property
    def is_sampled(self) -> bool:
        """Each question has an alpha of its own."""
        return self.cost_coe == "sampled"

    @property
    def alphas(self) -> tuple[float, ...]:
        """Those that questions are written with: several if it is sampled, else the one."""
        return tuple(self.cost_weights) if self.cost_coe == "sampled" else (self.cost_coe,)

    def alpha_of(self, cost_weight: float | None) -> float:
        """That of a trajectory whose question has this cost weight, which counts only if alpha is sampled.

        Raises:
            ValueError: it counts, but is no number in [0, 1].
        """
        if self.cost_coe != "sampled":
            return self.cost_coe
        if cost_weight is None or not 0 <= cost_weight <= 1:
            raise ValueError(f"cost_coe is sampled, but the question's cost weight is {cost_weight}")
        return cost_weight


@dataclass(frozen=True)
class Reward:
    """The reward of one trajectory, and the components reported beside it."""

    reward: float  # the sum of the terms; by the paper's rubric -1, or in [0, 1]
    terms: dict[str, float]  # weighted value of each term, in the rubric's order
    em: float  # of the answer itself, whatever its format
    f1: float
    format_error: str  # the broken rule in words; "" if the format is valid
    cost: float  # c in [0, 1], 1 = cheap
    raw_cost: float  # micro-USD of output
    spend_usd: float
    turns: int
    invalid_searches: int  # searches that name no candidate or ask nothing; outages and searches too late are none
    failed_routes: int  # dispatched, but without a reply
    answered: bool
    status: Status
    candidates: dict[str, int]  # routes to each candidate of the pool, in the pool's order

    @property
    def routes(self) -> int:
        """Dispatched searches, failed ones included."""
        return sum(self.candidates.values())

    def as_metrics(self) -> dict[str, float]:
        """Numbers to average over trajectories. The keys depend on pool and rubric, not on the trajectory."""
        return {
            "reward": float(self.reward),
            "em": float(self.em),
            "f1": float(self.f1),
            "format": -1.0 if self.format_error else 0.0,
            "cost": float(self.cost),
            "raw_cost": float(self.raw_cost),
            "spend_usd": float(self.spend_usd),
            "routes": float(self.routes),
            "valid_routes": float(self.routes - self.failed_routes),
            "failed_routes": float(self.failed_routes),
            "invalid_searches": float(self.invalid_searches),
            "turns": float(self.turns),
            "answered": float(self.answered),
            **{f"term/{name}": float(value) for name, value in self.terms.items()},
            **{f"status/{status.value}": float(self.status is status) for status in Status},
            **{f"candidate/{name}": float(count) for name, count in self.candidates.items()},
        }


class Rubric:
    """The reward as a sum of terms: plain functions, each multiplied by its weight.

    Args:
        terms: name of each term -> function, which takes those of `terms.TermArguments` that it names as parameters.
        weights: name of a term -> factor; 1 for each that is not here.
        config: what the paper's terms read their settings from, and `metric` the outcome; its own terms are not used.
        source: where the terms were written, for errors.

    Raises:
        ConfigError: a term that is no function or asks for something that there is not, or a weight that is no finite
            number or weighs no term.
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        weights: Mapping[str, float] | None = None,
        *,
        config: RewardConfig | None = None,
        source: object = "Rubric",
    ) -> None:
        self.terms = dict(terms)
        self.weights = dict.fromkeys(self.terms, 1.0) | dict(weights or {})
        self.config = config or RewardConfig()
        for name, term in self.terms.items():
            _check_term(source, f"terms.{name}", term)
        if linear_cost_term in self.terms.values() and self.config.cost_full is None:
            remedy = "is needed by linear_cost: the raw cost at which it is 0"
            raise ConfigError(source, "cost_full", None, remedy)
        self._asked = {name: plugins.asked_of(term, ARGUMENTS) for name, term in self.terms.items()}
        for name, weight in self.weights.items():
            if name not in self.terms:
                raise ConfigError(source, f"weights.{name}", weight, f"weighs no term; there are {', '.join(terms)}")
            if not _is_finite_number(weight):
                raise ConfigError(source, f"weights.{name}", weight, "must be a finite number")

    @classmethod
    def from_config(cls, config: RewardConfig, source: object = "router_r1.reward") -> Rubric:
        """The rubric that a configuration describes; imports the users' modules that it names.

        Args:
            config: terms, weights, and the settings of the paper's terms.
            source: where it was written, for errors.

        Raises:
            ConfigError: a term that cannot be found or imported, or cannot be called with what there is.
        """
        terms = {
            name: plugins.find(source, f"terms.{name}", written, BUILT_IN) for name, written in config.terms.items()
        }
        return cls(terms, config.weights, config=config, source=source)

    def score(
        self,
        trajectory: Trajectory,
        golden_answers: Sequence[str],
        *,
        pool: RoutingPool,
        cost: float,
        deal: Deal | None = None,
        cost_weight: float | None = None,
    ) -> Reward:
        """Score a finished trajectory.

        Args:
            trajectory: what the loop returned.
            golden_answers: any of which is right.
            pool: the run's candidates; routes are counted by their names.
            cost: its cost term c in [0, 1], usually `cost.trajectory_cost` on the window of the run.
            deal: the candidates that the question offered; None for all.
            cost_weight: alpha of the question, in [0, 1]; needed if `cost_coe` is sampled, and not used otherwise.

        Raises:
            ValueError: no cost weight where it is needed, or a term returned something else than a finite number; what
                a term raises is passed on.
        """
        em, f1 = exact_match(trajectory.answer, golden_answers), f1_score(trajectory.answer, golden_answers)
        shown = offered(pool, deal)
        format_error = check_format(trajectory, shown)
        raw_cost, spend_usd = trajectory.raw_cost, trajectory.spend_usd
        alpha = self.config.alpha_of(cost_weight)
        arguments: TermArguments = {
            "trajectory": trajectory,
            "golden_answers": tuple(golden_answers),
            "pool": shown,
            "answer": trajectory.answer,
            "em": em,
            "f1": f1,
            "outcome": em if self.config.metric == "em" else f1,
            "format_error": format_error,
            "cost": cost,
            "raw_cost": raw_cost,
            "spend_usd": spend_usd,
            "cost_coe": alpha,
            "config": self.config.model_copy(update={"cost_coe": alpha}) if self.config.is_sampled else self.config,
        }
        terms = self._values(dict(arguments))
        routed = Counter(route.candidate for route in trajectory.routes)
        return Reward(
            reward=sum(terms.values(), 0.0),
            terms=terms,
            em=em,
            f1=f1,
            format_error=format_error,
            cost=cost,
            raw_cost=raw_cost,
            spend_usd=spend_usd,
            turns=len(trajectory.turns),
            invalid_searches=sum(_is_invalid_search(turn, shown) for turn in trajectory.turns),
            failed_routes=trajectory.failed_routes,
            answered=trajectory.answer is not None,
            status=trajectory.status,
            candidates={name: routed[name] for name in pool.names},
        )

    def _values(self, arguments: Mapping[str, object]) -> dict[str, float]:
        """Weighted value of each term."""
        values: dict[str, float] = {}
        for name, term in self.terms.items():
            value = term(**{argument: arguments[argument] for argument in self._asked[name]})
            if not _is_finite_number(value):
                raise ValueError(f"term {name} of the reward returned {value!r}: must be a finite number")
            values[name] = self.weights[name] * float(value)
        return values


def score(
    trajectory: Trajectory,
    golden_answers: Sequence[str],
    *,
    pool: RoutingPool,
    cost: float,
    deal: Deal | None = None,
    cost_weight: float | None = None,
    rubric: Rubric | RewardConfig | None = None,
) -> Reward:
    """Score a finished trajectory by a rubric, by the one that a configuration describes, or else by the paper's.

    Other arguments and errors are those of `Rubric.score` and `Rubric.from_config`. To score many, make one `Rubric`.
    """
    if not isinstance(rubric, Rubric):
        rubric = Rubric.from_config(rubric or RewardConfig())
    return rubric.score(trajectory, golden_answers, pool=pool, cost=cost, deal=deal, cost_weight=cost_weight)


def _is_invalid_search(turn: Turn, pool: RoutingPool) -> bool:
    if isinstance(turn.action, Search):  # well-formed; a valid one may still come too late to be dispatched
        return pool.resolve(turn.action.candidate) is None
    return isinstance(turn.action, InvalidSearch)


def _check_term(source: object, key: str, term: object) -> None:
    """See that a term can be called with what there is, and that it returns no object of a class and no coroutine."""
    if not callable(term) or isinstance(term, type) or inspect.iscoroutinefunction(term):
        name = getattr(term, "__qualname__", repr(term))
        raise ConfigError(source, key, name, "must be a plain function: no class, and not async")
    plugins.check_asks(source, key, term, ARGUMENTS)


def _is_finite_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)
