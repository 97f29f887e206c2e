"""A deal: whom of the pool one question may ask, in which order, and by which names they are shown.

The policy sees and writes the shown names. Whatever lies behind a route (the service, its ledger and traces, prices,
metrics, records) knows the pool's own. Invariants:

- within a deal every shown name means one candidate, and every candidate has one shown name;
- nothing but a shown name finds a candidate of a dealt pool: no alias, no model id, no name that the pool has for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from router_r1.errors import ConfigError
from router_r1.pool.names import canonical
from router_r1.pool.schema import Candidate, Name, RoutingPool

_NAME: TypeAdapter[str] = TypeAdapter(Name)


class Shown(NamedTuple):
    """One candidate of a deal."""

    name: str
    """The name it is shown by."""
    candidate: str
    """Its name in the pool."""
    descriptor: str | None = None
    """What the prompt says of it, true or not; None: what the pool says."""


@dataclass(frozen=True)
class Deal:
    """The candidates that one question may ask.

    Raises:
        ConfigError: there are none, a name cannot be written in a search, or a name or candidate is there twice.
    """

    shown: tuple[Shown, ...]
    source: str = field(default="deal", compare=False, repr=False)
    """Where it was written, for error texts."""

    def __post_init__(self) -> None:
        if not self.shown:
            raise ConfigError(self.source, "candidates", None, "must hold at least one; null is the whole pool")
        taken: set[str] = set()
        dealt: set[str] = set()
        for index, (name, candidate, _) in enumerate(self.shown):
            key = f"candidates[{index}]"
            try:
                form = canonical(_NAME.validate_python(name))
            except ValidationError as fault:
                raise ConfigError(self.source, f"{key}.name", name, fault.errors()[0]["msg"]) from None
            if form in taken:
                remedy = "already names another: case, spaces and punctuation do not tell names apart"
                raise ConfigError(self.source, f"{key}.name", name, remedy)
            if candidate in dealt:
                raise ConfigError(self.source, f"{key}.candidate", candidate, "is dealt twice; give it one name")
            taken.add(form)
            dealt.add(candidate)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]] | None, source: str) -> Deal | None:
        """What `as_rows` gave, read back from a question file or a record; None for None, the whole pool.

        Args:
            rows: in order.
            source: file and row, for error texts.

        Raises:
            ConfigError: it is no deal.
        """
        if rows is None:
            return None
        try:
            shown = tuple(Shown(row["name"], row["candidate"], row.get("descriptor")) for row in rows)
        except (AttributeError, KeyError, TypeError):
            raise ConfigError(source, "candidates", None, "must be a list of structs: name and candidate") from None
        return cls(shown, source)

    def as_rows(self) -> list[dict[str, str | None]]:
        """As JSON types, in order."""
        return [entry._asdict() for entry in self.shown]

    def candidate(self, shown: str) -> str:
        """The pool's own name of the candidate that is shown as `shown`.

        Raises:
            KeyError: there is none.
        """
        return {entry.name: entry.candidate for entry in self.shown}[shown]

    def check(self, pool: RoutingPool) -> None:
        """See that the pool has every candidate, by the name that is its own.

        Raises:
            ConfigError: it lacks one.
        """
        for index, entry in enumerate(self.shown):
            if entry.candidate not in pool.names:
                remedy = f"is no candidate of {_called(pool)}; there are {', '.join(pool.names)}"
                raise ConfigError(self.source, f"candidates[{index}].candidate", entry.candidate, remedy)

    def pool(self, pool: RoutingPool) -> RoutingPool:
        """The candidates as the policy knows them: in this order, by their shown names, without aliases.

        They keep model, endpoints, price and, unless the deal says otherwise, descriptor. Such a pool is for prompt and
        policy; the route service asks by the pool's own names.

        Raises:
            ConfigError: the pool lacks a candidate.
        """
        self.check(pool)
        candidates = tuple(_as_shown(pool.candidate(entry.candidate), entry) for entry in self.shown)
        return _DealtPool.model_construct(  # of what has been validated
            name=pool.name,
            candidates=candidates,
            simulated=pool.simulated,
            recorded=pool.recorded,
            source=pool.source,
        )


def _as_shown(own: Candidate, entry: Shown) -> Candidate:
    descriptor = own.descriptor if entry.descriptor is None else entry.descriptor
    return own.model_copy(update={"name": entry.name, "aliases": (), "descriptor": descriptor})


class _DealtPool(RoutingPool):
    """A pool whose candidates are found by name only: what one is shown as may be the model id of another."""

    def model_post_init(self, context: Any, /) -> None:
        self._by_name.update({canonical(candidate.name): candidate for candidate in self.candidates})


def offered(pool: RoutingPool, deal: Deal | None) -> RoutingPool:
    """The candidates as a question's policy knows them: those of its deal, or else the whole pool by its own names."""
    return pool if deal is None else deal.pool(pool)


def offered_names(pool: RoutingPool, deal: Deal | None) -> tuple[str, ...]:
    """The same by the pool's own names."""
    return tuple(pool.names) if deal is None else tuple(entry.candidate for entry in deal.shown)


# ---------------------------------------------------------------- who deals

Dealer = Callable[[str, int], Deal]
"""(split, index of a question) -> its deal; the same for the same question."""


def draw_deal(pool: RoutingPool, *key: str | int) -> Deal:
    """A deal as the pool's file has it under `deals`: any of its sizes, any groups, one or two of each, any names.

    Args:
        key: the same key draws the same deal; all sizes, names and groups are equally likely.

    Raises:
        ConfigError: the pool is not dealt.
    """
    if pool.deals is None:
        raise ConfigError(_called(pool), "deals", None, "is missing; give names and sizes to deal from")
    draw = random.Random(repr(key))
    size, groups = draw.randint(*pool.deals.sizes), pool.parted()
    dealt: list[str] = []
    for group in draw.sample(groups, len(groups)):
        has_two = len(group) > 1 and draw.random() < pool.deals.second
        dealt += draw.sample(group, 2 if has_two else 1)
    dealt = draw.sample(dealt[:size], size)
    return Deal(tuple(map(Shown, draw.sample(pool.deals.names, size), dealt)))


def dealer_of(pool: RoutingPool, seed: int) -> Dealer | None:
    """Who deals for the questions of a run; None if the pool is not dealt."""
    return None if pool.deals is None else partial(draw_deal, pool, seed)


def _called(pool: RoutingPool) -> str:
    return pool.source or f"pool {pool.name}"
