"""Method handlers by path: what the server serves, gathered before the chain is bound to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from guardhouse.interceptors import Refusal


class Collected(dict[str, Any]):
    """Stands where generated `add_XServicer_to_server` functions expect a server; keeps their handlers."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Keep the handlers of one service under their paths."""
        self.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    def add_generic_rpc_handlers(self, _handlers: Any) -> None:
        """The same handlers again in another form: nothing to do."""


def bounded(handlers: Mapping[str, Any], most: int) -> dict[str, Any]:
    """The same handlers, whose answers have *most* bytes.

    grpc has such a limit too, but says nothing to us of an answer that it holds back: the record would be of
    a call that went well.
    """
    return {
        path: handler._replace(response_serializer=_bounded(handler.response_serializer, most))
        for path, handler in handlers.items()
    }


def _bounded(render: Callable[[Any], bytes], most: int) -> Callable[[Any], bytes]:
    def bounded_render(message: Any) -> bytes:
        raw = render(message)
        if len(raw) > most:
            raise Refusal("TOO_LARGE", f"an answer of {len(raw)} bytes")
        return raw

    return bounded_render
