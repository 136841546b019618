"""Who is counted together: by principal, model, method, network, or claim of a token."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final, TypeVar
from urllib.parse import quote, unquote

from guardhouse.interceptors.bounded import Bounded
from guardhouse.interceptors.call import Call

MINE: Final = ("principal",)
CLAIM: Final = "claim."  # in front of a claim's name
LONGEST: Final = 200  # characters of one part of a holder's name; a longer one is hashed
MOST_BYTES: Final = 900  # of all parts: stores take names up to 1 KiB
PLAIN: Final = "/:@+-_."  # characters that stay as they are beside letters and digits


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """Whose calls one limit counts, and which of them together. Two are the same only as one object.

    Attributes:
        name: What the policy calls the limit: of a role, the role's name.
        per: What each has a count of its own: `PARTS`, or "claim.NAME"; all together where it is empty.
        roles: Whose calls it counts; None for everybody's.
        shadow: Whether it only tells what it would have refused.
    """

    name: str
    per: tuple[str, ...] = ("principal",)
    roles: frozenset[str] | None = None
    shadow: bool = False

    def applies(self, roles: frozenset[str]) -> bool:
        """Whether it counts the calls of who holds *roles*."""
        return self.roles is None or bool(self.roles & roles)


S = TypeVar("S", bound=Scope)


def told(scopes: Iterable[S]) -> list[S]:
    """Those *scopes* by which a caller is counted whatever the model and the method."""
    return [each for each in scopes if not {"model", "method"} & set(each.per)]


def tries(scopes: Iterable[S]) -> tuple[tuple[S, ...], ...]:
    """*scopes* as a call is tried by them: by those that may refuse it at once, by each in shadow alone."""
    held = tuple(scopes)
    firm = tuple(each for each in held if not each.shadow)
    return (*((firm,) if firm else ()), *((each,) for each in held if each.shadow))


def note_shadow(call: Call, name: str) -> None:
    """Note that a limit in shadow would have refused *call*."""
    if name not in call.shadow.split():
        call.shadow = f"{call.shadow} {name}".lstrip()


def note_alone(call: Call, *names: str) -> None:
    """Note that limits were decided about *call* by this process alone, as their store did not answer."""
    known = call.degraded.split()
    call.degraded = " ".join((*known, *(name for name in names if name not in known)))


class Holders:
    """Names of whom a call counts for, remembered: "analyst rate principal=spiffe://acme/me"."""

    def __init__(self) -> None:
        self._known: Bounded[tuple[Scope, object], str] = Bounded(8192)

    def of(self, scope: Scope, kind: str, call: Call) -> str:
        """The name of whom *call* counts for, by *scope*; always of the same *kind* for one scope."""
        key = scope, who(scope, call)
        known = self._known.get(key)
        if known is None:
            known = holder(scope, kind, values(scope, call))
            self._known.put(key, known)
        return known


def holder(scope: Scope, kind: str, values: Sequence[str]) -> str:
    """The name of a holder: "analyst elements/day principal=spiffe://acme/me".

    How much it may is no part of it: what was spent stays spent where the policy changes that.

    Args:
        scope: Whose calls are counted.
        kind: What is counted.
        values: Of what it tells apart, in the order of `per`.
    """
    parts = [f"{quote(part, PLAIN)}={_part(value)}" for part, value in zip(scope.per, values, strict=True)]
    whose = " ".join(parts)
    if len(whose.encode()) > MOST_BYTES:
        whose = _hashed(whose)
    return f"{quote(scope.name, PLAIN)} {kind} {whose}".rstrip()


def who(scope: Scope, call: Call) -> object:
    """Whom *call* counts for, by *scope*, as something that is quick to look up."""
    # The principal is one object for as long as it is remembered: no need to put its name together.
    return call.principal if scope.per == MINE else values(scope, call)


def values(scope: Scope, call: Call) -> tuple[str, ...]:
    """The same, as what is told apart, in the order of `per`."""
    return tuple([value(part, call) for part in scope.per])


def value(part: str, call: Call) -> str:
    """Whom or what *call* is counted for, as one of those that *part* tells apart.

    Who has none of a claim shares one count with all who have none: absence never means more.
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
