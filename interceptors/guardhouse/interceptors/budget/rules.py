"""Budgets as the policy sets them: how much, for whom together."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import quote, unquote

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call

from .stores import Account
from .units import Amount
from .windows import Calendar

CLAIM: Final = "claim."  # in front of a claim's name
LONGEST: Final = 200  # characters of one part of an account's name; a longer one is hashed
MOST_BYTES: Final = 900  # of all parts: stores take names up to 1 KiB
PLAIN: Final = "/:@+-_."  # characters that stay as they are beside letters and digits


@dataclass(frozen=True, slots=True, eq=False)
class Budget:
    """One budget. Two are the same only as one object.

    Attributes:
        name: What the policy calls it: of a role, the role's name.
        amount: How much in each window.
        per: What each has a budget of its own: `PARTS`, or "claim.NAME"; all together where it is empty.
        roles: Whose calls it counts; None for everybody's.
        exact: Whether the store is asked about every call.
        shadow: Whether it only tells what it would have refused.
    """

    name: str
    amount: Amount
    per: tuple[str, ...]
    roles: frozenset[str] | None = None
    exact: bool = False
    shadow: bool = False

    def applies(self, roles: frozenset[str]) -> bool:
        """Whether it counts the calls of who holds *roles*."""
        return self.roles is None or bool(self.roles & roles)


def named(budget: Budget, values: Sequence[str]) -> str:
    """The name of an account: "analyst elements/day principal=spiffe://acme/me".

    The amount is no part of it: what was spent stays spent where the policy changes it.

    Args:
        budget: Whose.
        values: Of what it tells apart, in the order of `per`.
    """
    parts = [f"{part}={_part(value)}" for part, value in zip(budget.per, values, strict=True)]
    whose = " ".join(parts)
    if len(whose.encode()) > MOST_BYTES:
        whose = _hashed(whose)
    return f"{quote(budget.name, PLAIN)} {budget.amount.unit}/{budget.amount.period} {whose}".rstrip()


class Accounts:
    """The account that a call draws on, by budget, caller and window."""

    def __init__(self) -> None:
        self._calendar = Calendar()
        self._known: Bounded[tuple[Budget, object], Account] = Bounded(8192)

    def of(self, budget: Budget, call: Call) -> Account:
        """The account of *budget* that *call* draws on now."""
        # The principal is one object for as long as it is remembered: no need to put its name together.
        key = budget, call.principal if budget.per == ("principal",) else _values(budget, call)
        window = self._calendar.at(budget.amount.period, call.wall)
        account = self._known.get(key)
        if account is None or account.window != window.name:
            name = named(budget, _values(budget, call))
            account = Account(name, window.name, budget.amount.count, window.ends)
            self._known.put(key, account)
        return account


def _values(budget: Budget, call: Call) -> tuple[str, ...]:
    return tuple([value(part, call) for part in budget.per])


def value(part: str, call: Call) -> str:
    """Whom or what *call* is counted for, as one of those that *part* tells apart.

    Who has none of a claim shares one account with all who have none: absence never means more.
    """
    if part.startswith(CLAIM):
        found = call.principal.claims.get(part.removeprefix(CLAIM))
        return found if isinstance(found, str) else "" if found is None else repr(found)
    return PARTS[part](call)


def _principal(call: Call) -> str:
    """Two issuers may give two people one name."""
    who = call.principal
    return f"{who.issuer} {who.name}" if who.issuer else who.name


@lru_cache(4096)
def network(peer: str) -> str:
    """Whom grpc's *peer*, "ipv4:192.0.2.1:40000", comes from: an IPv4 address, or an IPv6 network of 64 bits.

    IPv4 in IPv6 is IPv4; a Unix socket is one peer. What cannot be read is one too, and gets no room alone.
    """
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind
    try:
        address = ipaddress.ip_address(rest.rpartition(":")[0].strip("[]").partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


PARTS: Final[Mapping[str, Callable[[Call], str]]] = {
    "principal": _principal,
    "model": lambda call: call.model,
    "method": lambda call: call.method,
    "peer": lambda call: network(call.peer),
}


def _part(value: str) -> str:
    """*value* without blanks and marks; one that is long as its hash, so that no two become one."""
    written = quote(value.encode("utf-8", "surrogatepass"), PLAIN)
    return written if len(written) <= LONGEST else _hashed(written)


def _hashed(text: str) -> str:
    return f"sha256:{sha256(text.encode()).hexdigest()}"
