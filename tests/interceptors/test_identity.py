"""Who a client certificate names, and who it does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from grpc import StatusCode as Code

from guardhouse.interceptors import Call, Chain, Refusal
from guardhouse.interceptors.identity import Identity, read

from . import certificates
from .certificates import CLIENT, SERVER, WORKLOAD, Pair, dns, email, key_usage, leaf, uri
from .serving import COLOURS, Watch, serving


def _call(pem: bytes | None, *, open_method: bool = False, wall: float | None = None) -> Call:
    call = Call("/s/m", (), True, 0, 0, open=open_method)
    if pem is not None:
        call.auth = {"x509_pem_cert": [pem]}
        call.wall = read(leaf(uri(WORKLOAD)).pem).begins + 3600 if wall is None else wall
    return call


WRONG: dict[str, Pair] = {
    "two URI names": leaf(uri(WORKLOAD), uri("spiffe://acme/admin")),
    "the same URI name twice": leaf(uri(WORKLOAD), uri(WORKLOAD)),
    "an authority": leaf(uri(WORKLOAD), ca=True),
    "may sign certificates": leaf(uri(WORKLOAD), usage=key_usage("digital_signature", "key_cert_sign")),
    "may sign revocations": leaf(uri(WORKLOAD), usage=key_usage("digital_signature", "crl_sign")),
    "for servers only": leaf(uri(WORKLOAD), purposes=(SERVER,)),
    "for anything": leaf(uri(WORKLOAD), purposes=(x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
    "for nothing": leaf(uri(WORKLOAD), purposes=None),
    "a common name and no other": leaf(common=WORKLOAD),
    "a DNS name that reads as an id": leaf(dns("spiffe://acme/admin")),
    "an e-mail address that reads as an id": leaf(email("spiffe://acme/admin@x")),
    "no SPIFFE id": leaf(uri("https://acme/admin")),
    "a wildcard": leaf(uri("spiffe://acme/*")),
    "a NUL": leaf(uri("spiffe://acme/admin\0.evil")),
    "a line break": leaf(uri("spiffe://acme/admin\n")),
    "a trust domain alone": leaf(uri("spiffe://acme")),
    "an upper-case scheme": leaf(uri("SPIFFE://acme/admin")),
    "dots": leaf(uri("spiffe://acme/a/../admin")),
    "no certificate at all": Pair(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b""),
    "nothing": Pair(b"", b""),
}


@pytest.mark.parametrize("which", WRONG)
def test_a_certificate_that_names_nobody(which: str) -> None:
    """Exactly one URI name, a SPIFFE id, on a leaf for clients: anything else is nobody, and is refused."""
    call = _call(WRONG[which].pem)
    with pytest.raises(Refusal) as refused:
        Identity().admit(call)

    assert refused.value.reason == "CERTIFICATE_INVALID"
    assert call.principal.name == ""


def test_an_extension_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that cryptography will not take apart is refused, not a defect of ours."""

    class Twice:
        not_valid_before_utc = not_valid_after_utc = property(lambda self: None)

        @property
        def extensions(self) -> Any:
            raise x509.DuplicateExtension("twice", x509.ObjectIdentifier("2.5.29.17"))

    monkeypatch.setattr(x509, "load_pem_x509_certificate", lambda pem: Twice())
    with pytest.raises(Refusal, match="unreadable"):
        read(b"")


@pytest.mark.parametrize("ca", [False, None])
def test_a_certificate_that_names_a_workload(ca: bool | None) -> None:
    """The typed URI name is the caller's, whatever DNS names and common name stand beside it."""
    pair = leaf(dns("spiffe://acme/admin"), uri(WORKLOAD), common="admin", ca=ca, purposes=(SERVER, CLIENT))
    call = _call(pair.pem)
    Identity().admit(call)

    assert (call.principal.name, call.principal.certificate) == (WORKLOAD, WORKLOAD)
    assert call.principal.proofs == ("mtls",)
    assert call.principal.expires == read(pair.pem).ends


def test_one_certificate_is_one_principal() -> None:
    """Calls with the same certificate share their principal, so that roles are looked up by it."""
    identity, pem = Identity(), leaf(uri(WORKLOAD)).pem
    first, second = _call(pem), _call(pem)
    identity.admit(first)
    identity.admit(second)

    assert first.principal is second.principal


@pytest.mark.parametrize("moment", ["before", "at its end", "after"])
def test_a_certificate_out_of_its_time(moment: str) -> None:
    """Validity is checked at every call: connections, and what we keep of certificates, outlive them."""
    identity, pem = Identity(), leaf(uri(WORKLOAD)).pem
    known = read(pem)
    identity.admit(_call(pem, wall=known.begins))
    wall = {"before": known.begins - 1, "at its end": known.ends, "after": known.ends + 1}[moment]
    with pytest.raises(Refusal) as refused:
        identity.admit(_call(pem, wall=wall))

    assert refused.value.reason == "CERTIFICATE_EXPIRED"


def test_without_a_certificate() -> None:
    """Refused where one is required, except on a method that is open; nobody where none is required."""
    with pytest.raises(Refusal) as refused:
        Identity().admit(_call(None))
    opened, optional = _call(None, open_method=True), _call(None)
    Identity().admit(opened)
    Identity(required=False).admit(optional)

    assert refused.value.reason == "CERTIFICATE_MISSING"
    assert (opened.principal.name, optional.principal.name) == ("", "")


@pytest.mark.parametrize("required", [True, False])
def test_a_wrong_certificate_is_worse_than_none(required: bool) -> None:
    """Also where none is required, and on an open method: who shows one is held to it."""
    with pytest.raises(Refusal):
        Identity(required=required).admit(_call(WRONG["two URI names"].pem, open_method=True))


@pytest.mark.parametrize("incoming", [True, False])
def test_an_open_stream_ends_with_its_certificate(incoming: bool) -> None:
    """Each message, in or out, is checked against the end of the certificate."""
    identity, call = Identity(), _call(leaf(uri(WORKLOAD)).pem)
    identity.admit(call)
    identity.again(call, incoming)
    assert call.principal.expires is not None
    call.wall = call.principal.expires
    with pytest.raises(Refusal) as refused:
        identity.again(call, incoming)

    assert refused.value.reason == "CERTIFICATE_EXPIRED"


OVER_TLS = {
    "right": (leaf(dns("x"), uri(WORKLOAD)), Code.OK),
    "two names": (WRONG["two URI names"], Code.UNAUTHENTICATED),
    "a common name": (WRONG["a common name and no other"], Code.UNAUTHENTICATED),
    "a DNS name": (WRONG["a DNS name that reads as an id"], Code.UNAUTHENTICATED),
    "no SPIFFE id": (WRONG["no SPIFFE id"], Code.UNAUTHENTICATED),
    "may sign": (WRONG["may sign certificates"], Code.UNAUTHENTICATED),
    "an authority": (WRONG["an authority"], Code.UNAUTHENTICATED),
    "no purpose": (WRONG["for nothing"], Code.UNAUTHENTICATED),
    # These are turned away by TLS itself; no call comes of them.
    "for servers": (WRONG["for servers only"], Code.UNAVAILABLE),
    "none": (None, Code.UNAVAILABLE),
    "another authority's": (leaf(uri(WORKLOAD), signed_by="elsewhere"), Code.UNAVAILABLE),
    "expired": (leaf(uri(WORKLOAD), begins=timedelta(hours=-2), ends=timedelta(hours=-1)), Code.UNAVAILABLE),
}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("which", OVER_TLS)
async def test_over_real_tls(colour: str, which: str) -> None:
    """What grpc gives us of a real connection is read the same way; what it names falls to no other name."""
    client, code = OVER_TLS[which]
    watch = Watch()
    credentials = certificates.mutual_tls(client)
    async with serving(colour, Chain(watch, Identity()), credentials=credentials) as served:
        outcome = await served.ask("unary_unary", b"x", timeout=5)
    names = [call.principal.name for call in watch.calls]

    assert outcome.code == code
    assert names == {Code.OK: [WORKLOAD], Code.UNAUTHENTICATED: [""], Code.UNAVAILABLE: []}[code]
