"""Who holds the client certificate: exactly one URI name, a SPIFFE id, on a leaf made for clients.

TLS has verified the chain before anything here runs. What is judged here is what TLS leaves open: grpc's own
identity list mixes the kinds of names and falls back to the common name, so the certificate is read itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from . import spiffe
from .bounded import Bounded
from .call import Call, Principal
from .chain import Guard, Stage
from .refusal import Refusal

# What cryptography raises beside ValueError for a certificate that breaks RFC 5280.
_UNREADABLE = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)


class Certificate(NamedTuple):
    """A client certificate that names a caller.

    Attributes:
        principal: The caller.
        begins: Seconds since the epoch from which it is valid.
        ends: Seconds since the epoch after which it is not.
    """

    principal: Principal
    begins: float
    ends: float


def read(pem: bytes) -> Certificate:
    """The caller that the leaf certificate *pem* names (X.509-SVID, sections 2 to 5).

    Raises:
        Refusal: CERTIFICATE_INVALID, with the reason in the note.
    """
    try:
        leaf = x509.load_pem_x509_certificate(pem)
        extensions = {extension.oid: extension.value for extension in leaf.extensions}
        begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    except (ValueError, *_UNREADABLE) as error:
        raise Refusal("CERTIFICATE_INVALID", "certificate_unreadable") from error
    if trouble := _unfit(extensions):
        raise Refusal("CERTIFICATE_INVALID", trouble)
    name = _name(extensions)
    who = Principal(name=name, certificate=name, proofs=("mtls",), expires=ends)
    return Certificate(who, begins, ends)


def _unfit(extensions: dict[x509.ObjectIdentifier, Any]) -> str:
    """Why a certificate may not speak for a client, or ""."""
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if constraints is not None and constraints.ca:
        return "certificate_of_an_authority"
    usage = extensions.get(ExtensionOID.KEY_USAGE)
    if usage is not None and (usage.key_cert_sign or usage.crl_sign):
        return "certificate_may_sign_others"
    purposes = extensions.get(ExtensionOID.EXTENDED_KEY_USAGE)
    if purposes is None or ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        return "certificate_not_for_clients"
    return ""


def _name(extensions: dict[x509.ObjectIdentifier, Any]) -> str:
    names = extensions.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    if len(uris) != 1:
        raise Refusal("CERTIFICATE_INVALID", f"certificate_has_{len(uris)}_uri_names")
    try:
        return spiffe.workload(uris[0])
    except ValueError as error:
        raise Refusal("CERTIFICATE_INVALID", "certificate_name_is_no_spiffe_id") from error


class Identity(Guard):
    """Turns the client certificate of a connection into the principal of the call.

    Args:
        required: Whether a call without a client certificate is refused.
    """

    stage = Stage.IDENTITY

    def __init__(self, *, required: bool = True) -> None:
        self._required = required
        self._read: Bounded[bytes, Certificate] = Bounded(4096)

    def admit(self, call: Call) -> None:
        """Set `call.principal`, or refuse."""
        certificate = self.certificate(call)
        if certificate is not None:
            if not certificate.begins <= call.wall < certificate.ends:
                raise Refusal("CERTIFICATE_EXPIRED")
            call.principal = certificate.principal
        elif self._required and not call.open:
            raise Refusal("CERTIFICATE_MISSING")

    def certificate(self, call: Call) -> Certificate | None:
        """The certificate that the caller showed, read once; None if it showed none."""
        found = call.auth.get("x509_pem_cert")
        if not found:
            return None
        pem = found[0]
        certificate = self._read.get(pem)
        if certificate is None:
            certificate = read(pem)
            self._read.put(pem, certificate)
        return certificate

    def again(self, call: Call, incoming: bool) -> None:
        """A certificate that expires ends an open stream."""
        who = call.principal
        if who.expires is not None and call.wall >= who.expires and who.proofs == ("mtls",):
            raise Refusal("CERTIFICATE_EXPIRED")
