"""A method of your own: a cascade, which asks a cheap candidate first, and an expensive one only if that does not know.

    router-r1 ask --method examples/custom_method.py:Cascade --pool sim "Who invented Bosen?"
    router-r1 bench --method examples/custom_method.py:Cascade --pool sim --template tiny --data FILE

FILE is a question file: `router-r1 sim data --out DIR` writes one for the simulated pool. Without the commands,
`python examples/custom_method.py` asks a question that the cheap candidate is not sure of.
"""

from __future__ import annotations

import re
import sys

from router_r1 import RoutingPool, Trajectory, trajectory_of
from router_r1.cli import main
from router_r1.rollout.policy import Dispatcher

UNSURE = re.compile(r"\b(i believe|i think|perhaps|maybe|not sure|unsure|do not know|don't know|cannot|can't)\b", re.I)
ANSWER = re.compile(r"\b(?:answer is|it is|i believe it is) ([^.]+?)(?: who\b.*)?[.]", re.I)
NAME = re.compile(r"(?:[A-Z][\w-]+ ?)+")


class Cascade:
    """The cheapest candidate, and the most expensive one if that one fails, does not know or is not sure.

    Args:
        pool: the candidates.
        routes: asks them.
    """

    def __init__(self, pool: RoutingPool, routes: Dispatcher) -> None:
        by_price = sorted(pool.candidates, key=lambda candidate: candidate.price.output)
        self.cheap, self.expensive = by_price[0].name, by_price[-1].name
        self.routes = routes

    async def answer(self, question: str, *, request_id: str) -> Trajectory:
        asked = [await self.routes.route(self.cheap, question, trajectory_id=request_id)]
        if asked[0].failed or UNSURE.search(asked[0].reply):
            asked.append(await self.routes.route(self.expensive, question, trajectory_id=request_id))
        replies = [route.reply for route in asked if not route.failed]
        return trajectory_of(asked, short_answer(replies[-1]) if replies else None)


def short_answer(reply: str) -> str:
    """What a sentence says is the answer: what exact match is measured on."""
    found = ANSWER.search(reply)
    if found:
        return found[1].strip()
    name = NAME.match(reply)
    return name[0].strip() if name else reply.strip()


if __name__ == "__main__":
    sys.exit(main(["ask", "--method", f"{__file__}:Cascade", "--pool", "sim", "Who sang Bosen?"]))
