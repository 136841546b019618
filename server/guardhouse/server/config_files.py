"""The files a configuration names: there, readable, and what they should be."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from guardhouse.interceptors.documents import Problem
from guardhouse.interceptors.ledger.anchor import read_anchor
from guardhouse.interceptors.ledger.keys import Signer, secret_in

from .config import Collector, Config

MOST_BYTES = 8 * 2**20


class Unusable(Exception):  # noqa: N818 - a finding, not a defect
    """A file is not what it should be. The text says how, and never what is in it."""


def problems(config: Config) -> list[Problem]:
    """Everything wrong with the files of *config*, in the order of its keys."""
    return [config.problem(key, message) for key, message in _troubles(config)]


def _troubles(config: Config) -> Iterator[tuple[str, str]]:
    yield from _tls(config)
    for position, issuer in enumerate(config.tokens.issuers):
        if "://" not in issuer.jwks:
            yield from _trouble(f"tokens.issuers.{position}.jwks", _check_key_set, Path(issuer.jwks))
    if config.tokens.api_keys is not None:
        yield from _trouble("tokens.api_keys", _check_readable, config.tokens.api_keys)
    yield from _trouble("policy", _check_readable, config.policy)
    for position, model in enumerate(config.models):
        if model.onnx is not None:
            yield from _trouble(f"models.{position}.onnx", _check_readable, model.onnx)
    for name in ("ca", "certificate", "key"):
        if (path := getattr(config.limits, name)) is not None:
            yield from _trouble(f"limits.{name}", _check_readable, path)
    yield from _audit(config)
    if config.tracing is not None:
        yield from _tracing(config.tracing)
    if config.capture is not None:
        yield from _trouble("capture.path", _check_private_folder, config.capture.path)


def _trouble(key: str, check: Callable[[Path], object], path: Path) -> Iterator[tuple[str, str]]:
    """What *check* has against *path*, if anything."""
    try:
        check(path)
    except Unusable as error:
        yield key, f"{path} {error}"
    except OSError as error:
        yield (
            key,
            f"{path} cannot be read: {(error.strerror or type(error).__name__).lower()}; check the path",
        )


def _tls(config: Config) -> Iterator[tuple[str, str]]:
    tls = config.tls
    found = [
        *_trouble("tls.certificate", _certificates, tls.certificate),
        *_trouble("tls.key", _check_key, tls.key),
    ]
    yield from found
    if not found:
        yield from _trouble("tls.key", lambda key: _check_pair(tls.certificate, key), tls.key)
    if tls.client_auth == "require" and tls.client_ca is not None:
        yield from _trouble("tls.client_ca", _check_authorities, tls.client_ca)


def _tracing(collector: Collector) -> Iterator[tuple[str, str]]:
    if collector.ca is not None:
        yield from _trouble("tracing.ca", _certificates, Path(collector.ca))
    if collector.certificate is not None and collector.key is not None:
        certificate, key = Path(collector.certificate), Path(collector.key)
        found = [
            *_trouble("tracing.certificate", _certificates, certificate),
            *_trouble("tracing.key", _check_key, key),
        ]
        yield from found or _trouble("tracing.key", lambda key: _check_pair(certificate, key), key)
    if collector.spool is not None:
        yield from _trouble("tracing.spool", _check_folder, Path(collector.spool))


def _audit(config: Config) -> Iterator[tuple[str, str]]:
    audit = config.audit
    yield from _trouble("audit.path", _check_folder, audit.path)
    if isinstance(audit.key, Path):
        yield from _trouble("audit.key", _by(secret_in), audit.key)
    if audit.signing_key is not None:
        yield from _trouble("audit.signing_key", _by(Signer.load), audit.signing_key)
    if audit.anchor is not None:
        yield from _trouble("audit.anchor", _check_anchor, audit.anchor)


def _by(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """A check that *read*, which raises ValueError, can read the file."""

    def check(path: Path) -> None:
        try:
            read(path)
        except ValueError as error:
            raise Unusable(str(error)) from None

    return check


def _check_anchor(path: Path) -> None:
    """Its folder is there: it stands elsewhere on purpose, and making one could hide a missing disk."""
    if not path.parent.is_dir():
        raise Unusable(f"has no folder to stand in; make {path.parent}, or write another path")
    _check_folder(path.parent)
    _by(read_anchor)(path)


def _read(path: Path) -> bytes:
    if path.is_dir():
        raise Unusable("is a folder; write the path of a file")
    with path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if not content.strip():
        raise Unusable("is empty; put the right file there")
    if len(content) > MOST_BYTES:
        raise Unusable("is over 8 MiB; it is the wrong file")
    return content


def _check_readable(path: Path) -> None:
    """There, a file, and open to us; a model or a database may be of any size."""
    if path.is_dir():
        raise Unusable("is a folder; write the path of a file")
    with path.open("rb"):
        return


def _certificates(path: Path) -> list[x509.Certificate]:
    content = _read(path)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise Unusable("holds no certificate in PEM; it begins -----BEGIN CERTIFICATE-----") from None


def _check_authorities(path: Path) -> None:
    """At least one authority, and nothing that is none: a server must never verify against nothing."""
    for certificate in _certificates(path):
        try:
            constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        except (x509.ExtensionNotFound, ValueError):
            constraints = None
        if constraints is None or not constraints.ca:
            raise Unusable("holds a certificate that is no authority's; write the file of the CA")


def _private_key(path: Path) -> object:
    content = _read(path)
    try:
        return load_pem_private_key(content, password=None)
    except TypeError:
        raise Unusable("is encrypted; write it out without a passphrase, mode 0600") from None
    except (ValueError, UnsupportedAlgorithm):
        raise Unusable("holds no private key in PEM; it begins -----BEGIN PRIVATE KEY-----") from None


def _check_key(path: Path) -> None:
    _private_key(path)
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise Unusable(f"may be read or written by everybody; run chmod 600 {path}")


def _check_pair(certificate: Path, key: Path) -> None:
    """The key belongs to the first certificate of the file, which is the one a server shows."""
    shown = _certificates(certificate)[0].public_key()
    private: Any = _private_key(key)
    if private.public_key() != shown:
        raise Unusable(f"does not belong to the certificate in {certificate}; write the key it was made with")


def _check_key_set(path: Path) -> None:
    """A JSON Web Key Set (RFC 7517) with a key in it; the token guard judges the keys themselves."""
    content = _read(path)
    try:
        keys = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        keys = None
    if not isinstance(keys, list) or not keys:
        raise Unusable('holds no JSON Web Key Set; it looks like {"keys": [...]}')


def _check_folder(path: Path) -> None:
    """A folder that can be written to, or can be made."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise Unusable(f"cannot be a folder: {nearest} is a file; write another path")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise Unusable(f"cannot be written to: {nearest} is not ours; change its owner or write another path")


def _check_private_folder(path: Path) -> None:
    """The same, and nobody else may look in."""
    _check_folder(path)
    if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise Unusable(f"is open to others, and captures are for few eyes; run chmod 700 {path}")
