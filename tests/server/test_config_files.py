"""The files a configuration names: each that is missing, unreadable or wrong is refused by its key."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from guardhouse.server.config import ConfigError, check_files, load
from guardhouse.server.config_files import MOST_BYTES

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
Break = Callable[[Path], object]


def rewrite(name: str, content: str) -> Break:
    """A function that puts *content* into the file *name*."""
    return lambda folder: (folder / name).write_text(content)


def remove(name: str) -> Break:
    """A function that removes the file *name*."""
    return lambda folder: (folder / name).unlink()


def copy(source: str, name: str) -> Break:
    """A function that puts the content of *source* into *name*."""
    return lambda folder: (folder / name).write_bytes((folder / source).read_bytes())


def folder_for(name: str) -> Break:
    """A function that puts a folder in the place of the file *name*."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return change


def self_signed(name: str) -> Break:
    """A function that puts into the file *name* a self-signed certificate that does not say it is a CA."""

    def change(folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plain")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(called, called, key.public_key(), x509.random_serial_number())
        signed = builder.not_valid_before(now).not_valid_after(now + timedelta(1)).sign(key, SHA256())
        (folder / name).write_bytes(signed.public_bytes(Encoding.PEM))

    return change


def tracing(*lines: str) -> Break:
    """A function that writes *lines* into the section on tracing, for a collector behind TLS."""

    def change(folder: Path) -> None:
        path = folder / "guardhouse.yaml"
        head, _, _ = path.read_text().partition("tracing:\n")
        path.write_text(
            f"{head}tracing:\n  endpoint: https://a:1\n" + "".join(f"  {line}\n" for line in lines)
        )

    return change


# What is done to a good folder: the change, the key it is told under, words.
BROKEN: dict[str, tuple[Break, str, str]] = {
    "no certificate": (remove("pki/server.pem"), "tls.certificate", "cannot be read: no such file"),
    "no key": (remove("pki/server.key"), "tls.key", "cannot be read: no such file"),
    "no CA": (remove("pki/ca.pem"), "tls.client_ca", "cannot be read: no such file"),
    "empty CA": (rewrite("pki/ca.pem", ""), "tls.client_ca", "is empty; put the right file there"),
    "blank CA": (rewrite("pki/ca.pem", "\n \n"), "tls.client_ca", "is empty"),
    "garbage CA": (rewrite("pki/ca.pem", "hello\n"), "tls.client_ca", "holds no certificate in PEM"),
    "broken CA": (rewrite("pki/ca.pem", CERTIFICATE), "tls.client_ca", "holds no certificate in PEM"),
    "a key as CA": (copy("pki/ca.key", "pki/ca.pem"), "tls.client_ca", "holds no certificate in PEM"),
    "a leaf as CA": (copy("pki/client.pem", "pki/ca.pem"), "tls.client_ca", "is no authority's"),
    "folder as CA": (folder_for("pki/ca.pem"), "tls.client_ca", "is a folder; write the path of a file"),
    "garbage certificate": (rewrite("pki/server.pem", "x"), "tls.certificate", "holds no certificate in PEM"),
    "garbage key": (rewrite("pki/server.key", "x"), "tls.key", "holds no private key in PEM"),
    "certificate as key": (copy("pki/server.pem", "pki/server.key"), "tls.key", "holds no private key"),
    "key of another": (
        copy("pki/client.key", "pki/server.key"),
        "tls.key",
        "does not belong to the certificate",
    ),
    "open key": (lambda folder: (folder / "pki/server.key").chmod(0o644), "tls.key", "run chmod 600"),
    "no key set": (remove("pki/jwks.json"), "tokens.issuers.0.jwks", "cannot be read: no such file"),
    "garbage key set": (rewrite("pki/jwks.json", "x"), "tokens.issuers.0.jwks", "holds no JSON Web Key Set"),
    "empty key set": (rewrite("pki/jwks.json", '{"keys": []}'), "tokens.issuers.0.jwks", "holds no JSON Web"),
    "deep key set": (rewrite("pki/jwks.json", "[" * 10**5), "tokens.issuers.0.jwks", "holds no JSON Web Key"),
    "no key store": (remove("keys.db"), "tokens.api_keys", "cannot be read: no such file"),
    "no policy": (remove("policy.yaml"), "policy", "cannot be read: no such file"),
    "folder as policy": (folder_for("policy.yaml"), "policy", "is a folder; write the path of a file"),
    "huge CA": (rewrite("pki/ca.pem", "x" * (MOST_BYTES + 1)), "tls.client_ca", "is over 8 MiB"),
    "plain CA": (self_signed("pki/ca.pem"), "tls.client_ca", "is no authority's"),
    "file as spool": (
        tracing("spool: policy.yaml"),
        "tracing.spool",
        "cannot be a folder",
    ),
    "no collector CA": (tracing("ca: gone.pem"), "tracing.ca", "cannot be read: no such file"),
    "garbage collector CA": (tracing("ca: policy.yaml"), "tracing.ca", "holds no certificate in PEM"),
    "key of another for the collector": (
        tracing("certificate: pki/client.pem", "key: pki/server.key"),
        "tracing.key",
        "does not belong to the certificate",
    ),
    "file as ledger": (rewrite("ledger", "x"), "audit.path", "cannot be a folder"),
    "no ledger key": (remove("pki/ledger.key"), "audit.signing_key", "cannot be read"),
    "garbage as ledger key": (rewrite("pki/ledger.key", "x"), "audit.signing_key", "no private key in PEM"),
    "server's key as ledger key": (
        copy("pki/server.key", "pki/ledger.key"),
        "audit.signing_key",
        "is not an Ed25519 key",
    ),
    "open ledger key": (
        lambda folder: (folder / "pki/ledger.key").chmod(0o644),
        "audit.signing_key",
        "may be read or written by everybody",
    ),
}


@pytest.mark.parametrize(("change", "key", "words"), BROKEN.values(), ids=BROKEN)
def test_broken_files_are_refused(made: Path, change: Break, key: str, words: str) -> None:
    """One broken file is one problem, at the line of the key that names it."""
    path = made / "guardhouse.yaml"
    change(made)
    config = load(path)
    with pytest.raises(ConfigError) as refused:
        check_files(config)
    assert [problem.key for problem in refused.value.problems] == [key]
    found = refused.value.problems[0]
    assert words in found.message
    assert path.read_text().splitlines()[found.line - 1].strip(" -").startswith(key.rpartition(".")[2])


def test_the_folder_of_init_is_good(made: Path) -> None:
    """Nothing is wrong with what init makes."""
    check_files(load(made / "guardhouse.yaml"))


def test_an_encrypted_key_is_refused_in_its_own_words(made: Path) -> None:
    """A key with a passphrase is told apart from garbage."""
    path = made / "pki/server.key"
    key: Any = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(ConfigError, match="is encrypted; write it out without a passphrase"):
        check_files(load(made / "guardhouse.yaml"))


def test_a_missing_model_file_is_refused(made: Path) -> None:
    """An ONNX file that is not there is refused under its model."""
    path = made / "guardhouse.yaml"
    config = load(path, ["models.0={name: m, onnx: gone.onnx}"])
    with pytest.raises(ConfigError) as refused:
        check_files(config)
    assert str(refused.value).startswith(f"--set: models.0.onnx: {made}/gone.onnx cannot be read")


def test_without_client_certificates_no_authority_is_read(made: Path) -> None:
    """With client_auth none the authority's file does not matter, and may be gone."""
    (made / "pki/ca.pem").unlink()
    check_files(load(made / "guardhouse.yaml", ["tls.client_auth=none"]))


@pytest.mark.parametrize(
    ("setting", "content", "words"),
    [
        ("audit.key=secret", "", "is empty"),
        ("audit.key=secret", " \n" * 40, "is empty"),
        ("audit.key=secret", "x" * 31, "has 31 bytes; it needs at least 32"),
        ("audit.key=nowhere", "", "cannot be read"),
        ("audit.anchor=secret", "x", "is not SEQ:HASH"),
        ("audit.anchor=nowhere/anchor", "", "has no folder to stand in"),
    ],
)
def test_what_secures_the_ledger_is_looked_at(made: Path, setting: str, content: str, words: str) -> None:
    """A weak or missing secret, or an anchor that is none, is refused by its key before anything starts."""
    (made / "secret").write_text(content)
    (made / "secret").chmod(0o600)
    with pytest.raises(ConfigError) as refused:
        check_files(load(made / "guardhouse.yaml", [setting]))
    (problem,) = refused.value.problems
    assert problem.key == setting.partition("=")[0]
    assert words in problem.message


def test_a_secret_of_the_environment_is_never_shown(made: Path) -> None:
    """The key is taken as it is, and no text of the configuration repeats it."""
    config = load(made / "guardhouse.yaml", ["audit.key=${KEY}"], {"KEY": "canary" * 10})
    assert config.audit.key == b"canary" * 10
    assert "canary" not in repr(config)
    check_files(config)


def test_nothing_of_a_file_is_quoted(made: Path) -> None:
    """A message about a broken key holds nothing of what is in it."""
    key = made / "pki/server.key"
    key.write_text("-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigError) as refused:
        check_files(load(made / "guardhouse.yaml"))
    assert "canary" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_ledger_folder_that_cannot_be_written_is_refused(made: Path) -> None:
    """A folder of the ledger that is not ours is refused before anything starts."""
    (made / "ledger").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="cannot be written to"):
        check_files(load(made / "guardhouse.yaml"))


def test_a_folder_of_captures_that_is_open_to_others_is_refused(made: Path) -> None:
    """Captures are for few eyes: the server does not start where others could look in."""
    config = load(made / "guardhouse.yaml", ["capture={models: ['*']}"])
    check_files(config)  # where it is not there, it will be made as it must be
    (made / "captures").mkdir(mode=0o750)
    with pytest.raises(ConfigError, match="is open to others, and captures are for few eyes; run chmod 700"):
        check_files(config)
    (made / "captures").chmod(0o700)
    check_files(config)
