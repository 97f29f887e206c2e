"""From a chat completion request to a trajectory: everything between HTTP and the router.

Invariants:

- what can be refused is refused by `prepare`, before a place is taken and before anything is sent or paid;
- `answer` ends with an outcome, with an `ApiError`, or cancelled; then nothing of its trajectory is left in flight.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from uuid import uuid4

from router_r1.errors import BudgetSpent, ConfigError
from router_r1.methods.catalogue import Seat
from router_r1.methods.in_loop import PosedQuestion
from router_r1.methods.method import trajectory_of
from router_r1.pool import offered
from router_r1.prompts import render_messages
from router_r1.protocol import Route, Status, Trajectory
from router_r1.rewards.format import check_format
from router_r1.rollout.policy import AdjustablePolicy, MortalPolicy, Policy
from router_r1.rollout.sampling import RepeatableSampling, Sampling
from router_r1.rollout.tokens import encode_prompt
from router_r1.router import Router
from router_r1.serving.api_errors import ApiError, refused
from router_r1.serving.chat_request import ChatRequest
from router_r1.serving.conversations import safe_question
from router_r1.serving.fitted import NO_MORE, MoreMethods
from router_r1.serving.keys import NO_KEYS
from router_r1.serving.limits import DailySpend, Places, payment_required
from router_r1.serving.live import Listener, LivePolicy, LiveRoutes, LiveTurns, TokensSpent, Wrote, reasoning_of
from router_r1.serving.models import ROUTER, ServedModel, ServedModels
from router_r1.serving.options import ServingOptions
from router_r1.serving.splits import read_split

logger = logging.getLogger(__name__)

_RECOVERY_S = 10.0  # after a fault of the policy, how long the server calls itself not ready


@dataclass(frozen=True)
class Prepared:
    """A request that may be answered."""

    id: str
    key: str
    """The name of the API key that asked."""
    model: ServedModel
    router: Router
    """The one that its prompt was made for, whatever the server has by the time it is answered."""
    question: str
    messages: Sequence[Mapping[str, str]]
    """The prompt; empty for a candidate alone."""
    prompt_ids: Sequence[int]
    """[prompt_length], the same encoded."""
    policy: Policy
    max_tokens: int | None
    stop: Sequence[str]
    user: str = ""
    """Whoever asks through the client, as it names them."""


@dataclass(frozen=True)
class Outcome:
    """A request that was answered."""

    trajectory: Trajectory
    format_error: str
    """The broken rule; "" if none is broken, or if the policy wrote nothing."""
    content: str
    """The answer, up to the first of the request's stop strings; "" if there is none."""
    reasoning: str
    routes: Sequence[Route]
    prompt_tokens: int
    completion_tokens: int
    """Those that the policy sampled; for a candidate alone, its own."""
    seconds: float

    @property
    def status(self) -> Status:
        return self.trajectory.status

    @property
    def finish_reason(self) -> str:
        """In OpenAI's words: `length` if a budget of tokens or searches ended it."""
        return "length" if self.status in (Status.LENGTH, Status.MAX_TURNS) else "stop"

    @property
    def raw_cost(self) -> float:
        return sum((route.raw_cost for route in self.routes), 0.0)

    @property
    def spend_usd(self) -> float:
        return sum((route.spend_usd for route in self.routes), 0.0)


class Answering:
    """Answers requests with one router.

    Args:
        more: methods beyond those that need no scores.

    Attributes:
        router: answers requests from now on; those that were prepared before keep theirs.
        models: what may be asked.
        places: how many are worked on, and wait.
        spend: what each key has spent today.

    Raises:
        ConfigError: as `ServedModels`, or the options have a split that is none.
    """

    def __init__(self, router: Router, options: ServingOptions, more: MoreMethods = NO_MORE) -> None:
        self._options, self._more = options, more
        self._split = read_split(options.split) if options.split else None
        self.change_router(router)
        self.places = Places(options.max_concurrent, options.max_waiting)
        self.spend = DailySpend(options.spend_per_day_usd)
        self._failed_at: float | None = None

    def change_router(self, router: Router) -> None:
        """Answer with another one, which has the same policy.

        Raises:
            ConfigError: as `ServedModels`; nothing is changed.
        """
        self.models = ServedModels(router.settings, router.pool, more=self._more, split=self._split)
        self.router = router

    @property
    def is_alive(self) -> bool:
        """False once the policy's engine is dead."""
        policy = self.router.policy
        return not isinstance(policy, MortalPolicy) or policy.is_alive

    @property
    def is_ready(self) -> bool:
        """False for some seconds after the policy's back end failed, unless it has answered since."""
        has_recovered = self._failed_at is None or time.monotonic() - self._failed_at > _RECOVERY_S
        return has_recovered and self.is_alive

    def prepare(self, asked: ChatRequest, key: str) -> Prepared:
        """Check everything that can be checked without asking anybody.

        Raises:
            ApiError: 400, 402, 404 or 429.
        """
        router, id = self.router, f"chatcmpl-{uuid4().hex}"
        model = self.models.find(asked.model, who=_who(asked, key, id))
        question = safe_question(asked.messages, router.tokenizer)
        messages: list[dict[str, str]] = []
        prompt_ids: list[int] = []
        if model.samples:
            weight = model.cost_weight
            deal, template = router.settings.deal(), router.settings.template
            messages = render_messages(template, router.pool, question, deal=deal, cost_weight=weight)
            prompt_ids = encode_prompt(router.tokenizer, messages)
            self._check_length(len(prompt_ids))
        policy = self._policy(asked, model)
        try:
            self.spend.check(key)
            router.routes.ledger.check_budget()
        except BudgetSpent as fault:
            raise payment_required(fault) from None
        self.places.check()
        return Prepared(
            id=id,
            key=key,
            model=model,
            router=router,
            question=question,
            messages=messages,
            prompt_ids=prompt_ids,
            policy=policy,
            max_tokens=asked.max_completion_tokens,
            stop=asked.stop,
            user=asked.end_user,
        )

    async def answer(self, asked: Prepared, tell: Listener) -> Outcome:
        """Answer a request. Cancelling it cancels whatever it waits for.

        Args:
            tell: hears of thoughts and routes as they come.

        Raises:
            ApiError: 402, 429, 500, 502 or 504.
        """
        try:
            async with asyncio.timeout(self._options.request_timeout_s), self.places.place():
                started = time.monotonic()
                outcome = await self._answer(asked, tell, started)
        except TimeoutError:
            message = f"no answer within {self._options.request_timeout_s:g} s"
            raise ApiError(HTTPStatus.GATEWAY_TIMEOUT, message, code="timeout") from None
        except BudgetSpent as fault:
            raise payment_required(fault) from None
        except ConfigError as fault:
            logger.error("%s: %s", asked.id, fault)
            message = f"the server is not set up for this; its log says why, under {asked.id}"
            raise ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, message, code="misconfigured") from None
        except RuntimeError as fault:
            self._failed_at = time.monotonic()
            logger.error("%s: %s", asked.id, fault)
            message = f"the policy failed; the server's log says why, under {asked.id}"
            raise ApiError(HTTPStatus.BAD_GATEWAY, message, code="policy_failed") from None
        except ApiError:
            raise
        except Exception:  # a client must learn of it, in a stream that has begun too
            logger.exception("%s", asked.id)
            message = f"the server failed; its log says why, under {asked.id}"
            raise ApiError(HTTPStatus.INTERNAL_SERVER_ERROR, message, code="server_failed") from None
        self._failed_at = None
        return outcome

    # ------------------------------------------------------------ checks

    def _check_length(self, prompt_tokens: int) -> None:
        limits = self.router.limits
        most = limits.max_prompt_length
        if limits.max_model_len is not None:
            most = min(most, limits.max_model_len - 1)
        if prompt_tokens > most:
            message = f"the conversation makes a prompt of {prompt_tokens} tokens, and {most} fit: shorten it"
            raise refused("messages", message, "context_length_exceeded")

    def _policy(self, asked: ChatRequest, model: ServedModel) -> Policy:
        """The router's policy, sampling as the request says."""
        wished = {name: getattr(asked, name) for name in ("temperature", "top_p", "seed")}
        wished = {name: value for name, value in wished.items() if value is not None}
        if not model.samples:
            if asked.max_completion_tokens is not None:
                wished["max_tokens"] = asked.max_completion_tokens
            if wished:
                raise _not_for(next(iter(wished)), f"{model.name} is asked as the pool file says")
            return self.router.policy
        if not wished:
            return self.router.policy
        own = self.router.settings.sampling
        if not isinstance(self.router.policy, AdjustablePolicy):
            same = {name: value for name, value in wished.items() if value == getattr(own, name)}
            if same != wished:
                name = next(name for name in wished if name not in same)
                raise _not_for(name, f"this server samples with {name} {getattr(own, name):g} only")
            return self.router.policy
        temperature = own.temperature if asked.temperature is None else asked.temperature
        top_p = own.top_p if asked.top_p is None else asked.top_p
        if asked.seed is not None:
            return self.router.policy.with_sampling(
                RepeatableSampling(temperature=temperature, top_p=top_p, seed=asked.seed)
            )
        return self.router.policy.with_sampling(Sampling(temperature=temperature, top_p=top_p, seed=own.seed))

    # ------------------------------------------------------------ answers

    async def _answer(self, asked: Prepared, tell: Listener, started: float) -> Outcome:
        router = asked.router
        policy = LivePolicy(
            asked.policy, max_tokens=asked.max_tokens, reserve=min(router.limits.last_turn_reserve, _most(asked))
        )
        routes = LiveRoutes(router.routes, policy=policy, spend=self.spend, key=asked.key, tell=tell)
        turns = LiveTurns(policy, router.tokenizer, tell)
        try:
            trajectory = await self._trajectory(asked, policy, routes, turns)
        except TokensSpent:
            trajectory = Trajectory([], turns.turns, Status.LENGTH)
        if trajectory.status is Status.ABORTED:
            raise RuntimeError("the engine gave the trajectory up")
        prompt_tokens, completion_tokens = len(asked.prompt_ids), policy.tokens
        reasoning = reasoning_of(trajectory)
        if asked.model.candidate is not None:
            (route,) = routes.ended
            reasoning, prompt_tokens, completion_tokens = "", route.prompt_tokens, route.completion_tokens
            if route.failed:
                message = f"{route.candidate} gave no reply: {route.error}"
                raise ApiError(HTTPStatus.BAD_GATEWAY, message, code="candidate_failed")
        elif not turns.turns and reasoning:  # a method that tells of no turn before its end
            tell(Wrote(reasoning))
        shown = offered(router.pool, router.settings.deal())
        return Outcome(
            trajectory=trajectory,
            format_error=check_format(trajectory, shown) if policy.tokens else "",
            content=_before_stop(trajectory.answer or "", asked.stop),
            reasoning=reasoning,
            routes=routes.ended,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            seconds=time.monotonic() - started,
        )

    async def _trajectory(
        self, asked: Prepared, policy: LivePolicy, routes: LiveRoutes, turns: LiveTurns
    ) -> Trajectory:
        router, model, deal = asked.router, asked.model, asked.router.settings.deal()
        if model.candidate is not None:
            route = await routes.route(model.candidate, asked.question, trajectory_id=asked.id)
            return trajectory_of([route], None if route.failed else route.reply)
        assert model.contender is not None
        if model.name == ROUTER:
            return await router.roll_out(
                asked.messages,
                prompt_ids=asked.prompt_ids,
                request_id=asked.id,
                deal=deal,
                watch=turns.watch,
                policy=policy,
                routes=routes,
            )
        policy.told = None  # what is written for the policy would be missing between its own tokens
        seat = Seat(
            router.seen_through(policy=policy, routes=routes),
            model.cost_weight,
            router.settings.options.seed,
            fitted=self._more.fitted.get(model.contender.fits or ""),
            candidates=self._more.candidates,
        )
        posed = PosedQuestion(asked.question, asked.messages, deal, model.cost_weight)
        return await model.contender.make(seat).answer(posed, request_id=asked.id)


def _who(asked: ChatRequest, key: str, id: str) -> str:
    """Who falls to one arm of a split: the user of a key, else the key, else, where nobody is told from others, the
    request alone."""
    return id if key == NO_KEYS and not asked.end_user else f"{key}/{asked.end_user}"


def _most(asked: Prepared) -> int:
    return asked.max_tokens or 1


def _not_for(name: str, why: str) -> ApiError:
    return refused(name, f"unsupported parameter {name!r}: {why}; leave it out", "unsupported_parameter")


def _before_stop(text: str, stops: Sequence[str]) -> str:
    """The text up to the first of the strings, which is left out."""
    return text[: min((text.index(stop) for stop in stops if stop in text), default=len(text))]
