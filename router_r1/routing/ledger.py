"""The service's books: what was started, how it ended, and what the answers cost.

Invariants:

- started = finished + failed + cancelled + in flight, per candidate;
- spend is the sum, in decimals and never rounded, of tokens times price: the tokens that an endpoint counted, for a
  useless answer too, and our estimate of those that it did not count for a reply that was kept (`estimated`).

Unknown, and not booked: what an endpoint charges for a request that timed out, was cancelled or broke off, for one that
it answered with an error status, and for a useless answer without a count. The bill may be higher by that much.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal

from router_r1.errors import BudgetSpent


@dataclass
class Account:
    """The routes to one candidate so far."""

    started: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    requests: int = 0  # sent over HTTP: retries included, cached and shared replies not
    cached: int = 0  # answered from disk
    shared: int = 0  # answered by an identical request in flight
    estimated: int = 0  # replies whose tokens the endpoint did not count
    prompt_tokens: int = 0
    completion_tokens: int = 0
    spend_usd: Decimal = Decimal(0)
    saved_usd: Decimal = Decimal(0)  # what cached and shared replies would have cost

    def as_metrics(self) -> dict[str, float]:
        """Its numbers, for a tracker."""
        values = {f.name: float(getattr(self, f.name)) for f in fields(self)}
        return {**values, "failed_share": self.failed_share}

    @property
    def failed_share(self) -> float:
        """Share of failed routes among those that ended by themselves; 0 if none did."""
        ended = self.finished + self.failed
        return self.failed / ended if ended else 0.0


class Ledger:
    """One account per candidate, and the budget they share."""

    def __init__(self, names: Iterable[str], budget_usd: float | None = None) -> None:
        self.accounts = {name: Account() for name in names}
        self.budget_usd = None if budget_usd is None else Decimal(repr(budget_usd))
        self._spent = Decimal(0)

    def open_accounts(self, names: Iterable[str]) -> None:
        """Have an account for each; those that are there go on."""
        for name in names:
            self.accounts.setdefault(name, Account())

    @property
    def spent_usd(self) -> Decimal:
        """Everything that was charged so far."""
        return self._spent

    def charge(self, name: str, amount: Decimal) -> None:
        """Book a charge of the candidate."""
        self.accounts[name].spend_usd += amount
        self._spent += amount

    def total(self) -> Account:
        """The sum of all accounts."""
        return _sum(self.accounts.values())

    def absorb(self, other: Ledger) -> None:
        """Add another service's accounts to these."""
        for name, account in other.accounts.items():
            self.accounts[name] = _sum([self.accounts.get(name, Account()), account])
        self._spent += other.spent_usd

    @property
    def is_spent(self) -> bool:
        """Whether the budget is used up."""
        return self.budget_usd is not None and self._spent >= self.budget_usd

    def check_budget(self) -> None:
        """Raise `BudgetSpent`, with the figures, if nothing more may be spent."""
        if self.is_spent:
            raise BudgetSpent(self.budget_message())

    def budget_message(self) -> str:
        """The figures in one line."""
        total = self.total()
        shares = sorted(self.accounts.items(), key=lambda item: -item[1].spend_usd)
        by_candidate = ", ".join(f"{name} {account.spend_usd:f}" for name, account in shares if account.spend_usd)
        return (
            f"budget spent: {self._spent:f} of {self.budget_usd:f} USD after {total.requests} requests for "
            f"{total.started} routes ({by_candidate or 'nothing was charged'}); raise budget_usd to go on"
        )


def _sum(accounts: Iterable[Account]) -> Account:
    listed = list(accounts)
    return Account(**{f.name: sum(getattr(account, f.name) for account in listed) for f in fields(Account)})
