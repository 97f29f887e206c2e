"""What the first turn says that a router writes for the policy, and that of a policy which only chooses or answers."""

from __future__ import annotations

from router_r1.pool import Candidate
from router_r1.prompts import Template, with_question_mark
from router_r1.protocol import ANSWER, SEARCH_OPENING, THINK, neutralise, render_search, render_think
from router_r1.rollout.written_turns import Beginning

ANSWER_AT_ONCE = Beginning(f"<{THINK}> </{THINK}>\n<{ANSWER}>")
THINK_THEN_ANSWER = Beginning(f"\n<{ANSWER}>", after_thinking=True)
THINK_THEN_SEARCH = Beginning(f"\n{SEARCH_OPENING}", after_thinking=True)


def asks_whole_question(template: Template, candidate: Candidate, question: str, cost_weight: float) -> Beginning:
    """A whole first turn: a thought, and a search with the whole question, in the form that the policy knows.

    Args:
        template: that of the prompt: a policy trained on it has seen such a thought.
        candidate: as the prompt shows it.
        cost_weight: as the prompt tells it.
    """
    query = neutralise(" ".join(with_question_mark(question).split()))
    thought = render_think(_thought(template, candidate, cost_weight))
    return Beginning(f"{thought}\n{render_search(candidate.name, query)}")


def _thought(template: Template, candidate: Candidate, cost_weight: float) -> str:
    if template.name != "tiny":
        return f"{candidate.name} is the one to ask."
    # The tiny policy goes on rightly only from thoughts like those of its warm start.
    from router_r1.sim.tiny_policy.demonstrations import OPEN, choice

    return f"{OPEN} {choice(candidate, cost_weight)}"
