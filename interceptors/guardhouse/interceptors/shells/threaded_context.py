"""The servicer context of `grpc.server` as code behind the chain sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .service_context import ServiceContext

if TYPE_CHECKING:
    from .threaded import Passage


class Aborted(Exception):  # noqa: N818 - what grpc's own abort raises, by the same idea
    """Ends a handler behind the chain; the refusal it stands for is already noted."""


class GuardedContext(ServiceContext):
    """The servicer context as code behind the chain sees it; see `aio_context`."""

    __slots__ = ()
    _way: Passage

    def details(self) -> bytes:
        """The words set so far, in UTF-8, as grpc.server gives them."""
        return str(self._way.said.details or "").encode("utf-8", "replace")

    def abort(self, code: Any, details: str | None = "") -> None:
        """End the call with *code*."""
        self._way.stopped = self._said().aborted(code, details, ())
        raise Aborted

    def abort_with_status(self, status: Any) -> None:
        """End the call with a `grpc.Status`."""
        self._way.stopped = self._said().aborted(status.code, status.details, status.trailing_metadata)
        raise Aborted
