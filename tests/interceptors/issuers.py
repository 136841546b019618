"""Token issuers for tests: real keys, tokens well and badly made, and an http server that answers as told."""

from __future__ import annotations

import datetime
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from guardhouse.interceptors import Call, Principal, Refusal
from guardhouse.interceptors.tokens import Tokens
from guardhouse.interceptors.tokens.issuers import Fixed, IssuerKeys
from guardhouse.interceptors.tokens.jwk import parse
from guardhouse.interceptors.tokens.jwt import Verified, verify
from guardhouse.interceptors.tokens.strict import unpadded

NOW = 1_800_000_000.0
ISSUER = "https://issuer.example"
AUDIENCE = "models"
NO_HEADERS: Mapping[str, str] = {}
ALGORITHMS = ("ES256", "RS256", "EdDSA")
EC = ec.generate_private_key(ec.SECP256R1())
OTHER_EC = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())
RSA = rsa.generate_private_key(65537, 2048)
ED = ed25519.Ed25519PrivateKey.generate()
KINDS: dict[type, Any] = {
    ec.EllipticCurvePrivateKey: ECKey,
    rsa.RSAPrivateKey: RSAKey,
    ed25519.Ed25519PrivateKey: OKPKey,
}


def wrapped(key: Any) -> Any:
    """*key* as the library's own object."""
    return next(kind for base, kind in KINDS.items() if isinstance(key, base)).import_key(key)


def jwk(key: Any, kid: str | None = None, *, private: bool = False, **more: Any) -> dict[str, Any]:
    """The JWK of *key*, public unless *private*."""
    return {**wrapped(key).as_dict(private=private), **({"kid": kid} if kid else {}), **more}


def key_set(*entries: Any) -> bytes:
    """The JSON of a key set."""
    return json.dumps({"keys": entries}).encode()


def usual_set() -> bytes:
    """One key for each algorithm, called ec, rsa and ed."""
    return key_set(jwk(EC, "ec"), jwk(RSA, "rsa"), jwk(ED, "ed"))


def issuer(data: bytes | None = None, algorithms: tuple[str, ...] = ALGORITHMS, **more: Any) -> IssuerKeys:
    """The usual issuer, with the key set *data*."""
    source = Fixed(parse(data or usual_set(), algorithms))
    return IssuerKeys(
        **{"issuer": ISSUER, "audience": AUDIENCE, "algorithms": algorithms, "source": source, **more}
    )


def signer(key: Any, algorithm: str) -> Callable[[bytes], bytes]:
    """Signs as the library does."""
    return lambda data: bytes(JWSRegistry.algorithms[algorithm].sign(data, wrapped(key)))


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, changed; a value of `...` leaves one out."""
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 600, "iat": NOW}
    return {name: value for name, value in {**usual, **changes}.items() if value is not ...}


def part(content: Any) -> str:
    """Text, bytes or anything JSON as base64url."""
    if isinstance(content, str):
        content = content.encode()
    return unpadded(content if isinstance(content, bytes) else json.dumps(content).encode())


def compact(header: Any, payload: Any, sign: Callable[[bytes], bytes]) -> str:
    """A compact JWS of whatever is given."""
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{unpadded(sign(signed.encode()))}"


def token(header: Any = None, payload: Any = None, key: Any = EC, algorithm: str = "ES256") -> str:
    """A token signed with ES256, good unless told otherwise."""
    usual = {"alg": "ES256", "typ": "JWT", "kid": "ec"}
    sign = signer(key, algorithm)
    return compact(usual if header is None else header, claims() if payload is None else payload, sign)


ISSUERS = {ISSUER: issuer()}


def judge(text: str, issuers: Any = None, now: float = NOW, **more: Any) -> Verified:
    """Verify with the usual issuer, unless told otherwise."""
    return verify(text, issuers or ISSUERS, now, **more)


def refused(text: str, issuers: Any = None, now: float = NOW, **more: Any) -> tuple[str, str]:
    """The reason and the note a token is refused with."""
    with pytest.raises(Refusal) as caught:
        judge(text, issuers, now, **more)
    return caught.value.reason, caught.value.note


def certificate(key: Any) -> x509.Certificate:
    """A certificate of *key*, signed by itself."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    begins = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    ends = begins + datetime.timedelta(9999)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, ends)
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256())


CERTIFICATE = certificate(EC)
PEM = CERTIFICATE.public_bytes(Encoding.PEM)
OTHER_PEM = certificate(OTHER_EC).public_bytes(Encoding.PEM)
THUMBPRINT = hashlib.sha256(CERTIFICATE.public_bytes(Encoding.DER)).digest()
HOLDER = Principal("spiffe://acme/a", certificate="spiffe://acme/a", proofs=("mtls",), expires=NOW + 10_000)


def call(*values: str | bytes, wall: float = NOW, pem: bytes = b"", **more: Any) -> Call:
    """A call that carries these values of `authorization`."""
    auth = {"x509_pem_cert": [pem]} if pem else {}
    metadata = (("user-agent", "x"), *(("authorization", value) for value in values))
    return Call("/s/M", metadata, True, 0, 0, wall=wall, auth=auth, **more)


def admitted(guard: Tokens, *values: str | bytes, **more: Any) -> Call:
    """The call, after the guard let it in."""
    found = call(*values, **more)
    guard.admit(found)
    return found


def turned_away(guard: Tokens, *values: str | bytes, **more: Any) -> tuple[str, str]:
    """The reason and the note with which the guard refuses; nobody becomes the principal."""
    asked = call(*values, **more)
    before = asked.principal
    with pytest.raises(Refusal) as caught:
        guard.admit(asked)
    assert asked.principal is before
    return caught.value.reason, caught.value.note


class Witness:
    """An http server on loopback that answers as `answer` says and counts who came."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: reply(handler, usual_set())
        witness = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                witness.asked += 1
                try:
                    witness.answer(self)
                except OSError:
                    self.close_connection = True  # the client had enough

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"


@contextmanager
def witness() -> Iterator[Witness]:
    """A `Witness` that serves until the end."""
    found = Witness()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield found
    finally:
        found.server.shutdown()
        thread.join()
        found.server.server_close()


def reply(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, headers: Mapping[str, str] = NO_HEADERS
) -> None:
    """Send one answer."""
    handler.send_response(status)
    for name, value in {"content-length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def wait_until(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether *true* came true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
