"""Certificates for tests: a small authority, and leaves as right or as wrong as a test wants them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from typing import NamedTuple

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

WORKLOAD = "spiffe://acme/ns/ml/sa/notebook"
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
uri, dns, email = x509.UniformResourceIdentifier, x509.DNSName, x509.RFC822Name


class Pair(NamedTuple):
    """A certificate and its key, in PEM."""

    pem: bytes
    key: bytes


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    raw = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Pair(certificate.public_bytes(Encoding.PEM), raw)


@cache
def _authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name(name))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()), key


def authority(name: str = "test authority") -> Pair:
    """The certificate and key of an authority."""
    return _pem(*_authority(name))


def key_usage(*on: str) -> x509.KeyUsage:
    """A key usage with only *on* set."""
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
        " crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{usage: usage in on for usage in every.split()})


def leaf(
    *names: x509.GeneralName,
    common: str = "leaf",
    purposes: Sequence[x509.ObjectIdentifier] | None = (CLIENT,),
    usage: x509.KeyUsage | None = None,
    ca: bool | None = False,
    begins: timedelta = timedelta(hours=-1),
    ends: timedelta = timedelta(hours=1),
    signed_by: str = "test authority",
) -> Pair:
    """A leaf with the alternative *names*; None for `purposes`, `usage` or `ca` leaves the extension out."""
    certificate, key = _authority(signed_by)
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(_name(common)).issuer_name(certificate.subject)
    builder = builder.public_key(_key().public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now + begins).not_valid_after(now + ends)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    if usage is not None:
        builder = builder.add_extension(usage, critical=True)
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return _pem(builder.sign(key, hashes.SHA256()), _key())


def server() -> Pair:
    """A certificate for a server on this machine."""
    return leaf(dns("localhost"), x509.IPAddress(ip_address("127.0.0.1")), purposes=(SERVER,))


def mutual_tls(client: Pair | None) -> tuple[grpc.ServerCredentials, grpc.ChannelCredentials]:
    """Credentials of a server that wants a client certificate, and of *client*, or of one that has none."""
    ca, own = authority().pem, server()
    theirs = grpc.ssl_server_credentials([(own.key, own.pem)], ca, require_client_auth=True)
    key, pem = (client.key, client.pem) if client else (None, None)
    return theirs, grpc.ssl_channel_credentials(ca, key, pem)
