"""The methods that a benchmark puts side by side, by the names that `--methods` knows.

`NAME` is one of this file, a router of `ROUTERS` or a cascade of `CASCADES`. `NAME*` lets the base model decompose the
question, and the router choose for each sub-query. `only:CANDIDATE` asks one candidate, `prompt-llm:CANDIDATE` has one
choose. `router-r1:POLICY`, `sft:POLICY` and `search-r1:POLICY` have a policy of their own. Anything else is what
`--method` takes: a name in `METHODS`, or a dotted path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from router_r1.checkpoints import find_policy
from router_r1.errors import ConfigError
from router_r1.methods.cascades import CASCADES, Cascade, CascadeEntry, CascadeRoutes
from router_r1.methods.choosers import Always, AtRandom, Chooser, Fitted, Largest, Prompted, PromptedCandidate
from router_r1.methods.in_loop import Alone, Decomposing, LoopMethod, OwnRouting, SingleRound, WholePool
from router_r1.methods.method import METHOD_ARGUMENTS, METHODS, CheckedMethod
from router_r1.methods.routers import ROUTERS
from router_r1.methods.single_round import RouterEntry, SingleRoundRouter, missing_modules
from router_r1.plugins import call_with, check_asks, find
from router_r1.pool import RoutingPool
from router_r1.rollout.policy import Dispatcher

if TYPE_CHECKING:
    from router_r1.router import Router

ALL, STAR, RETRIEVER = "all", "*", "retriever"
_WHERE, _KEY = "command line", "--methods"


@dataclass(frozen=True)
class Seat:
    """What a method is made with."""

    router: Router
    """The base model, the candidates, and what asks them."""
    cost_weight: float
    seed: int
    fitted: SingleRoundRouter | Cascade | None = None
    candidates: Sequence[str] = ()
    """Those of the scores that `fitted` was fitted on, in their order."""
    questions: Sequence[str] = ()
    """What will be asked."""


@dataclass(frozen=True)
class Contender:
    """A method before it is made."""

    name: str
    """As `--methods` has it."""
    title: str
    """As tables call it."""
    make: Callable[[Seat], LoopMethod]
    fits: str | None = None
    """The router of `ROUTERS`, or the cascade of `CASCADES`, that is fitted for it."""
    reads_prompt: bool = False
    """Whom it asks is decided by the prompt, so that it follows a cost weight which the prompt tells."""
    asks_only: str | None = None
    """The one candidate that it asks, which every question has to offer."""
    model_path: str | None = None
    """The policy that was trained for it; None: the base model of the benchmark."""
    offers_only: str | None = None
    """The one candidate that its prompts offer, which every question has to offer; None: all that the question does."""
    is_in_loop: bool = True
    """It answers in the one loop; else it may ask the whole pool, whatever a question is dealt."""

    def follows_cost(self, *, told: bool) -> bool:
        """Whether it does otherwise at another cost weight.

        Args:
            told: the prompts tell the weight.
        """
        return self.fits is not None or (self.reads_prompt and told)

    @property
    def missing(self) -> str:
        """See `missing_modules`."""
        return missing_modules(entry_of(self.fits).needs) if self.fits else ""

    @property
    def is_cascade(self) -> bool:
        """It may ask any candidate of the pool, and is fitted on replies."""
        return self.fits in CASCADES


@dataclass(frozen=True)
class _Router:
    """What chooses, alike for a whole question and for its parts."""

    title: str
    chooser: Callable[[Seat], Chooser]
    fits: str | None = None
    reads_prompt: bool = False
    asks_only: str | None = None
    asks: Callable[[Seat], Dispatcher] | None = None
    """What the candidate is asked through, where it is one that asks others."""

    def contender(self, name: str) -> Contender:
        def make(seat: Seat) -> LoopMethod:
            form = Decomposing if name.endswith(STAR) else SingleRound
            return form(seat.router, self.chooser(seat), self.asks and self.asks(seat))

        title = self.title + STAR if name.endswith(STAR) else self.title
        return Contender(name, title, make, self.fits, self.reads_prompt, self.asks_only)


_POLICY_ALONE = {
    "router-r1": Contender("router-r1", "Router-R1", lambda seat: OwnRouting(seat.router), reads_prompt=True),
    "direct": Contender("direct", "Direct", lambda seat: Alone(seat.router, thinks=False)),
    "cot": Contender("cot", "CoT", lambda seat: Alone(seat.router, thinks=True)),
}
_TRAINED = {"router-r1": "Router-R1", "sft": "SFT", "search-r1": "Search-R1"}
"""What may be named with a policy of its own behind a colon, and its title."""

_UNFITTED = {
    "random": _Router("Random", lambda seat: AtRandom(seat.router.pool, seat.seed)),
    "largest": _Router("Largest LLM", lambda seat: Largest(seat.router.pool)),
    "prompt-llm": _Router("Prompt LLM", lambda seat: Prompted(seat.router, seat.cost_weight), reads_prompt=True),
}


def contenders(written: str, pool: RoutingPool) -> list[Contender]:
    """The methods that `--methods` names, in its order; `all` stands for all that can be had with the pool.

    Raises:
        ConfigError: a name is unknown, or the pool lacks what it asks for.
    """
    names: list[str] = []
    for name in (part.strip() for part in written.split(",")):
        names += every_name(pool) if name == ALL else [name]
    return [_contender(name, pool) for name in dict.fromkeys(names)]


def every_name(pool: RoutingPool) -> list[str]:
    """What `all` stands for: the paper's table and whatever else is known by a name.

    Decomposing forms are those that the paper has; a bound that needs no scores stands for the fitted one of its title.
    """
    titles = {router.title for router in _UNFITTED.values()}
    fitted = [*(name for name, entry in ROUTERS.items() if entry.title not in titles), *CASCADES]
    decomposing = [f"{name}{STAR}" for name in ("prompt-llm", "knn") if name in _UNFITTED or name in ROUTERS]
    rag = ["rag"] if _retriever(pool) else []
    return list(dict.fromkeys([*_POLICY_ALONE, *rag, *_UNFITTED, *fitted, *decomposing, *METHODS]))


def _contender(name: str, pool: RoutingPool) -> Contender:
    if name in _POLICY_ALONE:
        return _POLICY_ALONE[name]
    kind, _, policy = name.partition(":")
    if kind in _TRAINED:
        return _trained(name, kind, policy, pool)
    router = _router(name.removesuffix(STAR), pool)
    return _outside_the_loop(name) if router is None else router.contender(name)


def _trained(name: str, kind: str, policy: str, pool: RoutingPool) -> Contender:
    """A policy that was trained for this alone: by RL with all candidates, or with a retriever alone, or by SFT."""
    if not policy:
        remedy = f"needs a policy: {kind}:FOLDER, a Hugging Face folder, a run or a checkpoint"
        raise ConfigError(_WHERE, _KEY, name, remedy)
    model_path = find_policy(_WHERE, _KEY, policy)
    title = f"{_TRAINED[kind]} ({Path(policy).name})"
    if kind == "sft":
        return Contender(name, title, lambda seat: Alone(seat.router, thinks=False), model_path=model_path)
    retriever = _retriever_for(name, pool) if kind == "search-r1" else None
    reads_prompt = retriever is None  # with one candidate there is nothing to weigh
    return Contender(
        name,
        title,
        lambda seat: OwnRouting(seat.router),
        reads_prompt=reads_prompt,
        model_path=model_path,
        offers_only=retriever,
    )


def _router(name: str, pool: RoutingPool) -> _Router | None:
    """None if it is none of ours."""
    kind, colon, candidate = name.partition(":")
    if colon and kind in ("only", "prompt-llm"):
        candidate = _candidate(name, candidate, pool)
        if kind == "only":
            return _Router(candidate, lambda seat: Always(candidate), asks_only=candidate)
        prompted = f"Prompt LLM ({candidate})"
        return _Router(prompted, lambda seat: PromptedCandidate(candidate, seat.router.routes, seat.router.pool))
    if name == "rag":
        retriever = _retriever_for(name, pool)
        return _Router("RAG", lambda seat: Always(retriever), asks_only=retriever)
    if name in _UNFITTED:
        return _UNFITTED[name]
    if name in ROUTERS:
        return _Router(ROUTERS[name].title, _fitted, fits=name)
    if name in CASCADES:
        cheapest = min(pool.candidates, key=lambda candidate: candidate.price.output).name
        return _Router(CASCADES[name].title, lambda seat: Always(cheapest), fits=name, asks=_cascaded)
    return None


def entry_of(fits: str) -> RouterEntry | CascadeEntry:
    """What is fitted by that name."""
    return CASCADES[fits] if fits in CASCADES else ROUTERS[fits]


def _cascaded(seat: Seat) -> Dispatcher:
    cascade = cast("Cascade", seat.fitted)
    return CascadeRoutes(cascade.at(seat.cost_weight), seat.router.routes)


def _fitted(seat: Seat) -> Chooser:
    fitted = cast("SingleRoundRouter", seat.fitted)
    return Fitted(fitted, seat.candidates, seat.router.pool, alpha=seat.cost_weight, questions=seat.questions)


def _retriever(pool: RoutingPool) -> str | None:
    return next((c.name for c in pool.candidates if c.adapter == RETRIEVER), None)


def _retriever_for(name: str, pool: RoutingPool) -> str:
    retriever = _retriever(pool)
    if retriever is None:
        remedy = f"needs a candidate with adapter: {RETRIEVER}, and {pool.source or pool.name} has none"
        raise ConfigError(_WHERE, _KEY, name, remedy)
    return retriever


def _candidate(name: str, written: str, pool: RoutingPool) -> str:
    found = pool.resolve(written)
    if found is None:
        remedy = f"names no candidate of {pool.source or pool.name}; there are {', '.join(pool.names)}"
        raise ConfigError(_WHERE, _KEY, name, remedy)
    return found.name


def _outside_the_loop(name: str) -> Contender:
    """A method that answers without the base model."""
    if name not in METHODS and ":" not in name and "." not in name:
        trained = [f"{kind}:POLICY" for kind in _TRAINED]
        known = [*_POLICY_ALONE, "rag", *_UNFITTED, *ROUTERS, *CASCADES, *METHODS, "only:CANDIDATE", *trained]
        remedy = f"is no method; there are {', '.join(known)}, or give a dotted path to one of your own"
        raise ConfigError(_WHERE, _KEY, name, remedy)
    factory = find(_WHERE, _KEY, name, METHODS)
    check_asks(_WHERE, _KEY, factory, METHOD_ARGUMENTS)

    def make(seat: Seat) -> LoopMethod:
        router = seat.router
        method = call_with(factory, pool=router.pool, routes=router.routes, settings=router.settings)
        return WholePool(CheckedMethod(method, name))

    return Contender(name, name, make, is_in_loop=False)
