"""One document from one https address: no redirects, no proxies, no other schemes, bounded in size and time.

`http.client` follows nothing and reads no environment, which is why it is used here and `urllib` is not
(CVE-2026-48522, CVE-2026-102267 were its `file:` addresses and redirects).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from guardhouse.interceptors.loopback import is_loopback


class FetchError(Exception):
    """The document could not be had. The text is for the operator and holds nothing of the answer's body."""


def check_address(url: str) -> SplitResult:
    """The parts of *url*. ValueError unless it is https, or http on this very machine, with nothing extra."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("https", "http") or not host:
        raise ValueError("write an address that begins with https://")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("http is for loopback addresses only; use https://")
    if parts.username is not None or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError("the address may have neither a user nor a fragment nor blanks")
    _ = parts.port  # raises ValueError if it is none
    return parts


def fetch(url: str, *, most: int, seconds: float, trust: ssl.SSLContext | None = None) -> bytes:
    """The body that *url* answers with. Blocks; for background threads and start-up.

    Args:
        url: As `check_address` accepts it.
        most: Bytes; a longer answer is an error, and is not read further.
        seconds: For everything after the name was resolved, however slowly the other side drips; a half of it
            for each address tried, and for the TLS handshake.
        trust: Whom to trust for https; the system's authorities if None.

    Raises:
        FetchError: No connection, not status 200, too long, too slow.
    """
    parts = check_address(url)
    connection = _connection(parts, seconds, trust)
    late, done = threading.Event(), threading.Event()
    threading.Thread(target=_watch, args=(connection, seconds, done, late), daemon=True).start()
    try:
        body = _get(connection, parts, most)
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(_slow(seconds) if late.is_set() else f"no answer ({type(error).__name__})") from None
    finally:
        done.set()
        connection.close()
    if late.is_set():  # what was cut off may look like a whole answer
        raise FetchError(_slow(seconds))
    return body


def _slow(seconds: float) -> str:
    return f"no whole answer within {seconds:g} s"


def _get(connection: http.client.HTTPConnection, parts: SplitResult, most: int) -> bytes:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", path, headers={"accept": "application/json", "connection": "close"})
    with connection.getresponse() as answer:
        if answer.status != 200:
            raise FetchError(f"answered with status {answer.status}")
        body = answer.read(most + 1)
    if len(body) > most:
        raise FetchError(f"the answer is longer than {most} bytes")
    return body


def _connection(parts: SplitResult, seconds: float, trust: ssl.SSLContext | None) -> _Watched:
    host = parts.hostname or ""
    if parts.scheme == "http":
        return _Watched(host, parts.port, timeout=seconds / 2)
    context = trust or ssl.create_default_context()
    return _Https(host, parts.port, timeout=seconds / 2, context=context)


class _Watched(http.client.HTTPConnection):
    """Keeps its socket in sight of `_watch`, where the library lets go of it before the answer is read."""

    line: Any = None

    def connect(self) -> None:
        super().connect()  # TLS included; the socket's own timeout is for each of the two
        self.line = self.sock
        self.line.settimeout(None)


class _Https(_Watched, http.client.HTTPSConnection):
    pass


def _watch(connection: _Watched, seconds: float, done: threading.Event, late: threading.Event) -> None:
    """End a conversation that takes too long, from outside of the thread that waits for it."""
    while not done.wait(seconds):
        late.set()
        seconds = 0.1  # once more, if there was no connection yet
        if connection.line is not None:
            with suppress(OSError):
                socket.socket.shutdown(connection.line, socket.SHUT_RDWR)  # not TLS's, which would wait
