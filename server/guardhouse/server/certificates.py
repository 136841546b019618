"""What a certificate says, put plainly, and what is wrong with it as a caller's identity."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from guardhouse.interceptors import spiffe
from guardhouse.server.pki import is_authority

USAGE_NAMES: Final = {
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "any",
}


def load(pem: bytes) -> x509.Certificate:
    """Return the first certificate in `pem`. Raises ValueError, without a word of it, where there is none."""
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise ValueError("it holds no readable certificate in PEM") from None


def describe(certificate: x509.Certificate, *, now: datetime) -> dict[str, Any]:
    """Return the certificate's facts as plain values; times are ISO 8601 in UTC."""
    names = _names(certificate)
    usages = _usages(certificate)
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        **names,
        "usages": usages,
        "authority": is_authority(certificate),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "fingerprint_sha256": certificate.fingerprint(hashes.SHA256()).hex(),
        "warnings": warnings(certificate, names, usages, now=now),
    }


def warnings(
    certificate: x509.Certificate,
    names: Mapping[str, Sequence[str]],
    usages: Sequence[str],
    *,
    now: datetime,
) -> list[str]:
    """Return why this certificate would not do as an identity, one sentence each; none if it would."""
    uris, authority = names["uris"], is_authority(certificate)
    rules = {
        "it has expired": certificate.not_valid_after_utc <= now,
        "it is not valid yet": certificate.not_valid_before_utc > now,
        "it is an authority's certificate: it signs others and identifies nobody": authority,
        "it has no URI name: as a client it identifies nobody": not uris,
        "it has more than one URI name: as a client it identifies nobody": len(uris) > 1,
        "its URI name is no SPIFFE ID": not authority and len(uris) == 1 and not _is_spiffe_id(uris[0]),
        "it names no extended usage: neither client nor server": not usages and not authority,
    }
    return [sentence for sentence, holds in rules.items() if holds]


def _names(certificate: x509.Certificate) -> dict[str, list[str]]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return {"uris": [], "dns": [], "addresses": []}
    return {
        "uris": names.get_values_for_type(x509.UniformResourceIdentifier),
        "dns": names.get_values_for_type(x509.DNSName),
        "addresses": [str(address) for address in names.get_values_for_type(x509.IPAddress)],
    }


def _usages(certificate: x509.Certificate) -> list[str]:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    return [USAGE_NAMES.get(usage, usage.dotted_string) for usage in usages]


def _is_spiffe_id(text: str) -> bool:
    try:
        return bool(spiffe.workload(text))
    except ValueError:
        return False
