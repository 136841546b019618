"""What a client proves itself with: a certificate and its key, and a bearer token."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc

from .errors import ConfigurationError

Source = str | os.PathLike[str] | bytes  # a path, or the PEM text itself

_TOKEN: Final = re.compile(rb"[\x21-\x7e]{1,16384}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everything a client shows a server, and what it checks the server by.

    Attributes:
        ca: Certificates that the server's must descend from; None takes the public ones that grpc brings.
        certificate: The client's certificate chain, for mutual TLS; goes with `key`.
        key: Its private key, unencrypted PEM.
        token: A JWT or an API key, sent as `authorization: Bearer ...`.
        token_file: A file that holds the token instead. It is read again whenever it changes, so that a
            token can be replaced under a running client.
        server_name: The name to expect in the server's certificate, where it is not that of the target.
    """

    ca: Source | None = None
    certificate: Source | None = None
    key: Source | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    token_file: str | os.PathLike[str] | None = None
    server_name: str = ""


def channel_credentials(credentials: Credentials) -> grpc.ChannelCredentials:
    """Return the TLS credentials of a channel. Raises ConfigurationError for what cannot be read or used."""
    if (credentials.certificate is None) != (credentials.key is None):
        raise ConfigurationError("a client certificate and its key go together: give both or neither")
    return grpc.ssl_channel_credentials(
        root_certificates=_pem("ca", credentials.ca, b"CERTIFICATE-----"),
        private_key=_pem("key", credentials.key, b"PRIVATE KEY-----"),
        certificate_chain=_pem("certificate", credentials.certificate, b"CERTIFICATE-----"),
    )


def token_source(credentials: Credentials) -> Callable[[], str]:
    """Return a function that gives the token to send now, "" for none.

    A file that is missing, empty or half-written later on leaves the last good token in use: it is being
    replaced. Raises ConfigurationError where there is no good token to begin with.
    """
    if credentials.token and credentials.token_file is not None:
        raise ConfigurationError("give a token or a token file, not both")
    if credentials.token_file is not None:
        return TokenFile(Path(credentials.token_file)).current
    token = parse_token(credentials.token.encode(), "the token") if credentials.token else ""
    return lambda: token


def parse_token(text: bytes, what: str) -> str:
    """Return the token without surrounding whitespace. Raises ConfigurationError where it could be none."""
    stripped = text.strip()
    if not _TOKEN.fullmatch(stripped):
        problem = "is empty" if not stripped else "is not one word of printable ASCII"
        raise ConfigurationError(f"{what} {problem}: put the token there, as it was issued")
    return stripped.decode("ascii")


class TokenFile:
    """A token in a file, read when the file changes. Threads may share it: its state is one reference."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._held = self._read()
        except OSError as error:
            raise ConfigurationError(f"cannot read the token file {path}: {error.strerror}") from error

    def current(self) -> str:
        """Return the token in the file now, or the last good one."""
        try:
            if _signature(self._path) != self._held[0]:
                self._held = self._read()
        except (OSError, ConfigurationError):
            pass
        return self._held[1]

    def _read(self) -> tuple[tuple[int, ...], str]:
        signature = _signature(self._path)  # before the text: a change in between is seen next time
        return signature, parse_token(self._path.read_bytes(), f"the token file {self._path}")


def _signature(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def _pem(what: str, source: Source | None, marker: bytes) -> bytes | None:
    if source is None:
        return None
    text, where = _text(what, source)
    if marker not in text:
        raise ConfigurationError(
            f"{where} holds no {what}: it must be PEM, with a line that ends in {marker.decode()}"
        )
    return text


def _text(what: str, source: Source) -> tuple[bytes, str]:
    if isinstance(source, bytes):
        return source, f"the {what} given"
    if isinstance(source, str) and "-----BEGIN" in source:  # never to be shown as a file's name
        return source.encode(), f"the {what} given"
    try:
        return Path(source).read_bytes(), str(source)
    except OSError as error:
        raise ConfigurationError(f"cannot read the {what} {source}: {error.strerror}") from error
