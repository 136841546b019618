"""`Principal` and `Call`: who asks, and all that a guard may know of one RPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from grpc import StatusCode

if TYPE_CHECKING:
    from .policy import Grant
    from .refusal import Refusal
    from .usage import Usage
    from .work import Work

Metadata = Sequence[tuple[str, str | bytes]]
NO_CLAIMS: Mapping[str, object] = MappingProxyType({})
NOTHING_KNOWN: Mapping[str, Sequence[bytes]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Principal:
    """Who calls, and what proved it. A parsed value: only identity and token code make one.

    Two principals are the same only if they are the same object, so that what follows from one (roles,
    limits) can be looked up by it at the cost of a pointer.

    Attributes:
        name: The one name limits and the ledger know the caller by; "" is nobody.
        certificate: The SPIFFE id of the client certificate, or "".
        subject: The `sub` of the token, or "".
        issuer: The `iss` of the token, or "".
        api_key: The name of the API key, or "".
        claims: The token's verified claims.
        proofs: What proved it, in the order of proof: "mtls", "jwt", "api_key".
        expires: Seconds since the epoch after which it proves nothing; None for never.
    """

    name: str = ""
    certificate: str = ""
    subject: str = ""
    issuer: str = ""
    api_key: str = ""
    claims: Mapping[str, object] = field(default_factory=lambda: NO_CLAIMS)
    proofs: tuple[str, ...] = ()
    expires: float | None = None


NOBODY = Principal()


class Call:
    """One RPC, from the moment its headers were read to its record.

    Guards read it; identity and token guards set `principal`, authorization sets `grant`, `model`,
    `version` and `rule`. Times in `…_ns` are nanoseconds of the monotonic clock, except `wall_ns`.
    What has a default belongs to the class until it is set: making a call costs what it sets, no more.
    """

    method: str  # the path exactly as routed: "/inference.GRPCInferenceService/ModelInfer"
    metadata: Metadata
    known: bool  # some handler serves this method
    wall_ns: int  # since the epoch, when the call was opened
    opened_ns: int
    ended_ns: int = 0
    now: float = 0.0  # monotonic seconds; renewed at every message of a stream
    wall: float = 0.0  # seconds since the epoch; renewed likewise
    open: bool = False  # on the explicit list of methods that need no credential
    peer: str = ""
    auth: Mapping[str, Sequence[bytes]] = NOTHING_KNOWN  # what the transport knows of the caller
    remaining: float | None = None  # seconds the caller gave us; None where it set no deadline
    patience: float | None = None  # seconds we give the call, if that is less
    principal: Principal = NOBODY
    grant: Grant | None = None
    model: str = ""
    version: str = ""
    rule: str = ""
    raw: bytes = b""  # the request message while it is inspected, as it came
    requests: int = 0
    responses: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    units: int = 0  # what the call was charged: one for each message that a limit let through
    queue_ns: int = 0  # time the model's work waited for a free worker; not part of `model_ns`
    model_ns: int = 0  # time spent in the handler behind the chain; 0 where it was never asked
    usage: Usage | None = None  # tokens, where the model has reported any
    shadow: str = ""  # names of limits in shadow that would have refused it
    degraded: str = ""  # names of limits that were decided here alone, as their store did not answer
    capture: str = ""  # where inputs and outputs were kept, if the owner asked for that
    trailers: Metadata = ()  # what guards tell the caller beside the answer
    trace_id: int = 0  # 128 bits, never 0 once opened by a record
    span_id: int = 0  # 64 bits; also the error id that a caller may quote
    line: int = 0  # the number of its line in a strict ledger
    parent_id: int = 0  # the caller's span, where its trace goes on in ours
    status: StatusCode | None = None  # None while the call runs
    refusal: Refusal | None = None
    closed: bool = False
    work: Work | None = None  # what goes on for it, where a limit asks

    def __init__(
        self, method: str, metadata: Metadata, known: bool, wall_ns: int, opened_ns: int, **facts: Any
    ) -> None:
        self.method = method
        self.metadata = metadata
        self.known = known
        self.wall_ns = wall_ns
        self.opened_ns = opened_ns
        if facts:
            self.__dict__.update(facts)

    def model_ended(self, now_ns: int) -> None:
        """Make `model_ns`, which holds minus the time at which the model began, the time that it took.

        Work of one call that waits for several workers at once may have waited longer than all of it took:
        it has come to the model all the same, which only 0 denies.
        """
        self.model_ns = max(1, self.model_ns + now_ns - self.queue_ns)

    def values(self, key: str) -> list[str | bytes]:
        """Every value the caller sent for metadata *key* (lower case), in order."""
        return [value for name, value in self.metadata if name == key]


CURRENT: ContextVar[Call] = ContextVar("guardhouse_call")


def current_call() -> Call:
    """The call being served, for code behind the chain. LookupError outside of one."""
    return CURRENT.get()
