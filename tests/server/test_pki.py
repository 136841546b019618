"""The development authority: OpenSSL, Python's ssl and our own identity guard read its certificates."""

import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from guardhouse.interceptors import Refusal, identity
from guardhouse.server import certificates, pki

# TLS libraries look at the real clock, so certificates are made for now.
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ID = "spiffe://guardhouse.local/client"

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command is not installed"
)


@pytest.fixture(scope="module")
def authority() -> pki.Issued:
    """An authority of the usual trust domain."""
    return pki.create_authority("guardhouse.local", now=NOW)


@pytest.fixture(scope="module")
def folder(authority: pki.Issued, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of an authority, a server, a client, and a client of a stranger's authority."""
    made = tmp_path_factory.mktemp("pki")
    stranger = pki.create_authority("guardhouse.local", now=NOW)
    pairs = {
        "ca": authority,
        "server": pki.issue(authority, usage="server", hosts=pki.LOOPBACK, now=NOW),
        "client": pki.issue(authority, usage="client", spiffe_id=ID, now=NOW),
        "stranger": pki.issue(stranger, usage="client", spiffe_id=ID, now=NOW),
    }
    for name, pair in pairs.items():
        (made / f"{name}.pem").write_bytes(pair.certificate_pem)
        (made / f"{name}.key").write_bytes(pair.key_pem)
    return made


def openssl_verify(folder: Path, name: str, *options: str) -> bool:
    """Whether `openssl verify`, in its strict mode, accepts a certificate of the folder."""
    line = ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / "ca.pem"), *options]
    return (
        subprocess.run([*line, str(folder / f"{name}.pem")], capture_output=True, check=False).returncode == 0
    )


@needs_openssl
@pytest.mark.parametrize(
    ("name", "options", "accepted"),
    [
        ("client", ["-purpose", "sslclient"], True),
        ("server", ["-purpose", "sslserver"], True),
        ("server", ["-purpose", "sslserver", "-verify_hostname", "localhost"], True),
        ("server", ["-purpose", "sslserver", "-verify_ip", "127.0.0.1"], True),
        ("server", ["-purpose", "sslserver", "-verify_ip", "::1"], True),
        ("server", ["-verify_hostname", "example.com"], False),
        ("client", ["-purpose", "sslserver"], False),
        ("server", ["-purpose", "sslclient"], False),
        ("stranger", [], False),
    ],
)
def test_openssl_accepts_each_certificate_for_its_purpose_only(
    folder: Path, name: str, options: list[str], accepted: bool
) -> None:
    """OpenSSL's strict mode takes a client for a client and a server for its names, and nothing else."""
    assert openssl_verify(folder, name, *options) is accepted


def context(folder: Path, side: ssl._SSLMethod, name: str) -> ssl.SSLContext:
    """A TLS context of one side that demands, and strictly checks, the other's certificate."""
    made = ssl.SSLContext(side)
    made.load_verify_locations(folder / "ca.pem")
    made.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    return made


def handshake(folder: Path, server: str, client: str) -> bytes:
    """Shake hands in memory; return the client's certificate as the server saw it, DER."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = context(folder, ssl.PROTOCOL_TLS_SERVER, server).wrap_bio(
        to_server, to_client, server_side=True
    )
    calling = context(folder, ssl.PROTOCOL_TLS_CLIENT, client).wrap_bio(
        to_client, to_server, server_hostname="localhost"
    )
    waiting = [calling, serving]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
    seen = serving.getpeercert(binary_form=True)
    assert seen
    return seen


def test_server_and_client_shake_hands(folder: Path) -> None:
    """Mutual TLS works between the issued pair, and the server sees the client's certificate."""
    seen = handshake(folder, "server", "client")
    assert identity.read(ssl.DER_cert_to_PEM_cert(seen).encode()).principal.name == ID


@pytest.mark.parametrize(
    ("server", "client"), [("server", "stranger"), ("client", "client"), ("server", "server")]
)
def test_no_handshake_with_the_wrong_certificate(folder: Path, server: str, client: str) -> None:
    """A stranger's client, a client that plays server and a server that plays client are refused."""
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(folder, server, client)


def test_identity_guard_takes_clients_alone(authority: pki.Issued) -> None:
    """The guard reads the client's name, and refuses the server's and the authority's certificates."""
    client = pki.issue(authority, usage="client", spiffe_id=ID, now=NOW)
    assert identity.read(client.certificate_pem).principal.name == ID
    server = pki.issue(authority, usage="server", spiffe_id=ID, hosts=["localhost"], now=NOW)
    for wrong in (server, authority):
        with pytest.raises(Refusal):
            identity.read(wrong.certificate_pem)


def test_times_allow_for_a_slow_clock(authority: pki.Issued) -> None:
    """Validity starts five minutes early and lasts what was asked for, from the given time on."""
    leaf = pki.issue(authority, usage="client", spiffe_id=ID, now=NOW, lifetime=DAY).certificate
    assert leaf.not_valid_before_utc == (NOW - timedelta(minutes=5)).replace(microsecond=0)
    assert leaf.not_valid_after_utc == (NOW + DAY).replace(microsecond=0)


def test_authority_signs_leaves_only(authority: pki.Issued) -> None:
    """The authority may sign leaves, no further authority, and is named for development."""
    extensions = authority.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (True, True, False)
    assert "development CA" in authority.certificate.subject.rfc4514_string()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"usage": "client"}, "needs a SPIFFE ID"),
        ({"usage": "client", "hosts": ["localhost"]}, "needs a SPIFFE ID"),
        ({"usage": "server"}, "needs a name"),
        ({"usage": "client", "spiffe_id": "https://guardhouse.local/client"}, "spiffe://"),
        ({"usage": "client", "spiffe_id": "spiffe://guardhouse.local"}, "path"),
        ({"usage": "client", "spiffe_id": "spiffe://Guardhouse.local/client"}, "trust domain"),
        ({"usage": "client", "spiffe_id": "spiffe://guardhouse.local:8443/client"}, "trust domain"),
        ({"usage": "client", "spiffe_id": "spiffe://guardhouse.local/a/../b"}, "segments"),
        ({"usage": "client", "spiffe_id": "spiffe://guardhouse.local/a%20b"}, "segments"),
        ({"usage": "client", "spiffe_id": "spiffe://guardhouse.local/client\n"}, "segments"),
        ({"usage": "server", "hosts": ["local host"]}, "neither a DNS name"),
        ({"usage": "server", "hosts": ["localhost\0.evil.example"]}, "neither a DNS name"),
        ({"usage": "server", "hosts": ["a" * 64]}, "neither a DNS name"),
        ({"usage": "client", "spiffe_id": ID, "lifetime": timedelta()}, "more than nothing"),
        ({"usage": "client", "spiffe_id": ID, "lifetime": 400 * DAY}, "shorter"),
    ],
)
def test_nothing_is_signed_without_right_names_and_times(
    authority: pki.Issued, wrong: dict[str, Any], words: str
) -> None:
    """Missing or malformed names, and times past the authority's own, are refused in words that help."""
    with pytest.raises(ValueError, match=words):
        pki.issue(authority, now=NOW, **wrong)


@pytest.mark.parametrize("wrong", ["", "Acme", "a/b", "spiffe://a", "a b", "a" * 256, "a\n"])
def test_trust_domain_follows_the_grammar(wrong: str) -> None:
    """Only a bare trust domain of the SPIFFE grammar makes an authority."""
    with pytest.raises(ValueError, match="trust domain"):
        pki.create_authority(wrong, now=NOW)


def test_authority_is_read_back(authority: pki.Issued) -> None:
    """An authority written as PEM and read back signs as before."""
    again = pki.load_authority(authority.certificate_pem, authority.key_pem)
    leaf = pki.issue(again, usage="client", spiffe_id=ID, now=NOW).certificate
    leaf.verify_directly_issued_by(authority.certificate)


def test_only_a_matching_authority_is_read_back(authority: pki.Issued) -> None:
    """Another's key, a leaf, and text that is no PEM are not taken for an authority."""
    other = pki.create_authority("other.local", now=NOW)
    leaf = pki.issue(authority, usage="client", spiffe_id=ID, now=NOW)
    for certificate, key in [
        (authority.certificate_pem, other.key_pem),
        (leaf.certificate_pem, leaf.key_pem),
        (b"", authority.key_pem),
        (authority.certificate_pem, b"-----BEGIN PRIVATE KEY-----\n"),
    ]:
        with pytest.raises(ValueError, match=r".+"):
            pki.load_authority(certificate, key)


def test_private_key_stays_out_of_the_representation(authority: pki.Issued) -> None:
    """Printing an issued pair does not print, or name, its key."""
    assert "key" not in repr(authority).replace("Certificate(", "")


def test_description_of_a_good_client(authority: pki.Issued) -> None:
    """A good client's certificate is described by its names, usage and fingerprint, without a warning."""
    pair = pki.issue(authority, usage="client", spiffe_id=ID, now=NOW)
    facts = certificates.describe(pair.certificate, now=NOW)
    assert (facts["uris"], facts["dns"], facts["usages"]) == ([ID], [], ["client"])
    assert facts["warnings"] == []
    assert facts["issuer"] == "CN=guardhouse development CA"
    assert len(facts["fingerprint_sha256"]) == 64


def test_description_warns(authority: pki.Issued) -> None:
    """An expired leaf, one not yet valid, one without a URI name and an authority are each warned about."""
    client = pki.issue(authority, usage="client", spiffe_id=ID, now=NOW, lifetime=DAY).certificate
    server = pki.issue(authority, usage="server", hosts=["localhost"], now=NOW).certificate
    cases = [
        (client, NOW + DAY, "expired"),
        (client, NOW - DAY, "not valid yet"),
        (server, NOW, "no URI name"),
        (authority.certificate, NOW, "authority"),
        (with_uris(authority, ID, ID + "2"), NOW, "more than one URI name"),
        (with_uris(authority, "https://example.com/"), NOW, "no SPIFFE ID"),
    ]
    for certificate, now, words in cases:
        assert any(words in warning for warning in certificates.describe(certificate, now=now)["warnings"]), (
            words
        )


def with_uris(authority: pki.Issued, *uris: str) -> x509.Certificate:
    """A certificate with any URI names, which `issue` would not sign."""
    from cryptography.hazmat.primitives import hashes

    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
    return (
        x509.CertificateBuilder()
        .subject_name(authority.certificate.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(authority.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(names, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
