"""The servicer context as code behind the chain sees it: what both shells have in common.

What the service says about the end of its call is noted here and sent by the shell, so that the record and
the caller are told the same. What grpc knows of the peer comes from the snapshot taken at the start: asking
grpc itself after the call has ended ends the process.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Protocol

from guardhouse.interceptors.call import Call, Metadata
from guardhouse.interceptors.refusal import Refusal

from .shapes import handler_refusal, without_credentials

LOG = logging.getLogger("guardhouse")


class Said:
    """What the service has said about the end of its call."""

    __slots__ = ("code", "details", "trailing")

    def __init__(self) -> None:
        self.code: Any = None  # as given: a StatusCode or its number
        self.details: str | None = ""
        self.trailing: Metadata = ()

    def refusal(self) -> Refusal | None:
        """The refusal that a code set by `set_code` stands for; None where there is none, or OK."""
        if self.code in (None, 0) or getattr(self.code, "name", "") == "OK":
            return None
        return handler_refusal(self.code, self.details)

    def aborted(self, code: Any, details: str | None, trailing: Any) -> Refusal:
        """The refusal that an abort stands for. One that is private keeps its metadata to itself, too."""
        refusal = handler_refusal(code, details)
        self.code, self.details = refusal.code, refusal.words
        if trailing and refusal.reason == "HANDLER":
            self.trailing = pairs(trailing)
        return refusal


def pairs(metadata: Any) -> Metadata:
    """Those items of *metadata* that are a key and its text or bytes; the others are logged, not sent.

    Whatever a service hands over here is looked at once the call is settled: it must not raise then.
    """
    found = []
    for item in metadata:
        if isinstance(item, tuple) and len(item) == 2 and _is_pair(*item):
            found.append((item[0], item[1]))
        else:
            LOG.error(
                "trailing metadata of type %s is no pair of texts, and was not sent", type(item).__name__
            )
    return tuple(found)


def _is_pair(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, str | bytes)


NOTHING_SAID: Final = Said()  # most services say nothing


class Way(Protocol):
    """A call on its way through the chain: what both shells have, and the context shows the service."""

    call: Call
    said: Said
    context: Any


class ServiceContext:
    """Everything not defined here is grpc's own context."""

    __slots__ = ("_way",)

    def __init__(self, way: Way) -> None:
        self._way = way

    def __getattr__(self, name: str) -> Any:
        return getattr(self._way.context, name)

    def _said(self) -> Said:
        """Where to note what the service says."""
        if self._way.said is NOTHING_SAID:
            self._way.said = Said()
        return self._way.said

    def set_code(self, code: Any) -> None:
        """End the call with *code* once the handler returns."""
        self._said().code = code

    def code(self) -> Any:
        """The code set so far, or None."""
        return self._way.said.code

    def set_details(self, details: str) -> None:
        """The words that go with the code."""
        self._said().details = details

    def details(self) -> Any:
        """The words set so far."""
        return self._way.said.details

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """The service's own trailing metadata; what the chain adds comes with it."""
        self._said().trailing = pairs(trailing_metadata or ())

    def trailing_metadata(self) -> Metadata:
        """What the service has set."""
        return self._way.said.trailing

    def invocation_metadata(self) -> Metadata:
        """The caller's metadata without its credentials."""
        return without_credentials(self._way.call)

    def peer(self) -> str:
        """Where the call came from."""
        return self._way.call.peer

    def auth_context(self) -> Any:
        """What the transport knows of the caller."""
        return self._way.call.auth
