"""The servicer context of `grpc.aio` as code behind the chain sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc.aio

from .service_context import ServiceContext

if TYPE_CHECKING:
    from .aio_passage import Passage


class Aborted(grpc.aio.AbortError):
    """What `context.abort` raises behind the chain; the refusal it stands for is already noted."""


class GuardedContext(ServiceContext):
    """The servicer context as code behind the chain sees it.

    Messages read and written pass the chain; aborts and codes are noted and sent by the passage; the
    caller's credentials are not shown.
    """

    __slots__ = ()
    _way: Passage

    async def read(self) -> Any:
        """The next request message, inspected, or `grpc.aio.EOF`."""
        return await self._way.next_request()

    async def write(self, message: Any) -> None:
        """Send a response message, as far as the chain lets it out."""
        await self._way.write(message)

    async def abort(self, code: Any, details: str | None = "", trailing_metadata: Any = ()) -> None:
        """End the call with *code*."""
        self._way.stopped = self._said().aborted(code, details, trailing_metadata)
        raise Aborted

    async def abort_with_status(self, status: Any) -> None:
        """End the call with a `grpc.Status`."""
        await self.abort(status.code, status.details, status.trailing_metadata)
