"""Method handlers by path: what the server serves, gathered before the chain is bound to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Collected(dict[str, Any]):
    """Stands where generated `add_XServicer_to_server` functions expect a server; keeps their handlers."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Keep the handlers of one service under their paths."""
        self.update({f"/{service}/{name}": handler for name, handler in handlers.items()})

    def add_generic_rpc_handlers(self, _handlers: Any) -> None:
        """The same handlers again in another form: nothing to do."""
