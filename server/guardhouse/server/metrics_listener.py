"""Serves the page of metrics over HTTP, from a thread with an event loop of its own.

Calls and scrapes do not wait for each other, and the page can be read while the server drains. Whoever asks
gets one answer and is disconnected (RFC 9112, 9.6); asking often, slowly, or for much costs the asker only.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from guardhouse.interceptors.metrics.text import CONTENT_TYPE

LOG = logging.getLogger("guardhouse.metrics")
PATH: Final = b"/metrics"
LONGEST: Final = 8192  # bytes of a request
MOST: Final = 8  # requests at once
PATIENCE: Final = 5.0  # seconds from a connection to its end
FRESH: Final = 1.0  # seconds for which a page is given again: it takes some 1 ms to make

Page = Callable[[], str]


@contextmanager
def listening(address: str, page: Page) -> Iterator[str]:
    """Serve *page* at `/metrics` until left; lends the address, its port chosen if *address* had port 0.

    Args:
        address: host:port, IPv6 in brackets.
        page: Makes the page; called in the thread that serves it.

    Raises:
        OSError: Nobody can listen there.
    """
    host, _, port = address.rpartition(":")
    family, _, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    listener = socket.create_server((str(where[0]), int(where[1])), family=family)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(
        target=_run, args=(loop, listener, _Scrapes(kept(page)), stop), name="guardhouse-scrapes", daemon=True
    )
    thread.start()
    try:
        yield f"{host}:{listener.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def kept(page: Page, clock: Callable[[], float] = time.monotonic) -> Page:
    """*page*, made anew only if the last one is older than `FRESH` on *clock*, in seconds."""
    last, until = "", -1.0

    def fresh() -> str:
        nonlocal last, until
        if clock() >= until:
            last = page()
            until = clock() + FRESH
        return last

    return fresh


def answer(head: bytes, page: Page) -> bytes:
    """The answer to the request whose lines are *head*."""
    method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    target, _, version = rest.partition(b" ")
    if not version.startswith(b"HTTP/1."):
        return response("400 Bad Request", "this is no HTTP/1.1\n")
    if target.partition(b"?")[0] != PATH:
        return response("404 Not Found", "there is /metrics, and nothing else\n")
    if method not in (b"GET", b"HEAD"):
        return response("405 Method Not Allowed", "GET or HEAD\n", "Allow: GET, HEAD\r\n")
    full = response("200 OK", page(), kind=CONTENT_TYPE)
    return full if method == b"GET" else full.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def response(status: str, text: str, more: str = "", kind: str = "text/plain; charset=utf-8") -> bytes:
    """An HTTP/1.1 response that ends its connection; *more* are header lines."""
    body = text.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}"
    return f"{head}Connection: close\r\n\r\n".encode() + body


class _Scrapes:
    """Answers connections, `MOST` at once; more are closed without a word, and so is who asks for long."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._open: set[asyncio.Task[None]] = set()

    def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MOST:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(PATIENCE):
                    writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                    writer.close()
                    await writer.wait_closed()
        finally:
            writer.transport.abort()  # also what somebody did not read in time

    def _answer(self, head: bytes) -> bytes:
        try:
            return answer(head, self._page)
        except Exception:
            LOG.exception("the metrics could not be read")
            return response("500 Internal Server Error", "the metrics could not be read\n")


def _run(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, scrapes: _Scrapes, stop: asyncio.Event
) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_serve(listener, scrapes, stop))


async def _serve(listener: socket.socket, scrapes: _Scrapes, stop: asyncio.Event) -> None:
    server = await asyncio.start_server(scrapes, sock=listener, limit=LONGEST)
    await stop.wait()
    server.close()  # what is still open is cancelled as the loop ends
