"""The multi-turn loop: training, benchmark, single question and server all run this one, each with its own back end.

Invariants:

- a trajectory ends with a policy token and holds at most `max_response_length` tokens after its prompt;
- the ids of a turn are a prefix of what was sampled, unchanged, with one log-prob each or none at all;
- a route is dispatched, and so paid for, only if its observation and a last turn still fit;
- trajectories share nothing but the policy, the dispatcher and the tokenizer: none waits for another.

A fault of the engine or of the dispatcher propagates: it is neither a last turn nor an answer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_r1.errors import ConfigError
from router_r1.pool import Deal, RoutingPool, offered
from router_r1.prompts.observations import failed_route, invalid_search
from router_r1.protocol import (
    STOP_STRINGS,
    Answer,
    InvalidSearch,
    NoAction,
    Search,
    Status,
    Trajectory,
    Turn,
    parse_turn,
)
from router_r1.rollout.policy import Dispatcher, Generation, Policy
from router_r1.rollout.tokens import decode, encode_observation, min_observation_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# An observation with less text than this tells nothing that is worth a route's price.
_MIN_USEFUL_BODY = 16
_SHOWN_NAME = 60  # characters of an unknown name; a longer one would push the candidates out of the observation
_NO_ROOM = "the token budget leaves no room for an observation and a last turn"
_LAST_TURN = "no more routes are allowed"


class PromptTooLongError(ConfigError):
    """A prompt that does not fit its budget. It is never cut: the question may stand at its end."""


@dataclass(frozen=True, kw_only=True)
class RolloutLimits:
    """Budgets of one trajectory, in tokens unless said otherwise."""

    max_turns: int = 4
    """Searches, valid or not, that get an observation; one last turn follows."""
    max_turn_tokens: int = 1024
    """Policy tokens in one turn."""
    max_obs_length: int = 600
    """One observation, its tags included."""
    max_prompt_length: int = 4096
    """The prompt; a longer one is refused."""
    max_response_length: int | None = None
    """Everything after the prompt; None: enough for every turn and observation at full length."""
    max_model_len: int | None = None
    """Prompt and response together, where the engine has such a bound."""
    last_turn_reserve: int = 32
    """Kept free behind every observation, so that the policy can still answer after it."""

    def __post_init__(self) -> None:
        least = {"max_turns": 0, "last_turn_reserve": 1}
        for key, value in vars(self).items():
            if value is not None and value < least.get(key, 1):
                raise ConfigError("rollout limits", key, value, f"must be at least {least.get(key, 1)}")

    @property
    def response_budget(self) -> int:
        """Bound on the tokens after any prompt, before `max_model_len` is considered."""
        if self.max_response_length is not None:
            return self.max_response_length
        return (self.max_turns + 1) * self.max_turn_tokens + self.max_turns * self.max_obs_length

    def response_budget_after(self, prompt_length: int) -> int:
        """Bound on the tokens after a prompt of `prompt_length` tokens; below 1 if it fills the model's length."""
        if self.max_model_len is None:
            return self.response_budget
        return min(self.response_budget, self.max_model_len - prompt_length)


async def run_trajectory(
    prompt_ids: Sequence[int],
    *,
    policy: Policy,
    dispatcher: Dispatcher,
    pool: RoutingPool,
    tokenizer: PreTrainedTokenizerBase,
    limits: RolloutLimits,
    request_id: str,
    deal: Deal | None = None,
    watch: Callable[[Turn], None] | None = None,
) -> Trajectory:
    """Let the policy think, route and answer, until it has answered or a budget runs out.

    Args:
        prompt_ids: [prompt_length], see `tokens.encode_prompt`.
        policy: generates the turns.
        dispatcher: asks the candidates.
        pool: the dispatcher's candidates.
        tokenizer: the policy's; it decodes turns and encodes observations.
        limits: budgets of this trajectory.
        request_id: unique among the trajectories in flight; all turns are generated under it.
        deal: the candidates that the prompt offers, by the names it has for them; None: all, by their own names.
        watch: told of every turn as soon as it is generated, and once more when its observation is there.

    Returns:
        The trajectory. It has no policy token at all only if the engine returned none for the first turn. If the engine
        returns none for a later turn, the observation before it is dropped from the context (its route, paid for, stays
        on record).

    Raises:
        PromptTooLongError: before anything is generated.
        ConfigError: `max_obs_length` has no room for an observation's tags, the pool lacks a candidate of the deal, or
            a candidate's API key is missing.
        BudgetSpent: a route was to be dispatched, and the run's budget is spent.
        RuntimeError: the back end broke its contract (more tokens than asked for, log-probs that do not match the ids).
    """
    budget = _check_budget(len(prompt_ids), tokenizer, limits, request_id)
    dealt = offered(pool, deal)
    trajectory = Trajectory(list(prompt_ids), [], Status.ABORTED)
    context = list(prompt_ids)
    while True:
        left = len(prompt_ids) + budget - len(context)
        max_tokens = min(limits.max_turn_tokens, left)
        generation = await policy.generate(context, max_tokens=max_tokens, stop=STOP_STRINGS, request_id=request_id)
        _check_generation(generation, max_tokens, request_id)
        if not generation.token_ids:
            _drop_last_observation(trajectory)
            trajectory.status = _status_without_action(generation)
            return trajectory
        turn = _read_turn(generation, tokenizer)
        trajectory.turns.append(turn)
        if watch is not None:
            watch(turn)
        context += turn.token_ids
        room = min(limits.max_obs_length, left - len(turn.token_ids) - _reserve(limits))
        status = _end_of(trajectory, generation, room, limits, tokenizer)
        if status is not None:
            trajectory.status = status
            return trajectory
        body = await _act(turn, dispatcher, dealt, deal, request_id)
        turn.observation_ids, turn.observation = encode_observation(tokenizer, body, room)
        context += turn.observation_ids
        if watch is not None:
            watch(turn)


def _check_budget(
    prompt_length: int, tokenizer: PreTrainedTokenizerBase, limits: RolloutLimits, request_id: str
) -> int:
    """Tokens that may follow the prompt; raises if prompt or limits are impossible."""
    source, tokens = f"prompt of {request_id}", f"{prompt_length} tokens"
    if prompt_length > limits.max_prompt_length:
        remedy = f"longer than max_prompt_length = {limits.max_prompt_length}; raise that or shorten the descriptors"
        raise PromptTooLongError(source, "length", tokens, remedy)
    budget = limits.response_budget_after(prompt_length)
    if budget < 1:
        raise PromptTooLongError(source, "length", tokens, f"fills max_model_len = {limits.max_model_len}")
    least = min_observation_tokens(tokenizer)
    if limits.max_turns and limits.max_obs_length < least:
        raise ConfigError(
            "rollout limits", "max_obs_length", limits.max_obs_length, f"must be at least {least} with this tokenizer"
        )
    return budget


def _check_generation(generation: Generation, max_tokens: int, request_id: str) -> None:
    if not isinstance(generation, Generation):
        kind = type(generation).__qualname__  # type: ignore[unreachable]
        raise RuntimeError(f"{request_id}: the policy returned an object of the class {kind}; must be a Generation")
    num_tokens, num_logprobs = len(generation.token_ids), len(generation.logprobs)
    if num_logprobs not in (0, num_tokens):
        raise RuntimeError(f"{request_id}: the policy returned {num_tokens} tokens but {num_logprobs} log-probs")
    if num_tokens > max_tokens:
        raise RuntimeError(f"{request_id}: the policy returned {num_tokens} tokens where {max_tokens} were allowed")


def _read_turn(generation: Generation, tokenizer: PreTrainedTokenizerBase) -> Turn:
    """The turn up to its first stop string.

    Tokens sampled behind it (an engine may check several at a time) are dropped. The token that completes it is kept
    whole, but the characters it carries behind the stop string are not part of the turn's text.
    """
    ids, logprobs = generation.token_ids, generation.logprobs
    text = decode(tokenizer, ids)
    end = _end_of_stop(text)
    if end is not None:
        text = text[:end]
        if _is_stopped(tokenizer, ids[:-1]):  # else the last token completed it, as it mostly does
            lengths = range(1, len(ids) + 1)
            count = 1 + bisect_left(lengths, True, key=lambda n: _is_stopped(tokenizer, ids[:n]))
            ids, logprobs = ids[:count], logprobs[:count]
    return Turn(token_ids=list(ids), logprobs=list(logprobs), text=text, action=parse_turn(text))


def _is_stopped(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> bool:
    return _end_of_stop(decode(tokenizer, ids)) is not None


def _end_of_stop(text: str) -> int | None:
    """Where the first stop string of `text` ends."""
    return min((text.index(stop) + len(stop) for stop in STOP_STRINGS if stop in text), default=None)


def _reserve(limits: RolloutLimits) -> int:
    return min(limits.last_turn_reserve, limits.max_turn_tokens)


def _end_of(
    trajectory: Trajectory,
    generation: Generation,
    room: int,
    limits: RolloutLimits,
    tokenizer: PreTrainedTokenizerBase,
) -> Status | None:
    """The status if the last turn ended the trajectory; None if its search is to be answered by `room` tokens."""
    turn = trajectory.turns[-1]
    if generation.finish == "abort":
        return Status.ABORTED
    if isinstance(turn.action, Answer):
        return Status.ANSWERED
    if isinstance(turn.action, NoAction):
        return _status_without_action(generation)
    if len(trajectory.turns) > limits.max_turns:
        turn.invalid_reason = _LAST_TURN
        return Status.MAX_TURNS
    if room < min(min_observation_tokens(tokenizer, _MIN_USEFUL_BODY), limits.max_obs_length):
        turn.invalid_reason = _NO_ROOM
        return Status.LENGTH
    return None


def _status_without_action(generation: Generation) -> Status:
    return {"stop": Status.NO_ACTION, "length": Status.LENGTH, "abort": Status.ABORTED}[generation.finish]


async def _act(turn: Turn, dispatcher: Dispatcher, pool: RoutingPool, deal: Deal | None, request_id: str) -> str:
    """Carry out the turn's search. Returns the body of its observation.

    Here, and nowhere else, a name that the policy was shown becomes the pool's own.
    """
    match turn.action:
        case Search(name, query):
            candidate = pool.resolve(name)
            if candidate is not None:
                own = candidate.name if deal is None else deal.candidate(candidate.name)
                turn.route = await dispatcher.route(own, query, trajectory_id=request_id)
                return failed_route(candidate.name) if turn.route.failed else turn.route.reply
            turn.invalid_reason = f"there is no candidate named {name[:_SHOWN_NAME]!r}"
        case InvalidSearch(reason):
            turn.invalid_reason = reason
    return invalid_search(turn.invalid_reason, pool.names)


def _drop_last_observation(trajectory: Trajectory) -> None:
    """Drop the observation that nothing followed: a reward on a masked token would be lost in GAE."""
    if trajectory.turns:
        trajectory.turns[-1].observation_ids, trajectory.turns[-1].observation = [], ""
