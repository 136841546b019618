"""What identity, token and authorization decided, remembered for who comes back with the same proofs.

A caller sends the same certificate and the same token with every call, to the same few methods; the three
guards then say the same every time, but for what time and revocation change. So their decision is kept, by
certificate, token and method, and only that is asked again: is the certificate in force, and does the token
still hold?
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from hashlib import blake2b
from typing import Final, NamedTuple

from .bounded import Bounded
from .call import Call, Principal
from .chain import Guard, Stage, said_by
from .identity import Certificate, Identity, in_force
from .policy import Grant
from .policy.authorization import MethodAuthorization
from .refusal import Refusal
from .tokens import Tokens, check

MOST: Final = 65536  # passports kept; one more is made anew when its holder comes back
Key = tuple[bytes, bytes, str]


class Passport(NamedTuple):
    """One caller's way through the three guards, which let it pass."""

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
        self._identity = identity
        self._guards = identity, tokens, authorization
        self._known: Bounded[Key, Passport] = Bounded(MOST)
        self._secret = secrets.token_bytes(16)
        self.open_methods: Collection[str] | None = authorization.open_methods

    def __len__(self) -> int:
        """Passports kept."""
        return len(self._known)

    def admit(self, call: Call) -> None:
        """Set principal, grant and rule of the call, or refuse."""
        key = self._key(call)
        known = self._known.get(key)
        if known is None:
            self._examine(call, key)
            return
        certificate, principal, call.grant, call.rule = known
        if certificate is not None:
            in_force(certificate, call.wall)
        try:
            check(principal, call.wall)
        except Refusal as refusal:
            raise said_by(self._guards[1], refusal) from None
        call.principal = principal

    def again(self, call: Call, incoming: bool) -> None:
        """As the three do for the next message of a stream."""
        for guard in self._guards:
            guard.again(call, incoming)

    def _key(self, call: Call) -> Key:
        """Where the passport of *call* lies. The token's digest is keyed: it is worth nothing elsewhere.

        Of more than one token, and of an open or unknown method, there never is a passport.
        """
        token = ""
        for name, value in call.metadata:
            if name == "authorization":
                token = str(value) if not token else "\n"  # no header holds that
        shown = call.auth.get("x509_pem_cert")
        digest = blake2b(token.encode("utf-8", "replace"), digest_size=16, key=self._secret).digest()
        return shown[0] if shown else b"", digest, call.method

    def _examine(self, call: Call, key: Key) -> None:
        for guard in self._guards:
            try:
                guard.admit(call)
            except Refusal as refusal:
                raise said_by(guard, refusal) from None
        if call.known and not call.open and len(call.values("authorization")) < 2:
            certificate = self._identity.certificate(call)
            self._known.put(key, Passport(certificate, call.principal, call.grant, call.rule))
