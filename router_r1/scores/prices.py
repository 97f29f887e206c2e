"""What an answer cost that somebody else recorded: list prices, and lengths that are counted, estimated or assumed.

Prices are given as `NAME=INPUT/OUTPUT`, or as files: a pool (YAML), LLMRouter's candidates (JSON with `input_price` and
`output_price`) or RouterArena's (JSON with `input_token_price_per_million` and `output_token_price_per_million`); all
in USD per 1M tokens. Names are compared as those of a pool are (`pool.names`).

A length is, in this order, what was counted, what the words give (one token for every four characters, rounded up), or
what is assumed: then nothing but prices tells candidates apart, and no count is written down.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router_r1.errors import ConfigError
from router_r1.pool import NO_ADDRESS, Price, load_pool
from router_r1.pool.names import canonical
from router_r1.pool.pricing import raw_cost_at, spend_at
from router_r1.project_files import pool_file
from router_r1.routing.replies import estimate_tokens

REPLY_TOKENS = 256
"""Assumed length of a reply of which nothing is known."""

_JSON_KEYS = (
    ("input_price", "output_price"),
    ("input_token_price_per_million", "output_token_price_per_million"),
)
"""LLMRouter's and RouterArena's."""

_COUNTED = "tokens were counted by whoever recorded the scores"
_ESTIMATED = "where tokens were not counted, one stands for every four characters of the question or of the reply"
_PROMPT = "the prompt is the question alone, at one token for every four characters"


class Prices:
    """USD per 1M tokens, by candidate.

    Args:
        written: `NAME=INPUT/OUTPUT`, or files; of a candidate that is named twice, the last counts.

    Raises:
        ConfigError: a file that cannot be read, or a price that is no number of 0 or more.
    """

    def __init__(self, written: Sequence[str]) -> None:
        self._prices: dict[str, Price] = {}
        for one in written:
            name, is_pair, price = one.rpartition("=")
            if is_pair and not Path(one).exists():
                self._prices[canonical(name)] = _pair(one, price)
            elif one.endswith(".json"):
                self._read_json(Path(one))
            else:
                pool = load_pool(pool_file(one), base_url=NO_ADDRESS)
                for candidate in pool.candidates:
                    self._prices.update({canonical(known): candidate.price for known in candidate.names})

    @classmethod
    def of_candidates(cls, prices: Mapping[str, Price]) -> Prices:
        """Candidate -> price, as a pool has them."""
        found = cls(())
        found._prices.update({canonical(name): price for name, price in prices.items()})
        return found

    def _read_json(self, file: Path) -> None:
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as fault:
            raise ConfigError(file, "", None, f"cannot be read as JSON: {fault}; give prices of candidates") from None
        if not isinstance(entries, dict):
            raise ConfigError(file, "", None, "must be an object: candidate -> its prices")
        for name, entry in entries.items():
            keys = next((keys for keys in _JSON_KEYS if isinstance(entry, dict) and set(keys) <= set(entry)), None)
            if keys is None:
                known = ", or ".join(" and ".join(keys) for keys in _JSON_KEYS)
                raise ConfigError(file, name, None, f"has no price; give {known} (USD per 1M tokens)")
            self._prices[canonical(name)] = _price(file, name, *(entry[key] for key in keys))

    def of(self, candidate: str, place: object) -> Price:
        """A candidate's price.

        Args:
            place: file and row that name it, for error texts.

        Raises:
            ConfigError: none was given.
        """
        price = self._prices.get(canonical(candidate))
        if price is None:
            remedy = f"has no price; give --prices FILE, or --prices '{candidate}=INPUT/OUTPUT' (USD per 1M tokens)"
            raise ConfigError(place, "candidate", candidate, remedy)
        return price


def _pair(written: str, price: str) -> Price:
    parts = price.split("/")
    if len(parts) != 2:
        raise ConfigError(
            "command line", "--prices", written, "must be NAME=INPUT/OUTPUT (USD per 1M tokens), or a file"
        )
    return _price("command line", "--prices", *parts)


def _price(source: object, key: str, *written: Any) -> Price:
    try:
        amounts = [float(amount) for amount in written]
    except (TypeError, ValueError):
        amounts = [math.nan]
    if not all(0 <= amount < math.inf for amount in amounts):
        shown = "/".join(map(str, written))
        raise ConfigError(source, key, shown, "must be two numbers of 0 or more (USD per 1M tokens)")
    return Price(input=amounts[0], output=amounts[1])


@dataclass(frozen=True)
class Cost:
    """Of one answer."""

    prompt_tokens: int | None
    completion_tokens: int | None
    """None where the length was assumed."""
    raw_cost: float
    spend_usd: float

    def as_columns(self) -> dict[str, Any]:
        return vars(self)


@dataclass(frozen=True)
class Pricing:
    """Puts a cost on recorded answers, and remembers by which rules."""

    prices: Prices
    reply_tokens: int = REPLY_TOKENS
    """Assumed length of a reply of which nothing is known."""
    assumptions: dict[str, None] = field(default_factory=dict)
    """The rules that were used, each once, in order."""
    used: dict[str, Price] = field(default_factory=dict)
    """Candidate -> price, of those that were asked for."""

    def cost(
        self,
        place: object,
        candidate: str,
        question: str,
        *,
        reply: str | None = None,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
    ) -> Cost:
        """What an answer cost.

        Args:
            place: file and row, for error texts.
            prompt_tokens, completion_tokens: as they were counted; None where they were not.

        Raises:
            ConfigError: the candidate has no price.
        """
        price = self.used.get(candidate)
        if price is None:
            price = self.used[candidate] = self.prices.of(candidate, place)
        if prompt_tokens is None:
            self.assume(_PROMPT)
            prompt_tokens = estimate_tokens(question)
        known: int | None = completion_tokens
        if known is not None:
            self.assume(_COUNTED)
        elif reply is not None:
            self.assume(_ESTIMATED)
            known = estimate_tokens(reply)
        else:
            self.assume(f"a reply of which nothing is known has {self.reply_tokens} tokens")
        length = self.reply_tokens if known is None else known
        return Cost(prompt_tokens, known, raw_cost_at(price, length), spend_at(price, prompt_tokens, length))

    def assume(self, rule: str) -> None:
        """Remember that a rule was used."""
        self.assumptions.setdefault(rule)

    def as_json(self) -> Mapping[str, Any]:
        """For the provenance of a file."""
        prices = {name: {"input": price.input, "output": price.output} for name, price in self.used.items()}
        return {"prices_usd_per_1m_tokens": prices, "assumptions": list(self.assumptions)}
