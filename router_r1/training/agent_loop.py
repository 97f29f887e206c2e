"""veRL's agent loop around the one rollout loop: engine in, trajectory and reward out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any
from uuid import uuid4

from omegaconf import DictConfig, OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput
from verl.utils.profiler import simple_timer
from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient, LLMServerClient

from router_r1.datasets import kind_of_question
from router_r1.errors import validated
from router_r1.pool import Deal, RoutingPool, offered
from router_r1.protocol import Trajectory
from router_r1.rewards.rubric import RewardConfig, Rubric
from router_r1.rollout.exploration import ExplorationConfig, ExploringPolicy, dealt_candidate
from router_r1.rollout.loop import RolloutLimits, run_trajectory
from router_r1.rollout.policy import Finish, Generation
from router_r1.training.engine_client import quickest
from router_r1.training.services import connect

INTERRUPTED_S = 1.0
"""How long to wait before a request that a weight update broke off is made again; as veRL does."""


class EnginePolicy:
    """veRL's rollout server as a `rollout.policy.Policy`, for one trajectory.

    Keeps what the trainer wants to know of the generations: the model versions that made them, and preemptions.
    """

    def __init__(self, server: LLMServerClient, sampling_params: Mapping[str, Any]) -> None:
        self._server = server
        self._sampling_params = sampling_params
        self.model_versions: set[int] = set()
        self.preemptions = 0

    async def generate(
        self, token_ids: Sequence[int], *, max_tokens: int, stop: Sequence[str], request_id: str
    ) -> Generation:
        generation, _ = await self._request(token_ids, request_id, max_tokens=max_tokens, stop=list(stop))
        return generation

    async def go_on(
        self,
        token_ids: Sequence[int],
        written: Sequence[int],
        *,
        max_tokens: int,
        stop: Sequence[str],
        request_id: str,
    ) -> Generation:
        """One request: an engine can tell the log-probs of its prompt.

        vLLM could also be kept to some tokens (`allowed_token_ids`), but where requests change places in its batch that
        restriction befalls another one (vLLM 0.28: `InputBatch.swap_states` exchanges rows that are views).

        veRL's asynchronous client goes on by itself where a weight update has interrupted a request, and loses the
        log-probs of the prompt on the way (veRL 0.9.1, `FullyAsyncLLMServerClient.generate`): such a request is made
        without it, and gone on with here.

        Raises:
            RuntimeError: the engine has told none, and did not break the request off either.
        """
        prompt, goes_on = [*token_ids, *written], isinstance(self._server, FullyAsyncLLMServerClient)
        while True:
            rest, told = await self._request(
                prompt, request_id, once=goes_on, max_tokens=max_tokens, stop=list(stop), prompt_logprobs=0
            )
            # veRL gives them from the second token on, and adds one for the token that is still to come.
            logprobs = [logprob for (logprob,) in told[-len(written) - 1 : -1]]
            is_told = len(logprobs) == len(written)
            if is_told or rest.finish != "abort":
                break
            if not goes_on:
                return Generation([], "abort", [])
            await asyncio.sleep(INTERRUPTED_S)
        if not is_told:
            raise RuntimeError("the engine tells no log-probs of a prompt: set router_r1.exploration.dealt=0")
        begun = Generation([*written, *rest.token_ids], rest.finish, [*logprobs, *rest.logprobs])
        if not (goes_on and rest.finish == "abort"):
            return begun
        left = max_tokens - len(rest.token_ids)
        if not left:
            return replace(begun, finish="length")
        end = await self.generate([*token_ids, *begun.token_ids], max_tokens=left, stop=stop, request_id=request_id)
        return Generation([*begun.token_ids, *end.token_ids], end.finish, [*begun.logprobs, *end.logprobs])

    async def _request(
        self, token_ids: Sequence[int], request_id: str, *, max_tokens: int, once: bool = False, **params: Any
    ) -> tuple[Generation, list[list[float]]]:
        """What the engine wrote, and the log-probs of the prompt if it was asked for them.

        Args:
            once: without what veRL's asynchronous client does to go on after an interruption.
        """
        ask = partial(LLMServerClient.generate, self._server) if once else self._server.generate
        output = await ask(
            request_id=request_id,
            prompt_ids=list(token_ids),
            sampling_params={
                **self._sampling_params,
                **params,
                "max_tokens": max_tokens,
                "include_stop_str_in_output": True,
                "skip_special_tokens": False,  # the engine looks for stop strings in the text that the loop reads
            },
        )
        # A generation that a weight update interrupted goes on with the new weights: it has a first and a last version.
        told = (output.extra_fields.get(f"{which}global_steps") for which in ("", "min_", "max_"))
        self.model_versions |= {version for version in told if version is not None}
        self.preemptions += max(output.num_preempted or 0, 0)
        # veRL tells only "completed" from "aborted"; a completion that fills its budget was cut, unless the loop finds
        # a tag.
        finish: Finish = "length" if len(output.token_ids) >= max_tokens else "stop"
        if output.stop_reason == "aborted":
            finish = "abort"
        generation = Generation(list(output.token_ids), finish, list(output.log_probs or []))
        return generation, output.extra_fields.get("prompt_logprobs") or []


def whole_outputs(config: DictConfig) -> dict[str, Any]:
    """Sampling parameters with which vLLM reports a request once, when it has ended.

    veRL's server reads the engine's stream to its end and keeps the last item, so that one item per token is made for
    nothing. A trainer that interrupts requests waits for the first item of each, and so needs the stream.
    """
    if config.trainer.v1.trainer_mode != "sync" or config.actor_rollout_ref.rollout.name != "vllm":
        return {}
    from vllm.sampling_params import RequestOutputKind

    return {"output_kind": RequestOutputKind.FINAL_ONLY}


@lru_cache(maxsize=1)
def process_rubric(settings: str) -> Rubric:
    """The rubric of `router_r1.reward` (as JSON), made once per worker process and not once per trajectory."""
    return Rubric.from_config(validated(RewardConfig, "router_r1.reward", json.loads(settings)))


class RouterAgentLoop(AgentLoopBase):
    """Registered as `router` in `verl/agent_loop.yaml`; veRL makes one per trajectory."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = self.config.router_r1
        self._limits = RolloutLimits(
            **settings.rollout,
            max_prompt_length=self.rollout_config.prompt_length,
            max_response_length=self.rollout_config.response_length,
        )
        self._rubric = process_rubric(json.dumps(OmegaConf.to_container(settings.reward)))
        self._exploration = ExplorationConfig(**settings.exploration)

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Roll out one row of the data set and score it.

        A row whose `extra_info.split` is not "train" never enters the cost window.
        """
        services = await self.loop.run_in_executor(None, connect)
        engine = await self.loop.run_in_executor(None, quickest, self.server_manager)
        timing: dict[str, float] = {}
        policy = EnginePolicy(engine, {**sampling_params, **whole_outputs(self.config)})
        extra = row["extra_info"]
        deal = Deal.from_rows(extra.get("candidates"), f"{extra['split']} row {extra['index']}")
        is_training = extra["split"] == "train"
        shown = offered(services.pool, deal)
        exploring = self._exploring(policy, shown, row) if is_training and self._exploration.is_on else None
        prompt_ids = await self.loop.run_in_executor(
            None, self.continuous_token_builder.build_initial_tokens, list(row["raw_prompt"])
        )
        with simple_timer("rollout", timing):
            trajectory = await run_trajectory(
                prompt_ids,
                policy=exploring or policy,
                dispatcher=services,
                pool=services.pool,
                tokenizer=self.tokenizer,
                limits=self._limits,
                request_id=uuid4().hex,
                deal=deal,
            )
        with simple_timer("compute_score", timing):
            cost = await services.cost(trajectory, train=is_training)
            golden_answers = list(row["reward_model"]["ground_truth"]["target"])
            cost_weight = extra.get("cost_weight")  # none in files of an earlier version
            reward = self._rubric.score(
                trajectory, golden_answers, pool=services.pool, cost=cost, deal=deal, cost_weight=cost_weight
            )
            choice = exploring.choice if exploring else None
            bonus = choice.bonus(self._exploration.tau_at(self._progress(row))) if choice else 0.0
        metrics = reward.as_metrics()
        if self._exploration.is_on:  # the same names for every trajectory of a run
            metrics |= {"dealt": float(choice is not None and choice.is_dealt), "exploration_bonus": bonus}
        facts = {
            "kind": kind_of_question(row["ability"], row["data_source"]),
            "question_index": int(extra["index"]),
            "cost_weight": cost_weight if self._rubric.config.is_sampled else None,
        }
        return self._output(trajectory, facts, reward.reward + bonus, metrics, policy, timing)

    def _progress(self, row: Mapping[str, Any]) -> float:
        """Share of the run's steps that are done before the one that the row is of."""
        return max(int(row["global_steps"]) - 1, 0) / int(self.config.trainer.total_training_steps)

    def _exploring(self, policy: EnginePolicy, pool: RoutingPool, row: Mapping[str, Any]) -> ExploringPolicy:
        share = self._exploration.dealt_at(self._progress(row))
        return ExploringPolicy(
            policy,
            tokenizer=self.tokenizer,
            pool=pool,
            marker=self._exploration.marker,
            form=self._exploration.choice,
            dealt=dealt_candidate(pool, group=str(row["uid"]), place=int(row["session_id"]), share=share),
        )

    def _output(
        self,
        trajectory: Trajectory,
        facts: dict[str, Any],
        reward: float,
        reward_metrics: dict[str, float],
        policy: EnginePolicy,
        timing: dict[str, float],
    ) -> AgentLoopOutput:
        waiting = sum(r.latency_s for r in trajectory.routes)
        errors = [r.error for r in trajectory.routes if r.failed]
        return AgentLoopOutput(
            prompt_ids=trajectory.prompt_ids,
            response_ids=trajectory.response_ids,
            response_mask=trajectory.response_mask,
            response_logprobs=trajectory.response_logprobs or None,
            reward_score=reward,
            num_turns=len(trajectory.turns),
            metrics=AgentLoopMetrics(
                generate_sequences=timing["rollout"] - waiting,
                tool_calls=waiting,
                compute_score=timing["compute_score"],
                num_preempted=policy.preemptions,
            ),
            extra_fields={
                "reward_extra_info": reward_metrics,
                "min_global_steps": min(policy.model_versions, default=None),
                "max_global_steps": max(policy.model_versions, default=None),
                "route_error": errors[-1] if errors else "",
                **facts,
                "first_candidate": trajectory.routes[0].candidate if trajectory.routes else "",
                "turn_scores": [],
                "tool_rewards": [],
            },
        )
