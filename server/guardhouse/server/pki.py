"""A certificate authority for development: what one machine needs to try mutual TLS, named as what it is.

Certificates follow the X.509-SVID profile (SPIFFE) within RFC 5280: P-256 keys, one URI name per identity,
one extended usage per leaf, so that a client's certificate never passes for a server's.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from guardhouse.interceptors import spiffe

AUTHORITY_NAME: Final = "guardhouse development CA"
AUTHORITY_LIFETIME: Final = timedelta(days=365)
LEAF_LIFETIME: Final = timedelta(days=30)
# Certificates start a little in the past, so that a peer whose clock is slow accepts them at once.
CLOCK_SKEW: Final = timedelta(minutes=5)
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

Usage = Literal["client", "server"]
USAGES: Final = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}

LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DNS_NAME: Final = re.compile(rf"(\*\.)?{LABEL}(\.{LABEL})*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM: write it to files of mode 0600 only."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def check_trust_domain(text: str) -> str:
    """Return `text` if it is a SPIFFE trust domain (SPIFFE-ID section 2.1); raise ValueError otherwise."""
    if not text or "/" in text:
        raise ValueError("a trust domain is a bare name, like guardhouse.local")
    spiffe.workload(f"spiffe://{text}/client")
    return text


def create_authority(trust_domain: str, *, now: datetime, lifetime: timedelta = AUTHORITY_LIFETIME) -> Issued:
    """Make the authority of `trust_domain`: it may sign leaves, and no further authority."""
    domain = check_trust_domain(trust_domain)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(AUTHORITY_NAME)
    builder = (
        _builder(name, name, key, now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(_authority_key_id(key.public_key()), critical=False)
        .add_extension(_alternative_names([f"spiffe://{domain}"], []), critical=False)
    )
    return Issued(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Issued,
    *,
    usage: Usage,
    spiffe_id: str | None = None,
    hosts: Sequence[str] = (),
    now: datetime,
    lifetime: timedelta = LEAF_LIFETIME,
) -> Issued:
    """Sign a new key's certificate for one `usage`.

    Args:
        authority: Who signs: what `create_authority` or `load_authority` returned.
        usage: "client" or "server"; a certificate is never both.
        spiffe_id: The one URI name; a client must have it, for it is its identity.
        hosts: DNS names and IP addresses under which a server is reached.
        now: The time of issue, with a time zone.
        lifetime: How long from `now` it is valid; it may not outlive the authority.

    Raises:
        ValueError: A name is malformed, none is given, or the authority ends sooner.
    """
    _check_names(usage, spiffe_id, hosts)
    _check_lifetime(authority.certificate, now, lifetime)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(f"guardhouse development {usage}")
    builder = (
        _builder(subject, authority.certificate.subject, key, now, now + lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([USAGES[usage]]), critical=False)
        .add_extension(_authority_key_id(authority.key.public_key()), critical=False)
        .add_extension(_alternative_names([spiffe_id] if spiffe_id else [], hosts), critical=False)
    )
    return Issued(builder.sign(authority.key, hashes.SHA256()), key)


def load_authority(certificate_pem: bytes, key_pem: bytes) -> Issued:
    """Read an authority back. Raises ValueError where the two are no pair, or it may not sign."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    key = serialization.load_pem_private_key(key_pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an elliptic-curve key")
    if key.public_key() != certificate.public_key():
        raise ValueError("the authority's certificate and key do not belong together")
    if not is_authority(certificate):
        raise ValueError("the certificate is no authority's: it may not sign others")
    return Issued(certificate, key)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether the certificate says that it may sign others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _check_names(usage: Usage, spiffe_id: str | None, hosts: Sequence[str]) -> None:
    if spiffe_id is not None:
        spiffe.workload(spiffe_id)
    elif usage == "client":
        raise ValueError("a client's certificate needs a SPIFFE ID")
    elif not hosts:
        raise ValueError("a server's certificate needs a name: a DNS name, an address or a SPIFFE ID")
    for host in hosts:
        _host(host)


def _check_lifetime(authority: x509.Certificate, now: datetime, lifetime: timedelta) -> None:
    if lifetime <= timedelta():
        raise ValueError("the lifetime must be more than nothing")
    if now + lifetime > authority.not_valid_after_utc:
        raise ValueError(
            f"the authority ends on {authority.not_valid_after_utc:%Y-%m-%d}: ask for a shorter time"
        )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before((now - CLOCK_SKEW).replace(microsecond=0))
        .not_valid_after(end.replace(microsecond=0))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _authority_key_id(key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _key_usage(*granted: str) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{usage: usage in granted for usage in every.split()})


def _alternative_names(uris: Iterable[str], hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    identifiers = [x509.UniformResourceIdentifier(uri) for uri in uris]
    return x509.SubjectAlternativeName([*identifiers, *(_host(host) for host in hosts)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        if DNS_NAME.fullmatch(text) and len(text) <= 253:
            return x509.DNSName(text)
        raise ValueError(f"{text!r} is neither a DNS name nor an IP address") from None
