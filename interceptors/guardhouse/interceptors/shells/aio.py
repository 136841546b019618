"""The shell that drives a chain in `grpc.aio`: an interceptor for any server, or handlers bound to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio

from guardhouse.interceptors.chain import Chain

from .aio_passage import Passage
from .shapes import Target, Targets, take_apart


def _broken(error: Exception) -> Target:
    """A method that fails: what an interceptor or a handler table behind the chain leaves us with."""

    async def fail(_request: Any, _context: Any) -> None:
        raise error

    return Target(fail, True, False, "coroutine", bytes, bytes)


class _Interceptor(grpc.aio.ServerInterceptor):
    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._targets = Targets()

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        opened = Passage(self._chain, details)
        try:
            target = self._targets.of(details.method, await continuation(details))
        except Exception as error:
            target = _broken(error)
        return opened.towards(target)


def aio(chain: Chain) -> grpc.aio.ServerInterceptor:
    """The chain as an interceptor for anybody's server: `grpc.aio.server(interceptors=[aio(chain)])`."""
    return _Interceptor(chain)


class Guarded(grpc.GenericRpcHandler):
    """Method handlers with the chain bound to them: what our own server registers, and nothing else.

    Saves grpc's interceptor machinery; a method that is not there is still guarded and recorded.
    """

    def __init__(self, chain: Chain, handlers: Mapping[str, Any]) -> None:
        self._chain = chain
        self._targets = {method: take_apart(handler) for method, handler in handlers.items()}
        if plain := [method for method, found in self._targets.items() if found.style == "plain"]:
            raise TypeError(f"a grpc.aio server needs async handlers: {', '.join(plain)}")

    def service(self, handler_call_details: Any) -> Any:
        """The passage for one RPC."""
        target = self._targets.get(handler_call_details.method)
        return Passage(self._chain, handler_call_details, target)
