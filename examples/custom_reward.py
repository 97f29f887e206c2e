"""A reward term of your own: `brevity`, which takes a thousandth off for each token that the policy writes.

    python examples/custom_reward.py

scores two answers to one question, by the paper's reward and with `brevity`. To train on it:

    bash train.sh +router_r1.reward.terms.brevity=examples/custom_reward.py:brevity
"""

from __future__ import annotations

from router_r1.pool.schema import RoutingPool
from router_r1.protocol import Status, Trajectory, Turn, parse_turn
from router_r1.rewards.rubric import Reward, RewardConfig, Rubric
from router_r1.rewards.terms import PAPERS

GOLDEN_ANSWERS = ["Paris"]
POOL = RoutingPool.model_validate(
    {
        "name": "example",
        "candidates": [
            {
                "name": "A-7B",
                "model": "a-7b",
                "base_url": "http://127.0.0.1:8000/v1",
                "price": {"input": 0.1, "output": 0.2},
                "descriptor": "knows capitals",
            }
        ],
    }
)


def brevity(trajectory: Trajectory) -> float:
    """Minus the number of the policy's tokens / 1000. A term asks by name for what it needs; here, the trajectory."""
    return -sum(trajectory.response_mask) / 1000


def answered(thought: str) -> Trajectory:
    """A trajectory of one turn, as the rollout loop leaves it; a word stands for a token here."""
    text = f"<think> {thought} </think><answer> Paris </answer>"
    turn = Turn(token_ids=list(range(len(text.split()))), logprobs=[], text=text, action=parse_turn(text))
    return Trajectory(prompt_ids=[0], turns=[turn], status=Status.ANSWERED)


def by_terms(reward: Reward) -> str:
    return f"reward {reward.reward:.3f} = " + " + ".join(f"{name} {value:.3f}" for name, value in reward.terms.items())


def main() -> None:
    config = RewardConfig(cost_coe=0.2)
    rubrics = {
        "the paper's reward": Rubric.from_config(config),
        "with brevity": Rubric({**PAPERS, "brevity": brevity}, config=config),
    }
    trajectories = {"short": answered("I know it."), "long": answered("Let me think about it once more. " * 20)}
    for title, rubric in rubrics.items():
        print(title)
        for name, trajectory in trajectories.items():
            print(f"  {name:<6}{by_terms(rubric.score(trajectory, GOLDEN_ANSWERS, pool=POOL, cost=0.5))}")


if __name__ == "__main__":
    main()
