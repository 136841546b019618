"""What identity, token and authorization decided, remembered for who comes back with the same proofs.

A caller sends the same certificate and the same token with every call, over one connection and to the same
few methods; the three guards then say the same every time, but for what time and revocation change. So their
decision is kept, and only that is asked again: is the certificate in force, and does the token still hold?

The address of the peer and the method say where a decision lies, and nothing else: it counts only for the
very certificate and the very token that it was made for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from .bounded import Bounded
from .call import Call, Principal
from .chain import Guard, Stage
from .identity import Certificate, Identity
from .policy import Grant
from .policy.authorization import MethodAuthorization
from .refusal import Refusal
from .tokens import Tokens, check
from .verbs import said_by

MOST: Final = 4096  # passports kept; one more is made anew when its holder comes back


class Passport(NamedTuple):
    """One caller's way through the three guards, which let it pass.

    Attributes:
        pem: The certificate that was shown, b"" for none.
        token: The `authorization` that was sent; None where there was none.
        mark: Its hash, keyed by the process: tokens that differ are told apart by it, so that how long a
            comparison takes says nothing of how far they agree.
        certificate: What was read from `pem`.
        principal: Whose it all is.
        grant: What the policy lets it do.
        rule: The rule that let it call the method.
    """

    pem: bytes
    token: str | None
    mark: int
    certificate: Certificate | None
    principal: Principal
    grant: Grant | None
    rule: str


class Passports(Guard):
    """Stands for three guards in a chain, and asks them only about whom it does not know.

    Args:
        identity, tokens, authorization: The guards, asked in this order. Nothing but the certificate, the
            token, the method and the time may weigh in what they decide.
    """

    stage = Stage.IDENTITY

    def __init__(self, identity: Identity, tokens: Tokens, authorization: MethodAuthorization) -> None:
        self._identity, self._tokens, self._authorization = identity, tokens, authorization
        self._known: Bounded[tuple[str, str], Passport] = Bounded(MOST)
        self.open_methods: Collection[str] | None = authorization.open_methods

    def __len__(self) -> int:
        """Passports kept."""
        return len(self._known)

    def admit(self, call: Call) -> None:
        """Set principal, grant and rule of the call, or refuse."""
        known = self._known.get((call.peer, call.method))
        if known is None or not _shows(call, known):
            self._examine(call)
            return
        certificate, principal = known.certificate, known.principal
        if certificate is not None and not certificate.begins <= call.wall < certificate.ends:
            raise said_by(self._identity, Refusal("CERTIFICATE_EXPIRED"))
        try:
            check(principal, call.wall)
        except Refusal as refusal:
            raise said_by(self._tokens, refusal) from None
        call.principal, call.grant, call.rule = principal, known.grant, known.rule

    def again(self, call: Call, incoming: bool) -> None:
        """As the three do for the next message of a stream."""
        self._identity.again(call, incoming)
        try:
            self._tokens.again(call, incoming)
        except Refusal as refusal:
            raise said_by(self._tokens, refusal) from None

    def _examine(self, call: Call) -> None:
        """Ask the three; if they let the call pass, make it a passport."""
        for guard in (self._identity, self._tokens, self._authorization):
            try:
                guard.admit(call)
            except Refusal as refusal:
                raise said_by(guard, refusal) from None
        tokens = call.values("authorization")
        token = tokens[0] if tokens else None
        if call.known and not call.open and len(tokens) < 2 and not isinstance(token, bytes):
            certificate, facts = self._identity.certificate(call), (call.principal, call.grant, call.rule)
            passport = Passport(_pem(call), token, hash(token), certificate, *facts)
            self._known.put((call.peer, call.method), passport)


def _pem(call: Call) -> bytes:
    shown = call.auth.get("x509_pem_cert")
    return shown[0] if shown else b""


def _shows(call: Call, passport: Passport) -> bool:
    """Whether *call* shows the very proofs that *passport* was made for."""
    token: str | bytes | None = None
    for name, value in call.metadata:
        if name == "authorization":
            if token is not None:
                return False
            token = value
    return hash(token) == passport.mark and token == passport.token and _pem(call) == passport.pem
